"""Plant a fault in a copy of the tree and run tests on it, in a process that is forked with PyTorch imported."""

import itertools
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.mutants.chosen import Chosen
from tests.mutants.executed import Test
from tests.mutants.fault import ROOT, Fault

LEFT_OUT = shutil.ignore_patterns(".git", ".mutants", "__pycache__", ".venv", "out", "wandb", ".*_cache", ".hypothesis")
TIMES = itertools.count(1)


def copy_of_tree(place: Path) -> Path:
    """Copy what tests need of the tree to `place`."""
    return Path(shutil.copytree(ROOT, place, ignore=LEFT_OUT, symlinks=True))


def write(path: Path, source: str) -> None:
    """Write a source file whose compiled form Python will not take for that of another version of it."""
    path.write_text(source, encoding="utf-8")
    at = int(time.time()) + 10 * next(TIMES)  # a .pyc is found by seconds and size
    os.utime(path, (at, at))


def ordered(tests: Sequence[Test]) -> list[Test]:
    """Return one case of each test function first, files together, the cheapest files first; then the others."""
    cost: dict[str, float] = {}
    firsts: dict[str, Test] = {}
    for test in sorted(tests, key=lambda test: test.cpu_s):
        firsts.setdefault(test.function, test)
    for test in firsts.values():
        cost[test.file] = cost.get(test.file, 0.0) + test.cpu_s
    first = sorted(firsts.values(), key=lambda test: (cost[test.file], test.file, test.cpu_s))
    chosen = {test.name for test in first}
    return first + sorted((t for t in tests if t.name not in chosen), key=lambda t: (cost[t.file], t.file, t.cpu_s))


class Tree:
    """A copy of the tree in which one process at a time runs tests."""

    def __init__(self, place: Path) -> None:
        self.root = copy_of_tree(place)
        self.failure, self.running = place.with_suffix(".failure"), place.with_suffix(".running")
        self.log = place.with_suffix(".log")

    def failing(self, fault: Fault | None, tests: Sequence[Test]) -> str | None:
        """Plant `fault` (None: nothing), run the tests up to the first that fails or hangs, and return its name.

        Raises:
            RuntimeError: the process ended before any test, so that nothing is known.
        """
        for file in (self.failure, self.running):
            file.unlink(missing_ok=True)
        path = self.root / fault.path if fault else None
        source = path.read_text(encoding="utf-8") if path else ""
        if fault and path:
            write(path, fault.planted(source))
        pid = os.fork()
        if not pid:
            os.setsid()  # so that all that it starts can be ended with it
            self._run({test.name: test.cpu_s for test in tests})
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        if path:
            write(path, source)
        if self.failure.exists():
            return str(json.loads(self.failure.read_text()))
        if code == 0:
            return None
        if self.running.exists():  # it hung, or the process ended in it
            return self.running.read_text()
        raise RuntimeError(f"{fault.name if fault else 'no fault'}: pytest ended with {code}; see {self.log}")

    def _run(self, cases: dict[str, float]) -> None:
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(self.root)
        os.environ["PYTHONPATH"] = str(self.root)
        sys.path[:] = [str(self.root), *(each for each in sys.path if Path(each or ".").resolve() != ROOT)]
        for name in [name for name in sys.modules if name.partition(".")[0] in ("mingpt", "tests")]:
            del sys.modules[name]
        import pytest

        files = list(dict.fromkeys(name.partition("::")[0] for name in cases))
        words = ["-n", "0", "-p", "no:cacheprovider", f"--rootdir={self.root}", "-x", *files]
        os._exit(int(pytest.main(words, plugins=[Chosen(cases, self.failure, self.running)])))
