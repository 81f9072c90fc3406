"""`mingpt.sweep` and `mingpt.compare`: the same trials and the same table as by the command line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import mingpt
from mingpt.core.errors import MingptError, NotFiniteError, UsageError
from mingpt.experiments import runner
from mingpt.runs.config import Config


@pytest.fixture(autouse=True)
def in_this_process(here: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with mock.patch.object(runner, "in_process_of_its_own", lambda *args, **how: here(*args)):
        yield


@pytest.fixture
def base(tiny: dict[str, Any], text_file: Path) -> dict[str, Any]:
    return {**tiny, "data.path": str(text_file)}


@pytest.mark.full
def test_sweep_returns_a_row_for_each_variant(
    base: dict[str, Any], here: Any, caplog: pytest.LogCaptureFixture
) -> None:
    del base["model.rope"]
    table = mingpt.sweep({"model.rope": [True, False]}, seeds=3, base=base)
    assert caplog.messages[0] == "2 combinations x 3 seeds = 6 runs"
    assert [row["variant"] for row in table.rows] == ["model.rope=True", "model.rope=False"]
    assert [row["seeds"] for row in table.rows] == [3, 3]
    first, second = table.rows
    assert first["difference"] is None
    assert second["difference"] == pytest.approx(second["val_loss"] - first["val_loss"])
    assert second["difference_low"] < second["difference"] < second["difference_high"]
    assert second["outcome"] in ("better", "worse", "equivalent", "inconclusive")
    assert table.folder == Path("out/sweeps/1")
    assert mingpt.compare("out/sweeps/1").rows == table.rows
    here.trained.clear()
    again = mingpt.sweep({"model.rope": [True, False]}, seeds=3, base=base, folder="out/sweeps/1")
    assert (again.rows, here.trained) == (table.rows, [])


@pytest.mark.full
def test_base_may_be_a_config_or_a_file(base: dict[str, Any], here: Any) -> None:
    config = mingpt.Config(
        data=mingpt.DataConfig(path=base["data.path"], block_size=8),
        model=mingpt.ModelSettings(n_layer=1, n_embd=8),
        trainer=mingpt.TrainerConfig(max_iters=1, device="cpu"),
        wandb=mingpt.WandbConfig(mode="disabled"),
    )
    Path("base.yaml").write_text(config.to_yaml())
    for each in (config, "base.yaml"):
        table = mingpt.sweep({"trainer.betas": [(0.9, 0.95), (0.8, 0.99)]}, seeds=1, base=each)
        assert [row["variant"] for row in table.rows] == ["trainer.betas=[0.9, 0.95]", "trainer.betas=[0.8, 0.99]"]
    assert {config.trainer.betas for config in here.trained} == {(0.9, 0.95), (0.8, 0.99)}


@pytest.mark.parametrize(
    ("variants", "base", "complaint"),
    [
        ({}, None, "must have a setting with several values"),
        ({"model.rope": True}, None, "must be a list of values"),
        ({"data.path": ["a.txt", "b.txt"]}, None, "all variants need the same text"),
        ({"system.seed": [1, 2]}, None, "every variant takes the same seeds"),
        ({"model.rope": [True, False]}, {"system.seed": 3}, "every variant takes the same seeds"),
        (
            {"model.rope": [True, False]},
            Config(system=mingpt.SystemConfig(seed=3)),
            "every variant takes the same seeds",
        ),
        ({"model.rop": [True, False]}, None, "did you mean 'model.rope'"),
    ],
)
def test_wrong_sweep_trains_nothing(variants: Any, base: Any, complaint: str, here: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=complaint):
        mingpt.sweep(variants, base=base)
    assert here.trained == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.full
def test_failed_trials_raise_and_diverged_ones_are_left_out(base: dict[str, Any], here: Any) -> None:
    del base["model.rope"]

    def crash(config: Config) -> None:
        if config.model.rope:
            raise NotFiniteError("boom")

    here.before = crash
    table = mingpt.sweep({"model.rope": [True, False]}, seeds=1, base=base)
    assert [row["variant"] for row in table.rows] == ["model.rope=False"]
    assert [why for _, why in table.comparison.left_out] == ["error: boom"]

    def fail(config: Config) -> None:
        raise MingptError("gone")

    here.before = fail
    with pytest.raises(MingptError, match=r"2 trials failed: model.rope=True seed 1: error: gone; .*logs"):
        mingpt.sweep({"model.rope": [True, False]}, seeds=1, base=base, folder="other")
