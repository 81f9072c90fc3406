"""A pytest plugin that records which lines of mingpt/ each test executes, in child processes too, and its CPU time.

    python -m pytest -p tests.mutants.recorder

Lines that a fixture executes count for every test that uses it, not for the first one alone. A child process is
attributed to the test in whose name it was started (`PYTEST_CURRENT_TEST`, which children inherit).
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from coverage import Coverage

FOLDER = Path(os.environ.get("RECORD_TO", Path(__file__).parents[2] / ".mutants")).resolve()
CONFIG = """[run]
core = ctrace
source = mingpt
patch = subprocess
parallel = true
sigterm = true
disable_warnings = couldnt-parse, no-data-collected, module-not-imported, module-not-measured, dynamic-conflict
context = {context}
data_file = {data}
"""


def cpu_s() -> float:
    """Return the CPU seconds of this process and of those children that it has waited for."""
    return sum(os.times()[:4])


class Recorder:
    """Switches coverage's context with each test and each fixture, and keeps what each test used and took."""

    def __init__(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        child, own = FOLDER / f"child-{os.getpid()}.ini", FOLDER / f"own-{os.getpid()}.ini"
        data = FOLDER / "data"
        child.write_text(CONFIG.format(context="child:${PYTEST_CURRENT_TEST-}", data=data))
        own.write_text(CONFIG.format(context="", data=data).replace("patch = subprocess\n", ""))
        self.coverage = Coverage(config_file=str(own), data_suffix=True)
        os.environ["COVERAGE_PROCESS_START"] = str(child)
        self.coverage.start()
        self.context = ""
        self.records = open(FOLDER / f"tests-{os.getpid()}.jsonl", "w")  # noqa: SIM115 - open while the tests run
        self.setups: dict[int, str] = {}
        self.passed = True

    def switch(self, context: str) -> str:
        """Attribute what runs from now on to this context; return the one before."""
        before, self.context = self.context, context
        self.coverage.switch_context(context)
        return before

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        before, began, self.passed = self.switch(item.nodeid), cpu_s(), True
        try:
            return (yield)
        finally:
            self.switch(before)
            used = [self.setups[id(fixture)] for fixture in fixtures_of(item) if id(fixture) in self.setups]
            took = round(cpu_s() - began, 4)
            record = {"test": item.nodeid, "cpu_s": took, "passed": self.passed, "fixtures": used}
            self.records.write(json.dumps(record) + "\n")
            self.records.flush()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[Any]:
        if fixturedef.scope == "function":
            return (yield)
        number = len(self.setups)
        context = f"fixture:{os.getpid()}:{number}:{fixturedef.argname}"
        self.setups[id(fixturedef)] = context
        before = self.switch(context)
        try:
            return (yield)
        finally:
            self.switch(before)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed &= not report.failed

    def pytest_unconfigure(self) -> None:
        self.coverage.stop()
        self.coverage.save()
        self.records.close()


def fixtures_of(item: pytest.Item) -> list[Any]:
    """Return the definitions of all fixtures that a test uses, those of its fixtures included."""
    info = getattr(item, "_fixtureinfo", None)
    return [definition for every in info.name2fixturedefs.values() for definition in every] if info else []


def pytest_configure(config: pytest.Config) -> None:
    """Record in the processes that run tests: xdist's workers, or the only one."""
    if not config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(), "recorder")
