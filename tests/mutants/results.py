"""results.json, what noticed each fault; and results.md, the table that is made of it."""

import fcntl
import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.mutants.executed import FOLDER, Executed, collected
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


def write_table(executed: Executed) -> int:
    """Write the table; return 1 if a fault has survived without an explanation."""
    found, quick = read(), collected(QUICK)
    rows: dict[str, list[Fault]] = defaultdict(list)
    for fault in FAULTS:
        rows[folder_of(fault.path)].append(fault)
    covered = {
        suite: executed.coverage(t for t in executed.tests.values() if suite == "all" or t.name in quick)
        for suite in ("quick", "all")
    }
    lines = [
        "# What the tests notice",
        "",
        "`python -m tests.mutants table` writes this page from `results.json`. A fault is equivalent where nothing",
        "that a test could see changes; it does not count. Lines are those of the package that a suite executes, child",
        "processes included.",
        "",
        "| folder | faults | noticed by quick | noticed by --all | lines | executed by quick | executed by --all |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    total = [0, 0, 0]
    for folder in sorted({*rows, *covered["all"]}):
        counted = [fault for fault in rows.get(folder, []) if not fault.equivalent]
        by = [sum(bool(found.get(key(f), {}).get(suite)) for f in counted) for suite in ("quick", "all")]
        total = [total[0] + len(counted), total[1] + by[0], total[2] + by[1]]
        lines.append(f"| {folder} | {len(counted)} | {by[0]} | {by[1]} | {shares(covered, folder)} |")
    count, *noticed = total
    summed = {suite: tuple(map(sum, zip(*each.values(), strict=True))) for suite, each in covered.items()}
    shown = [f"{each} ({each / max(count, 1):.1%})" for each in noticed]
    lines.append(f"| all | {count} | {' | '.join(shown)} | {shares({s: {'': v} for s, v in summed.items()}, '')} |")
    lines += ["", "## Faults", "", "| fault | quick | --all |", "|---|---|---|"]
    for fault in FAULTS:
        result = found.get(key(fault), {})
        told = [f"`{short(result[s])}`" if result.get(s) else "no" for s in ("quick", "all")]
        told = [f"equivalent: {fault.equivalent}", ""] if fault.equivalent else told
        told[1] = "" if told[1] == told[0] else told[1]
        lines.append(f"| {fault.name} | {told[0]} | {told[1]} |")
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    survivors = [f for f in FAULTS if not f.equivalent and not found.get(key(f), {}).get("all")]
    print(f"{count} faults; quick notices {shown[0]}, --all {shown[1]}; {TABLE}")
    for fault in survivors:
        print(f"survived: {fault.name}" if key(fault) in found else f"not planted yet: {fault.name}")
    return int(bool(survivors))


def folder_of(path: str) -> str:
    """Return the folder of the package that a file is in."""
    return "/".join(path.split("/")[:-1][:2])


def shares(covered: dict[str, dict[str, tuple[int, ...]]], folder: str) -> str:
    """Return the cells of a folder's lines."""
    counts = [covered[suite].get(folder, (0, 0)) for suite in ("quick", "all")]
    return " | ".join([f"{counts[1][1]:,}", *(f"{done / max(count, 1):.0%}" for done, count in counts)])


def short(name: str) -> str:
    """Return a test's name without its folder."""
    return name.rpartition("/")[2].replace("|", "\\|")
