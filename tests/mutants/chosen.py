"""A pytest plugin that runs the tests that a list names, in its order, and writes down the first that fails."""

import json
from pathlib import Path

import pytest


class Chosen:
    """Keep the listed cases, in the list's order.

    Args:
        names: names of cases.
        failure: file for the name of the case that failed.
    """

    def __init__(self, names: list[str], failure: Path) -> None:
        self.place = {name: number for number, name in enumerate(names)}
        self.failure = failure

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
