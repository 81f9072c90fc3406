"""Rows of measurements that somebody else wrote: what can't be understood is told, with its file."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mingpt.errors import CheckpointError, UsageError
from mingpt.experiments.base import Measurement
from mingpt.experiments.conclude import findings
from mingpt.experiments.runner import understood

FINDINGS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "AttributeError": lambda rows: rows[0]["arm"].upper(),
    "KeyError": lambda rows: rows[0]["seed"],
    "TypeError": lambda rows: "arm " + rows[0]["arm"],
    "ValueError": lambda rows: str(max(rows[1:])),
    "ZeroDivisionError": lambda rows: str(1 / (rows[0]["arm"] - 3)),
}


@pytest.mark.parametrize("kind", FINDINGS)
def test_row_of_another_kind_ends_an_experiment_in_another_error(tmp_path: Path, kind: str) -> None:
    (tmp_path / "measurements.jsonl").write_text(json.dumps({"measurement": "far", "arm": 3}) + "\n")
    experiment: Any = SimpleNamespace(measurements=[Measurement("far", lambda lab: [], finding=FINDINGS[kind])])
    with pytest.raises(CheckpointError, match=f"measurements.jsonl: rows of far are not what it measures: {kind}"):
        findings(experiment, tmp_path)


def test_refusal_is_taken_for_a_damaged_row(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^no such arm$"), understood(tmp_path, "far"):
        raise UsageError("no such arm")
