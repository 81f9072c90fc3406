"""A pytest plugin that runs listed tests in the list's order and writes down the first that fails or hangs."""

import json
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60.0, 30.0  # seconds that a case may take at least, and per CPU second that it took when it was recorded


class Chosen:
    """Keep the listed cases, in the list's order.

    Args:
        cases: names of cases, and the CPU seconds that each took.
        failure: file for the name of the case that failed.
        running: file for the name of the case that is running. One that hangs, also outside Python, ends the process.
    """

    def __init__(self, cases: Mapping[str, float], failure: Path, running: Path) -> None:
        self.place = {name: number for number, name in enumerate(cases)}
        self.cpu_s, self.failure, self.running = cases, failure, running
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        least, per_second = PATIENCE
        self.running.write_text(item.nodeid)
        signal.alarm(int(least + per_second * self.cpu_s[item.nodeid]))
        try:
            return (yield)
        finally:
            signal.alarm(0)
            self.running.unlink()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.place), key=lambda item: self.place[item.nodeid]
        )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failure.write_text(json.dumps(report.nodeid))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failure.write_text(json.dumps(report.nodeid or "collection"))
