"""A run's records are thinned while they are read: the curve stays the same, and steps cost no memory."""

import itertools
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from mingpt.core.run_files.records import read_run
from mingpt.core.run_files.thinning import EVALUATIONS, POINTS, SMOOTHED, thinned
from mingpt.report.compare import comparison


def steps(count: int, look_every: int = 100) -> Iterator[dict[str, Any]]:
    for step in range(1, count + 1):
        look = {"val_loss_part": 3.0 + 1 / step} if step % look_every == 0 else {}
        yield {"step": step, "tokens": 8 * step, "seconds": step / 8, "train_loss": 3 + 1 / step, "lr": 0.1, **look}


@pytest.mark.parametrize("count", [1, 2, POINTS, POINTS + 1, 1003, 2048])
def test_thinned_training_curve_is_the_same_curve(count: int) -> None:
    smooth = [4.0]
    for step in range(2, count + 1):
        smooth.append(0.9 * smooth[-1] + 0.1 * (3 + 1 / step))
    kept = thinned(steps(count))
    curve = [record for record in kept if SMOOTHED in record]
    assert min(count, POINTS // 2) <= len(curve) <= POINTS + 1
    for record in curve:
        assert record[SMOOTHED] == pytest.approx(smooth[record["step"] - 1], rel=1e-12)
    assert curve[0]["step"] == 1
    assert kept[-1] == {**list(steps(count))[-1], SMOOTHED: pytest.approx(smooth[-1], rel=1e-12)}
    assert [record["step"] for record in kept if "val_loss_part" in record] == list(range(100, count + 1, 100))
    assert [record["step"] for record in kept] == sorted({record["step"] for record in kept})


def test_what_was_thinned_is_thinned_again() -> None:
    kept = thinned(steps(1003))
    assert thinned(kept) == kept
    assert thinned([]) == []


def test_step_without_a_loss_leaves_the_average() -> None:
    records = [{"step": step, "train_loss": loss} for step, loss in enumerate((2.0, float("nan"), 3.0), start=1)]
    first, third = thinned(records)
    assert (first["step"], first[SMOOTHED], third["step"]) == (1, 2.0, 3)
    assert third[SMOOTHED] == pytest.approx(2.1)
    assert thinned(records[:2]) == [{"step": 1, SMOOTHED: 2.0}, records[1]]


@pytest.mark.full
def test_steps_cost_no_memory() -> None:
    tracemalloc.start()
    try:
        kept = thinned(steps(3 * EVALUATIONS, look_every=1))  # 12 MB if all were kept
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()
    assert EVALUATIONS // 2 <= len(kept) <= EVALUATIONS + POINTS + 1
    spaced = [record["step"] for record in kept if SMOOTHED not in record]
    assert {b - a for a, b in itertools.pairwise(spaced)} <= {4, 8}


def test_long_run_is_compared(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits are of what is kept; of a run's steps next to nothing is."""
    runs = [make_run("a"), make_run("b", seed=2)]
    whole = comparison(runs).variants[0]
    for limit in ("LINES_VALUES", "LINES_BYTES"):
        monkeypatch.setattr(f"mingpt.core.safe_parsing.{limit}", 9)
    for run in runs:
        (run / "samples.jsonl").unlink()
    assert comparison(runs).variants[0].curves == whole.curves
    assert comparison(runs).variants[0].training == whole.training
    last = json.loads((runs[0] / "metrics.jsonl").read_text().splitlines()[-1])
    assert last.items() <= read_run(runs[0]).last.items()
