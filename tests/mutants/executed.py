"""Which tests execute which lines of mingpt/, as `recorder` found it."""

import ast
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from coverage import CoverageData
from coverage.exceptions import DataError

from tests.mutants.fault import ROOT, Fault
from tests.suites import ALL

FOLDER = ROOT / ".mutants"


@dataclass(frozen=True)
class Test:
    """A test as it was recorded: its CPU seconds, whether it passed, and the contexts of its fixtures."""

    name: str
    cpu_s: float
    passed: bool
    fixtures: tuple[str, ...]

    @property
    def file(self) -> str:
        """The file that has it."""
        return self.name.partition("::")[0]

    @property
    def function(self) -> str:
        """Its name without parameters."""
        return self.name.partition("[")[0]


def record(words: Iterable[str]) -> int:
    """Run the tests that `words` name (none: all but the campaigns) and record what they execute."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    (FOLDER / ".gitignore").write_text("*\n")
    shutil.copytree(ROOT / "mingpt", FOLDER / "sources" / "mingpt", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "test_model.py", "--all", "-p", "tests.mutants.recorder", *words]
    return subprocess.run(command, cwd=ROOT).returncode


class Executed:
    """What a recording says; `FOLDER` has it."""

    def __init__(self) -> None:
        lines = [json.loads(line) for path in FOLDER.glob("tests-*.jsonl") for line in path.open()]
        self.tests = {
            each["test"]: Test(each["test"], each["cpu_s"], each["passed"], tuple(each["fixtures"])) for each in lines
        }

    def tests_of(self, fault: Fault) -> list[Test]:
        """Return the passing tests of which a case executes a line of the fault, with all their cases.

        The others may use what that case made and Python keeps, such as a cached function's value.

        Of a line that runs while modules are imported, these are the tests that execute any line of its file or import
        it; of a file that is newer than the recording, the tests in the folder of its name.
        """
        recorded = FOLDER / "sources" / fault.path
        if not recorded.exists():
            folder = str(Path("tests", *Path(fault.path).parts[1:-1]))
            return [Test(name, 0.1, True, ()) for name in self.current if name.startswith(f"{folder}/")]
        source = recorded.read_text(encoding="utf-8")
        of_line = self._contexts[fault.path]
        here = fault.lines(source) if source.count(fault.old) == 1 else range(0)
        found = {context for line in here for context in of_line.get(line, ())} - {""}
        files: set[str] = set()
        if not found or at_import(source, here):
            found = {context for contexts in of_line.values() for context in contexts} - {""}
            files = importers(fault.path)
        passed = [test for test in self.tests.values() if test.passed]
        there = {test.function for test in passed if test.file in files or found & {test.name, *test.fixtures}}
        return [test for test in passed if test.function in there]

    @cached_property
    def current(self) -> set[str]:
        """Names of the cases that there are now, without campaigns."""
        return collected(ALL)

    @cached_property
    def _contexts(self) -> dict[str, dict[int, set[str]]]:
        """Contexts by file and line."""
        found: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        for path in FOLDER.glob("data.*"):
            data = CoverageData(str(path))
            try:
                data.read()
            except (DataError, sqlite3.DatabaseError):  # of a child process that was killed
                continue
            for file in data.measured_files():
                name = "mingpt/" + file.rpartition("/mingpt/")[2]
                for line, contexts in data.contexts_by_lineno(file).items():
                    found[name][line] |= {test_of(context) for context in contexts}
        return found

    def coverage(self, tests: Iterable[Test]) -> dict[str, tuple[int, int]]:
        """Return, by folder, how many lines these tests execute and how many there are."""
        chosen = list(tests)
        used = {"", *(test.name for test in chosen), *(each for test in chosen for each in test.fixtures)}
        found: dict[str, tuple[int, int]] = {}
        for path in sorted((FOLDER / "sources" / "mingpt").rglob("*.py")):
            name = str(path.relative_to(FOLDER / "sources"))
            statements = executable(path)
            run = {line for line, contexts in self._contexts[name].items() if contexts & used} & statements
            folder = folder_of(name)
            done, count = found.get(folder, (0, 0))
            found[folder] = (done + len(run), count + len(statements))
        return found


def folder_of(path: str) -> str:
    """Return the folder of the package that a file is in."""
    return "/".join(path.split("/")[:-1][:2])


def at_import(source: str, lines: range) -> bool:
    """Return True if some of the lines are in no function, so that they run once, whatever test imports them first."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {line for node in nodes for line in range(node.body[0].lineno, (node.end_lineno or 0) + 1)}
    return bool(set(lines) - inside)


def importers(path: str) -> set[str]:
    """Return the test files that import a module of the package."""
    package, _, name = path.removesuffix(".py").replace("/", ".").rpartition(".")
    imports = re.compile(rf"{re.escape(package)}(?:\.| import .*\b){name}\b")
    files = (ROOT / "tests").rglob("test_*.py")
    return {str(file.relative_to(ROOT)) for file in files if imports.search(file.read_text(encoding="utf-8"))}


def test_of(context: str) -> str:
    """Return the name of the test in whose name a child process ran, or the context itself."""
    return context.removeprefix("child:").rpartition(" (")[0] if context.startswith("child:") else context


def executable(path: Path) -> set[int]:
    """Return the lines of a file that coverage counts."""
    from coverage.python import PythonParser

    text = path.read_text(encoding="utf-8")
    if not text:  # an empty __init__.py
        return set()
    parser = PythonParser(text=text)
    parser.parse_source()
    return set(parser.statements) - set(parser.excluded)


def collected(marks: str) -> set[str]:
    """Return the names of the cases that pytest collects by these marks."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-n", "0", "-m", marks, "tests"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {line for line in listed.splitlines() if "::" in line}
