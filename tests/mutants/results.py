"""results.json, what noticed each fault; and results.md, the table that is made of it."""

import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from tests.mutants.executed import FOLDER, Executed, collected, folder_of
from tests.mutants.fault import Fault
from tests.mutants.faults import FAULTS
from tests.suites import QUICK

HERE = Path(__file__).parent
RESULTS, TABLE = HERE / "results.json", HERE / "results.md"


def key(fault: Fault) -> str:
    """Return what identifies a fault: its name, and a digest of what it replaces by what."""
    return f"{fault.name} [{hashlib.sha256(repr(fault[:3]).encode()).hexdigest()[:8]}]"


def read() -> dict[str, dict[str, Any]]:
    """Return the results so far."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def finished(fault: Fault, known: Mapping[str, Any]) -> bool:
    """Return True if a test has noticed the fault, or all have passed."""
    return "all" in known.get(key(fault), {})


def keep(fault: Fault, quick: bool, noticed: str | None, last: bool) -> None:
    """Add what tests of the quick suite, or the others, found; several processes may.

    Args:
        noticed: the test that noticed the fault; None: these tests passed.
        last: True if these were the last tests there are.
    """
    with locked():
        known = read()
        entry = known.setdefault(key(fault), {})
        if quick:
            entry["quick"] = noticed
        if noticed or last:
            entry["all"] = noticed
        write(known)


def prune() -> None:
    """Drop results of faults that are no longer planted so, or whose text has changed."""
    with locked():
        write({name: each for name, each in read().items() if name in {key(fault) for fault in FAULTS}})


@contextmanager
def locked() -> Iterator[None]:
    """Hold results.json for one process."""
    with FileLock(FOLDER / "results.lock"):
        yield


def write(known: dict[str, dict[str, Any]]) -> None:
    """Write results.json."""
    RESULTS.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", encoding="utf-8")


HEAD = """# What the tests notice

`python -m tests.mutants table` writes this page from `results.json` and the last recording. {planted} of {count}
faults, which were written by hand, have a result; the others were left out for time: all of attention were planted,
of the rest every third and some more. A fault counts as noticed by a test that fails with it and, alone, passes
without it; an empty last cell means the same test. Faults that change nothing a test could see are called equivalent
and not planted. A survivor gets a test and is planted again, so shares near 100 % are made, not found. Lines are
those of the package that a suite executes, child processes included.

| folder | faults | noticed by quick | noticed by --all | lines | executed by quick | executed by --all |
|---|--:|--:|--:|--:|--:|--:|
"""
FAULT_HEAD = """
## Faults

| fault | quick | --all |
|---|---|---|
"""
Coverage = dict[str, dict[str, tuple[int, int]]]  # suite, folder: lines executed, and all


def write_table(executed: Executed) -> int:
    """Write the table; return 1 if a fault has survived without an explanation."""
    if not FOLDER.exists():
        print(
            "no recording here, which lines are counted by: run `python -m tests.mutants record` first", file=sys.stderr
        )
        return 2
    found, quick = read(), collected(QUICK)
    covered = {
        "quick": executed.coverage(test for test in executed.tests.values() if test.name in quick),
        "all": executed.coverage(executed.tests.values()),
    }
    rows = folder_rows(found, covered)
    head = HEAD.format(planted=len(counted(found)), count=sum(not fault.equivalent for fault in FAULTS))
    TABLE.write_text(head + "".join(rows) + FAULT_HEAD + "".join(map(fault_row, FAULTS)), encoding="utf-8")
    print(f"{rows[-1]}{TABLE}")
    survivors = [fault for fault in counted(found) if not found[key(fault)].get("all")]
    for fault in survivors:
        print(f"survived: {fault.name}")
    return int(bool(survivors))


def counted(found: dict[str, dict[str, Any]]) -> list[Fault]:
    """Return the faults that were planted and are not equivalent."""
    return [fault for fault in FAULTS if key(fault) in found and not fault.equivalent]


def folder_rows(found: dict[str, dict[str, Any]], covered: Coverage) -> list[str]:
    """Return a row of the table for each folder, and one for all."""
    by_folder: dict[str, list[Fault]] = defaultdict(list)
    for fault in counted(found):
        by_folder[folder_of(fault.path)].append(fault)
    folders = sorted({*by_folder, *covered["all"]})
    summed = {suite: {"all": tuple(map(sum, zip(*each.values(), strict=True)))} for suite, each in covered.items()}
    rows = [folder_row(folder, by_folder[folder], found, covered) for folder in folders]
    return [*rows, folder_row("all", counted(found), found, summed)]


def folder_row(name: str, faults: list[Fault], found: dict[str, dict[str, Any]], covered: Any) -> str:
    """Return a row of the table."""
    noticed = [sum(bool(found[key(fault)].get(suite)) for fault in faults) for suite in ("quick", "all")]
    shown = [f"{number} ({number / len(faults):.0%})" if faults else "0" for number in noticed]
    counts = [covered[suite].get(name, (0, 0)) for suite in ("quick", "all")]
    lines = [f"{counts[1][1]:,}", *(f"{done / max(count, 1):.0%}" for done, count in counts)]
    return f"| {' | '.join([name, str(len(faults)), *shown, *lines])} |\n"


def fault_row(fault: Fault) -> str:
    """Return a row of the list of faults."""
    result = read().get(key(fault))
    if fault.equivalent:
        cells = [f"equivalent: {fault.equivalent}", ""]
    elif result is None:
        cells = ["no result", ""]
    else:
        found = [result.get("quick"), result.get("all", "not run")]
        cells = [f"`{short(each)}`" if each and "::" in each else each or "no" for each in found]
        cells[1] = "" if cells[1] == cells[0] else cells[1]
    return f"| {fault.name} | {cells[0]} | {cells[1]} |\n"


def short(name: str) -> str:
    """Return a test's name without its folder."""
    path, bracket, case = name.partition("[")
    return f"{path.rpartition('/')[2]}{bracket}{case}".replace("|", "\\|")
