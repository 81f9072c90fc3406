"""Where the time of a run went: named, kept in its folder, and said at its end."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mingpt.core.phases import Phases, breakdown
from mingpt.runs import run
from mingpt.runs.config import Config


def test_breakdown_names_what_took_long_and_adds_up() -> None:
    spent = {"start-up": 2.62, "training": 86.0, "samples": 0.3, "evaluation": 3.4}
    assert breakdown(spent, 94.9) == "95 s = training 86 + evaluation 3.4 + start-up 2.6 + other 2.9"
    assert breakdown({}, 0.0) == "0.0 s = other 0.0"


def test_phase_that_comes_once_takes_no_time_between_steps_and_is_not_expected_again() -> None:
    phases = Phases()
    for _ in range(2):
        with phases.timed("evaluation", after=100):
            time.sleep(0.01)
    with phases.timed("drawing"):
        time.sleep(0.01)
    assert phases.between_steps == phases.spent["evaluation"] >= 0.02
    assert phases.spent["drawing"] >= 0.01
    assert [*phases.after] == ["evaluation"]
    assert phases.after["evaluation"] >= 1


def test_run_keeps_where_the_time_of_each_process_went(tiny: Callable[..., Config], tmp_path: Path) -> None:
    often = {"trainer.schedule": "constant", "trainer.max_iters": 3}
    begun = run.train(tiny(tmp_path, often), began=time.perf_counter() - 5)
    resumed = run.train(tiny(tmp_path, {**often, "trainer.max_iters": 5, "trainer.resume": True}))
    lines = [json.loads(line) for line in (tmp_path / "timing.jsonl").read_text("utf-8").splitlines()]
    assert [line.pop("step") for line in lines] == [3, 5]
    totals = [line.pop("total") for line in lines]
    assert lines == [begun.spent, resumed.spent]
    assert lines[0]["training"] == begun.progress.seconds
    assert lines[0]["training"] + lines[1]["training"] == pytest.approx(resumed.progress.seconds)
    assert lines[0]["start-up"] > 5 > lines[1]["start-up"]
    assert {"evaluation", "samples", "checkpoint", "n-gram baselines", "drawing"} <= lines[0].keys()
    assert all(sum(line.values()) <= total for line, total in zip(lines, totals, strict=True))
