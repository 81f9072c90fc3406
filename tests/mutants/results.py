"""results.json, what noticed each fault; and results.md, the table that is made of it."""

import fcntl
import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

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


def keep(fault: Fault, quick: str | None, all: str | None) -> None:
    """Add a result; several processes may."""
    with open(FOLDER / "results.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = read() | {key(fault): {"quick": quick, "all": all}}
        current = {key(each) for each in FAULTS}
        kept = {name: known[name] for name in sorted(known) if name in current}
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def drop(tests: set[str]) -> None:
    """Forget what these tests noticed."""
    kept = {name: each for name, each in read().items() if each["all"] not in tests}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


HEAD = """# What the tests notice

`python -m tests.mutants table` writes this page from `results.json`. A fault is equivalent where nothing that a test
could see changes; those and the ones that were not planted yet do not count. The faults are written by hand; one that
survived when it was first planted has a test since. Lines are those of the package that a
suite executes, child processes included, as of the last `python -m tests.mutants record`.

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
    found, quick = read(), collected(QUICK)
    covered = {
        "quick": executed.coverage(test for test in executed.tests.values() if test.name in quick),
        "all": executed.coverage(executed.tests.values()),
    }
    rows = folder_rows(found, covered)
    TABLE.write_text(HEAD + "".join(rows) + FAULT_HEAD + "".join(map(fault_row, FAULTS)), encoding="utf-8")
    print(f"{rows[-1]}{TABLE}")
    survivors = [fault for fault in counted(found) if not found[key(fault)]["all"]]
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
    noticed = [sum(bool(found[key(fault)][suite]) for fault in faults) for suite in ("quick", "all")]
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
        cells = ["not planted yet", ""]
    else:
        cells = [f"`{short(result[suite])}`" if result[suite] else "no" for suite in ("quick", "all")]
        cells[1] = "" if cells[1] == cells[0] else cells[1]
    return f"| {fault.name} | {cells[0]} | {cells[1]} |\n"


def short(name: str) -> str:
    """Return a test's name without its folder."""
    return name.rpartition("/")[2].replace("|", "\\|")
