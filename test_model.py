"""Run the tests of mingpt, on every core.

    python test_model.py                 the quick suite: what most faults would be noticed by, in two minutes
    python test_model.py --all           every test but the campaigns, as .ci/run does
    python test_model.py -m slow         the campaigns
    python test_model.py tests/models    the quick tests of a folder; with --all, all of them

Other options are pytest's: `-n 0` runs in this process, `-k WORD` some tests, `-x` stops at the first failure.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parent
NEEDED = (
    "pytest",
    "hypothesis",
    "einops",
    "jsonargparse",
    "matplotlib",
    "numpy",
    "rich",
    "safetensors",
    "selenium",
    "torch",
    "xdist",
    "yaml",
)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}  # in each process; PyTorch reads them on import
QUICK = ("-m", "not slow and not full")
WORKERS = ("-n", "auto", "--dist=loadfile")  # a file's tests stay together, as they share what its fixtures trained
OWN_OPTIONS = ("--all", "--help", "-m", "-k", "-n", "-x", "--durations")


def main() -> int:
    """Run pytest on tests/ and return its exit status; print in one line what is not installed or not an option."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(f"error: {', '.join(missing)} not installed: run `pip install -r requirements-dev.txt`", file=sys.stderr)
        return 1
    words = sys.argv[1:]
    if "--help" in words or "-h" in words:
        print(f"{(__doc__ or '').strip()}\n`pytest --help` lists them.")
        return 0
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)
    import pytest

    suite = () if "--all" in words else QUICK
    own = (f"--rootdir={HOME}", f"--config-file={HOME / 'pyproject.toml'}", *WORKERS, *suite)
    code = int(pytest.main([*own, *(word for word in words if word != "--all")], plugins=[Progress(pytest)]))
    if code == pytest.ExitCode.USAGE_ERROR and (advice := near(words)):
        print(advice, file=sys.stderr)
    return code


def near(words: list[str]) -> str:
    """Return what may have been meant by an option that is almost one of this script's; "" if none is."""
    for word in words:
        if word.startswith("--") and word not in OWN_OPTIONS:
            for match in get_close_matches(word, OWN_OPTIONS, n=1):
                return f"error: {word}: did you mean {match}?"
    return ""


class Progress:
    """Print how far the tests are: one changing line in a terminal, a line every 15 seconds elsewhere."""

    def __init__(self, pytest: Any) -> None:
        self.pytest_report_teststatus = pytest.hookimpl(wrapper=True)(without_letters)
        self.outcomes: Counter[str] = Counter()
        self.began = self.printed = time.monotonic()
        self.session: Any = None

    def pytest_sessionstart(self, session: Any) -> None:
        """Keep the session, which knows how many cases there are."""
        self.session = session

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Count a case; print a failure at once."""
        if report.failed:
            self.outcomes["failed"] += 1
            self.show(f"FAILED {report.nodeid}", end="\n")
        if report.when == "teardown":
            self.outcomes["done"] += 1
        terminal, now = sys.stdout.isatty(), time.monotonic()
        if now - self.printed >= (0.2 if terminal else 15):
            self.printed = now
            failed = f", {self.outcomes['failed']} failed" if self.outcomes["failed"] else ""
            done, count = self.outcomes["done"], self.session.testscollected
            self.show(f"{done:,} of {count:,} cases{failed}, {now - self.began:.0f} s", end="" if terminal else "\n")

    def show(self, line: str, end: str) -> None:
        """Print a line in the place of the last one, where that can change."""
        print(f"\r\x1b[K{line}" if sys.stdout.isatty() else line, end=end, flush=True)

    def pytest_sessionfinish(self) -> None:
        """Leave the line to what is printed next."""
        if sys.stdout.isatty():
            self.show("", end="")


def without_letters(report: Any) -> Iterator[Any]:
    """Have pytest print no letter for a case."""
    category, _, word = yield
    return category, "", "" if category == "passed" else word


if __name__ == "__main__":
    sys.exit(main())
