"""`bench growth`: along each axis one size doubles and nothing else, and what is fitted is the exponent of time."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from mingpt.benchmarks import BENCHMARKS, run_all, scaling
from mingpt.benchmarks.benchmark import Benchmark
from mingpt.benchmarks.options import run_all as offered
from mingpt.core.config_cli import Flags
from mingpt.core.errors import UsageError
from mingpt.core.registry import Registry
from mingpt.trainer import Trainer
from mingpt.training import profiling
from mingpt.training.profiling import Spread

SIZES = ("--layers=1", "--heads=1", "--width=6", "--block=5", "--batch=3", "--sizes=3")
SMALL = (*SIZES, "--most_width=24", "--most_batch=12", "--length=24", "--rounds=2", "--device=cpu", "--threads=1")


def parsed(*words: str) -> scaling.Options:
    options: scaling.Options = Flags("growth", "", {"": scaling.Options}).parse(words)[""]
    return options


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only a step moves on, by powers of what it is of."""
    now = [0.0]

    def step(self: Trainer) -> None:
        inputs, _ = self.batches(0)
        config = self.model.config
        window = config.window or config.block_size
        cost = self.model.parameter_count**0.75 * inputs.numel() ** 1.25 * config.block_size**0.5 * window**0.25
        now[0] += cost

    monkeypatch.setattr(Trainer, "step", step)
    monkeypatch.setattr(profiling.time, "perf_counter", lambda: now[0])
    return now


def test_slope_is_an_exponent_and_one_thing_grows(clock: list[float]) -> None:
    rows = scaling.run(parsed(*SMALL))["rows"]
    for name, power in {"parameters": 0.75, "tokens": 1.25, "block": 0.75, "window": 0.25}.items():
        for fitted in (rows[name]["slope"], rows[name]["slope_larger"]):
            assert fitted["median"] == pytest.approx(power, abs=1e-3), name
    assert rows["tokens"]["sizes"] == [15, 30, 60]
    assert rows["block"]["sizes"] == [6, 12, 24]
    assert rows["window"]["sizes"] == [3, 6, 12]
    assert rows["window"]["none_ms"]["median"] == pytest.approx(rows["block"]["ms"][-1]["median"])
    assert [row["none_ms"] is None for row in rows.values()] == [True, True, True, False]


def test_larger_half_is_a_half_and_drift_is_no_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    slower = (1.0, 3.0, 9.0)  # the machine, round by round

    def measured(contestants: Any, device: Any, *, rounds: int, warmup: int) -> dict[str, Spread]:
        costs = [4.0, 4.0, 32.0, 1.0][: len(contestants)]
        return {n: Spread(tuple(cost * x for x in slower)) for n, cost in zip(contestants, costs, strict=True)}

    monkeypatch.setattr(scaling, "measure", measured)
    rows = scaling.run(parsed(*SMALL))["rows"]
    for name in ("tokens", "block", "window"):
        assert rows[name]["slope"] == {"median": 1.5, "q1": 1.5, "q3": 1.5}
        assert rows[name]["slope_larger"] == {"median": 3, "q1": 3, "q3": 3}
        assert rows[name]["larger_from"] == rows[name]["sizes"][1]
    assert rows["window"]["none_ms"] == {"median": 3000, "q1": 2000, "q3": 6000}


def test_step_that_is_timed_is_the_trainers(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Every shape makes as many true steps as are asked for, of tokens and weights as it says."""
    made: list[Trainer] = []
    real = scaling.trainer

    def kept(*words: Any) -> Trainer:
        made.append(real(*words))
        return made[-1]

    monkeypatch.setattr(scaling, "trainer", kept)
    before = torch.get_num_threads()
    options = parsed(*SMALL, "--optimizer=adamw")
    result = scaling.run(options)
    assert torch.get_num_threads() == before
    assert json.loads(json.dumps(result)) == result
    assert result.items() >= asdict(options).items()
    shapes = [shape for axis in scaling.shapes(options).values() for shape in axis]
    assert len(made) == len(shapes) == 3 + 3 + 3 + 4
    for trainer, shape in zip(made, shapes, strict=True):
        config = trainer.model.config
        steps = scaling.WARMUP + options.rounds
        assert (trainer.progress.step, trainer.progress.tokens) == (steps, steps * shape.tokens)
        assert trainer.batches(0)[0].shape == (shape.batch, shape.block)
        assert (config.n_embd, config.block_size, config.window) == (shape.width, shape.block, shape.window)
    assert sum("larger" in line or " on: " in line for line in caplog.messages) == 4
    assert any(line.split()[:1] == ["none"] for line in caplog.messages)


@pytest.mark.full
def test_picture_has_every_panel_and_slope(clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    real = scaling.figures.measured
    monkeypatch.setattr(scaling.figures, "measured", lambda *w, **k: drawn.append(real(*w, **k)) or drawn[0])
    path = tmp_path / "growth.svg"
    scaling.run(parsed(*SMALL, f"--figure={path}"))
    panels = drawn[0].figure.axes
    assert [len(axes.get_legend().get_texts()) for axes in panels] == [2, 2, 2, 3]
    assert all((axes.get_xscale(), axes.get_yscale()) == ("log", "log") for axes in panels)
    assert panels[1].get_legend().get_texts()[1].get_text() == "larger half: $T^{1.25}$"
    fitted = panels[1].lines[-1].get_ydata()  # the synthetic clock's powers are exact: the line meets the points
    row = scaling.run(parsed(*SMALL))["rows"]["tokens"]
    assert list(fitted) == pytest.approx([ms["median"] for ms in row["ms"]][-len(fitted) :], rel=2e-3)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<svg")
    assert "parameters: P^0.75" in text


def test_bench_all_draws_no_bars_of_what_has_no_ratio(clock: list[float], tmp_path: Path, monkeypatch: Any) -> None:
    only: Registry[Benchmark] = Registry("bench")
    only.add("growth")(BENCHMARKS["growth"])
    monkeypatch.setattr(offered, "BENCHMARKS", only)
    path = tmp_path / "bench.svg"
    rows = scaling.run(parsed(*SMALL))["rows"]
    assert list(run_all.ratios(rows)) == []
    run_all.draw({"growth": {"rows": rows}}, path)
    assert "growth" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("word", "refusal"),
    [
        ("--sizes=2", "sizes=2: must be at least 3"),
        ("--layers=0", "layers=0: must be at least 1"),
        ("--batch=0", "batch=0: must be at least 1"),
        ("--width=130", "width=130: must be a multiple of 4"),
        ("--most_width=64", "most_width=64: must be a multiple of 128"),
        ("--most_batch=48", "most_batch=48: must be a multiple of 32"),
        ("--length=96", "length=96: must be a multiple of 64"),
        ("--length=0", "length=0: must be a multiple of 64"),
        ("--optimizer=sgd", "optimizer=sgd: must be one of adamw, muon"),
        ("--rounds=1", "rounds=1: must be at least 2"),
        ("--figure=growth.doc", "figure=growth.doc: must end in .svg, .png, .pdf"),
        ("--figure=nowhere/growth.svg", "figure=nowhere/growth.svg: must lie in a folder"),
    ],
)
def test_setting_that_makes_no_sense_is_rejected(word: str, refusal: str) -> None:
    with pytest.raises(UsageError, match="must") as refused:
        parsed(word)
    assert refusal in str(refused.value)
