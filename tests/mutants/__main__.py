"""`python -m tests.mutants`: record, run, table."""

import os
import signal
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from tests.mutants import results
from tests.mutants.executed import Executed, quick_suite, record
from tests.mutants.fault import Fault
from tests.mutants.faults import FAULTS
from tests.mutants.planting import Tree, ordered


def main(words: Sequence[str]) -> int:
    """Do what the words say; return 1 if a fault has survived without an explanation."""
    parser = ArgumentParser(prog="python -m tests.mutants", description="Would the tests notice a small fault?")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("record", help="run all tests and record which lines each executes")
    running = commands.add_parser("run", help="plant faults that have no result yet, and run tests")
    running.add_argument("names", nargs="*", help="parts of names: plant these, whether they have a result or not")
    running.add_argument("--jobs", type=int, default=2, help="faults at the same time (2)")
    running.add_argument("--share", default="1/1", help="I/N: every N-th fault, from the I-th")
    commands.add_parser("table", help="write results.md")
    given, rest = parser.parse_known_args(words)
    if rest and given.command != "record":
        parser.error(f"{' '.join(rest)}: unknown")
    if given.command == "record":
        return record(rest)
    if given.command == "run":
        known = results.read()
        wanted = [fault for fault in FAULTS if any(name in fault.name for name in given.names)]
        first, of = map(int, given.share.split("/"))
        run(
            (wanted if given.names else [f for f in FAULTS if results.key(f) not in known])[first - 1 :: of], given.jobs
        )
        return 0
    return results.write_table(Executed())


def run(faults: list[Fault], jobs: int) -> None:
    """Plant each fault in one of `jobs` copies of the tree, and keep what notices it."""
    import numpy  # noqa: F401 - once, and not in every fork
    import torch

    torch.set_num_threads(1)
    executed, quick = Executed(), quick_suite()
    waiting = [(fault, suite) for fault in reversed(faults) for suite in (False,)]
    with tempfile.TemporaryDirectory() as home:
        free = [Tree(Path(home) / str(number)) for number in range(jobs)]
        running: dict[int, tuple[Tree, Fault, bool, float]] = {}
        while waiting or running:
            while free and waiting:
                fault, rest = waiting.pop()
                tests = [test for test in executed.tests_of(fault) if (test.name in quick) is not rest]
                if not tests:
                    note(fault, rest, None, 0, 0.0, waiting)
                    continue
                tree = free.pop()
                tree.start(fault, ordered(tests))
                running[tree.pid] = tree, fault, rest, time.monotonic()
            if running:
                pid, status = ended(running)
                tree, fault, rest, began = running.pop(pid)
                noticed = tree.ended(status)
                free.append(tree)
                note(fault, rest, noticed, len(tests), time.monotonic() - began, waiting)


def ended(running: dict[int, tuple[Tree, Fault, bool, float]]) -> tuple[int, int]:
    """Wait until the tests of a tree end; end those that hang."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in running:
            return pid, status
        for tree, *_ in running.values():
            if time.monotonic() > tree.until:
                tree.kill()
        time.sleep(0.2)


def note(
    fault: Fault, rest: bool, noticed: str | None, tests: int, seconds: float, waiting: list[tuple[Fault, bool]]
) -> None:
    """Keep a result; a fault that the quick suite does not notice is tried on the other tests next."""
    suite = "all" if rest else "quick"
    print(f"{fault.name}: {suite}: {noticed or 'NOT NOTICED'} ({tests} tests, {seconds:.0f} s)", flush=True)
    if noticed or rest:
        results.keep(fault, quick=None if rest else noticed, all=noticed)
    else:
        waiting.append((fault, True))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
