"""A learning rate is chosen for each variant on text that no variant is judged on, and not by luck."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from mingpt.core.errors import NotFiniteError
from mingpt.experiments import runner
from mingpt.experiments.base import Experiment, Trial
from mingpt.report.experiment_files import read_record
from mingpt.runs.config import Config
from mingpt.training.trainer_config import TrainerConfig

Make = Callable[..., Experiment]


@pytest.mark.full
def test_learning_rate_is_chosen_on_the_held_out_tail(
    go: Any, experiment: Make, here: Any, tiny: dict[str, Any], tmp_path: Path, text_file: Path
) -> None:
    texts: set[str] = set()

    def look(config: Config) -> None:
        if "learning-rates" in (config.system.work_dir or ""):
            texts.add(Path(config.data.path).read_text())

    here.before = look
    go(experiment(learning_rates=(1e-9, 1e-1), common={**tiny, "trainer.max_iters": 20}))
    content = text_file.read_text()
    assert texts == {content[:540]}  # the training part, and not an X of the rest
    tried = [config for config in here.trained if "learning-rates" in config.system.work_dir]
    assert {config.data.val_fraction for config in tried} == {0.05}
    assert {config.system.seed for config in tried} == {0}
    assert len(tried) == 4
    chosen = read_record(tmp_path / "exp")["chosen_learning_rates"]
    for variant, each in chosen.items():
        losses = {float(rate): loss for rate, loss in each["losses"].items()}
        assert each["chosen"] == min(losses, key=lambda rate: losses[rate])
        trials = [c for c in here.trained if f"cells/{variant}/" in c.system.work_dir]
        assert [c.trainer.learning_rate for c in trials] == [each["chosen"]] * 2
        assert all(c.data.path == str(text_file) for c in trials)
    here.trained.clear()
    go(experiment(learning_rates=(1e-9, 1e-1), common={**tiny, "trainer.max_iters": 20}))
    assert here.trained == []


def trial(folder: Path, rate: float, losses: list[float], **last: float) -> Trial:
    """A finished trial with such training losses."""
    config = Config(trainer=TrainerConfig(max_iters=len(losses), learning_rate=rate))
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config.to_yaml())
    lines = [{"step": step, "train_loss": loss} for step, loss in enumerate(losses, start=1)]
    lines[-1] |= last
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Trial(f"{rate}", 0, (config,), (folder,))


def test_learning_rate_is_not_chosen_by_the_luck_of_one_batch(tmp_path: Path) -> None:
    steady, lucky = [2.0] * 9 + [2.1], [3.0] * 9 + [1.0]
    trials = {
        1e-2: trial(tmp_path / "a", 1e-2, steady),
        1e-3: trial(tmp_path / "b", 1e-3, lucky),
        1e-1: trial(tmp_path / "c", 1e-1, lucky),
    }
    with mock.patch.object(runner, "done", return_value=True):
        choice, best = runner._choice(trials)
        assert (best, choice["decided_by"], choice["end_of_grid"]) == (1e-2, "training loss, smoothed", None)
        held_out = {rate: trial(tmp_path / f"{rate}", rate, steady, val_loss=rate) for rate in trials}
        choice, best = runner._choice(held_out)
        assert (best, choice["end_of_grid"]) == (1e-3, "lowest")
        assert choice["decided_by"] == "loss on the end of the training part"
        told = "loss on the end of the training part; the lowest that was tried"
        assert runner._why(choice) == told


def test_learning_rate_that_diverges_is_passed_over(go: Any, experiment: Make, here: Any, tmp_path: Path) -> None:
    def diverge(config: Config) -> None:
        if config.trainer.learning_rate == 0.1:
            raise NotFiniteError("boom")

    here.before = diverge
    outcome, told = go(experiment(learning_rates=(1e-3, 0.1)))
    assert outcome.failed == {}
    chosen = read_record(tmp_path / "exp")["chosen_learning_rates"]
    assert {variant: each["chosen"] for variant, each in chosen.items()} == {"RoPE": 1e-3, "learned": 1e-3}
    assert chosen["RoPE"]["losses"]["0.1"] is None
    assert len(told.summarized) == 4
