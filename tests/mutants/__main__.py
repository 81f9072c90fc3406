"""`python -m tests.mutants`: record, run, table."""

import os
import signal
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.mutants import results
from tests.mutants.executed import Executed, Test, collected, record
from tests.mutants.fault import ROOT, Fault
from tests.mutants.faults import FAULTS
from tests.mutants.planting import Tree, ordered
from tests.suites import QUICK


def main(words: Sequence[str]) -> int:
    """Do what the words say; return 1 if a fault has survived without an explanation."""
    parser = ArgumentParser(prog="python -m tests.mutants", description="Would the tests notice a small fault?")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("record", help="run all tests and record which lines each executes")
    running = commands.add_parser("run", help="plant faults that have no result yet, and run tests")
    running.add_argument("names", nargs="*", help="parts of names: plant these, whether they have a result or not")
    running.add_argument("--jobs", type=int, default=2, help="faults at the same time (2)")
    running.add_argument("--share", default="1/1", help="I/N: every N-th fault, from the I-th")
    commands.add_parser("check", help="drop results by tests that fail without a fault, too")
    commands.add_parser("table", help="write results.md")
    given, rest = parser.parse_known_args(words)
    if rest and given.command != "record":
        parser.error(f"{' '.join(rest)}: unknown")
    if given.command == "record":
        return record(rest)
    if given.command == "run":
        known = results.read()
        fresh = [fault for fault in FAULTS if results.key(fault) not in known and not fault.equivalent]
        named = [fault for fault in FAULTS if any(name in fault.name for name in given.names)]
        first, of = map(int, given.share.split("/"))
        run((named if given.names else fresh)[first - 1 :: of], given.jobs)
        return 0
    if given.command == "check":
        return check()
    return results.write_table(Executed())


def check() -> int:
    """Run every test that noticed a fault without one; drop what those noticed that fail, so that it is tried again."""
    names = sorted({each["all"] for each in results.read().values() if "::" in (each["all"] or "")})
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "-rfE", "--tb=no", *names]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    failed = {name for name in names if f" {name}" in ended.stdout.partition("short test summary")[2]}
    for name in sorted(failed):
        print(f"fails without a fault: {name}")
    results.drop(failed)
    return int(ended.returncode not in (0, 1))


def run(faults: list[Fault], jobs: int) -> None:
    """Plant each fault in one of `jobs` copies of the tree, and keep what notices it.

    The test that fails is run again, alone, with the fault: one that then passes had failed for another reason, such
    as a busy machine or what the tests before it left, and the others are run without it.
    """
    import numpy  # noqa: F401 - once, and not in every fork
    import torch

    torch.set_num_threads(1)
    stages = Stages(Executed(), collected(QUICK))
    waiting = [Attempt(fault) for fault in reversed(faults) if plantable(fault)]
    with tempfile.TemporaryDirectory() as home:
        free = [Tree(Path(home) / str(number)) for number in range(jobs)]
        running: dict[int, tuple[Tree, Attempt]] = {}
        while waiting or running:
            waiting.sort(key=lambda attempt: -attempt.stage)  # survivors, which take all tests, come last
            while free and waiting:
                attempt = waiting.pop()
                tests = attempt.tests(stages)
                if not tests:
                    waiting += attempt.after(None)
                    continue
                tree = free.pop()
                tree.start(attempt.fault, ordered(tests))
                running[tree.pid] = tree, attempt
            if running:
                pid, status = os.wait()
                tree, attempt = running.pop(pid)
                free.append(tree)
                waiting += attempt.after(tree.ended(status))


@dataclass(frozen=True)
class Attempt:
    """A fault on the tests of a stage.

    Attributes:
        stage: index of the stage.
        suspect: the test that noticed the fault, which is now run alone; None: all tests of the stage.
        unreliable: tests that noticed the fault and, alone, did not.
    """

    fault: Fault
    stage: int = 0
    suspect: str | None = None
    unreliable: frozenset[str] = frozenset()

    def tests(self, stages: "Stages") -> list[Test]:
        """Return the tests to run."""
        tests = [test for test in stages.tests(self.fault, self.stage) if test.name not in self.unreliable]
        return [test for test in tests if test.name == self.suspect] if self.suspect else tests

    def after(self, noticed: str | None) -> list["Attempt"]:
        """Keep what is known once the tests have ended; return what is still to be tried."""
        print(f"{self.fault.name}: stage {self.stage}{' again' * bool(self.suspect)}: {noticed or 'none'}", flush=True)
        if self.suspect and not noticed:
            return [replace(self, suspect=None, unreliable=self.unreliable | {self.suspect})]
        if noticed and not self.suspect and "::" in noticed:
            return [replace(self, suspect=noticed)]
        if noticed or self.stage == Stages.LAST:
            results.keep(self.fault, quick=noticed if self.stage < Stages.LAST else None, all=noticed)
            return []
        return [replace(self, stage=self.stage + 1)]


class Stages:
    """The tests of a fault in three stages: quick ones of its folder, the other quick ones, those of `--all` alone."""

    LAST = 2

    def __init__(self, executed: Executed, quick: set[str]) -> None:
        self.executed, self.quick = executed, quick

    def tests(self, fault: Fault, stage: int) -> list[Test]:
        """Return the tests of a stage."""
        places = Path("tests", *Path(fault.path).parts[1:])
        near = f"{next(folder for folder in places.parents if (ROOT / folder).is_dir())}/"
        return [test for test in self.executed.tests_of(fault) if self.stage(test, near) == stage]

    def stage(self, test: Test, near: str) -> int:
        """Return the stage in which a test runs."""
        return self.LAST if test.name not in self.quick else int(not test.name.startswith(near))


def plantable(fault: Fault) -> bool:
    """Return True if the code still has the fault's place."""
    try:
        return bool(fault.planted((ROOT / fault.path).read_text(encoding="utf-8")))
    except (ValueError, OSError) as error:
        print(f"left out: {error}", file=sys.stderr)
        return False


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
