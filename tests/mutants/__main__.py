"""`python -m tests.mutants`: record, run, table."""

import os
import signal
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
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
    running.add_argument("--quick", action="store_true", help="run the tests of the quick suite alone")
    commands.add_parser("table", help="write results.md")
    given, rest = parser.parse_known_args(words)
    if rest and given.command != "record":
        parser.error(f"{' '.join(rest)}: unknown")
    if given.command == "record":
        return record(rest)
    if given.command == "run":
        results.prune()
        known = results.read()
        fresh = [fault for fault in FAULTS if not results.finished(fault, known) and not fault.equivalent]
        named = [fault for fault in FAULTS if any(name in fault.name for name in given.names)]
        first, of = map(int, given.share.split("/"))
        run((named if given.names else fresh)[first - 1 :: of], given.jobs, Stages.QUICK if given.quick else Stages.ALL)
        return 0
    return results.write_table(Executed())


class Stages:
    """The tests of a fault in three stages: quick ones of its folder, the other quick ones, those of `--all` alone."""

    QUICK, ALL = (0, 1), (0, 1, 2)

    def __init__(self, executed: Executed, quick: set[str]) -> None:
        self.executed, self.quick = executed, quick

    def tests(self, fault: Fault, stage: int) -> list[Test]:
        """Return the tests of a stage."""
        places = Path("tests", *Path(fault.path).parts[1:])
        near = f"{next(folder for folder in places.parents if (ROOT / folder).is_dir())}/"
        return [test for test in self.executed.tests_of(fault) if self.stage(test, near) == stage]

    def stage(self, test: Test, near: str) -> int:
        """Return the stage in which a test runs."""
        return max(self.ALL) if test.name not in self.quick else int(not test.name.startswith(near))


def run(faults: list[Fault], jobs: int, wanted: Iterable[int]) -> None:
    """Plant each fault in one of `jobs` copies of the tree, on the tests of the `wanted` stages; keep what is found."""
    import numpy  # noqa: F401 - once, and not in every fork
    import torch

    torch.set_num_threads(1)
    executed = Executed()
    stages = Stages(executed, collected(QUICK))
    plantable = [fault for fault in faults if can_be_planted(fault) and executed.tests_of(fault)]  # reads the recording
    for number in range(jobs):
        if not os.fork():
            with tempfile.TemporaryDirectory() as home:
                work(plantable[number::jobs], Tree(Path(home) / "tree"), stages, wanted)
            os._exit(0)
    for _ in range(jobs):
        os.wait()


def work(faults: Sequence[Fault], tree: Tree, stages: Stages, wanted: Iterable[int]) -> None:
    """Plant each fault stage by stage, all faults on the quick ones first: survivors take longest."""
    sound: dict[str, bool] = {}  # by test: whether it passes alone without a fault
    noticed: set[Fault] = set()
    for stage in wanted:
        for fault in [fault for fault in faults if fault not in noticed]:
            found = notice(fault, stages.tests(fault, stage), tree, sound)
            print(f"{fault.name}: stage {stage}: {found or 'none'}", flush=True)
            if found:
                noticed.add(fault)
            results.keep(fault, stage in Stages.QUICK, found, last=stage == max(Stages.ALL))


def notice(fault: Fault, tests: Sequence[Test], tree: Tree, sound: dict[str, bool]) -> str | None:
    """Return the first test that fails because of the fault; None if there is none.

    A test that fails is run again, alone: with the fault it must fail, and without it pass. Another one failed for
    another reason, such as a busy machine or what the tests before it left; the rest are run without it.
    """
    while tests:
        found = tree.failing(fault, ordered(tests))
        if found is None:
            return None
        alone = [test for test in tests if test.name == found]
        if not alone:
            return found  # a file of tests that can't be imported
        if tree.failing(fault, alone):
            if found not in sound:
                sound[found] = tree.failing(None, alone) is None
            if sound[found]:
                return found
        tests = [test for test in tests if test.name != found]
    return None


def can_be_planted(fault: Fault) -> bool:
    """Return True if the code still has the fault's place."""
    try:
        return bool(fault.planted((ROOT / fault.path).read_text(encoding="utf-8")))
    except (ValueError, OSError) as error:
        print(f"left out: {error}", file=sys.stderr)
        return False


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
