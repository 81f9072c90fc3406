"""An experiment ends with all its trials, however it was stopped, and always on the definition that it began with."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any
from unittest import mock

import pytest

from mingpt.core.atomic_io import locked
from mingpt.core.errors import CheckpointError, NotFiniteError, UsageError
from mingpt.core.run_files.reading import read_lines
from mingpt.core.setting_roles import changes_no_result
from mingpt.experiments import drawings
from mingpt.experiments.base import Experiment, Form, Lab, Measurement
from mingpt.experiments.trials import folder_name
from mingpt.report.experiment_files import read_record
from mingpt.report.palette import Palette
from mingpt.report.panels import LOSS
from mingpt.runs import checkpoint
from mingpt.runs.config import Config
from mingpt.runs.run import load

Make = Callable[..., Experiment]


def test_grid_has_every_trial_once(go: Any, experiment: Make, tmp_path: Path, here: Any) -> None:
    outcome, told = go(experiment())
    assert outcome.failed == {}
    assert sorted(here.seen) == ["RoPE/seed-1", "RoPE/seed-2", "learned/seed-1", "learned/seed-2"]
    for config in here.trained:
        variant, seed = Path(config.system.work_dir).parts[-2:]
        assert config.model.rope == (variant == "RoPE")
        assert f"seed-{config.system.seed}" == seed
    assert [(trial.variant, trial.seed) for trial in told.summarized] == [
        ("RoPE", 1), ("learned", 1), ("RoPE", 2), ("learned", 2),
    ]  # fmt: skip
    assert all((tmp_path / "exp/cells" / name / "config.yaml").exists() for name in here.seen)


def test_finished_trial_is_not_trained_again(go: Any, experiment: Make, here: Any) -> None:
    go(experiment())
    here.trained.clear()
    go(experiment())
    assert here.seen == []
    go(experiment(), seeds=3)
    assert sorted(here.seen) == ["RoPE/seed-3", "learned/seed-3"]
    here.trained.clear()
    _, told = go(experiment())  # as many seeds as the record says
    assert (len(told.summarized), here.seen) == (6, [])
    assert told.lines[0].endswith("exp, 3 seeds as recorded (--seeds=2 is usual)")


@pytest.mark.full
def test_record_with_a_metric_is_another_experiment(go: Any, experiment: Make, here: Any, tmp_path: Path) -> None:
    go(experiment())
    path = tmp_path / "exp/record.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "metric": "val_loss"}))  # as it was kept once
    here.trained.clear()
    _, told = go(experiment())
    assert (len(told.summarized), here.seen) == (4, [])


@pytest.mark.parametrize("lost", ["checkpoints", "a line", "baselines.json"])
@pytest.mark.thin(1)
def test_damaged_trial_does_not_count_as_finished(
    go: Any, experiment: Make, here: Any, tmp_path: Path, lost: str
) -> None:
    one = experiment(variants={"RoPE": [{}]}, seeds=1)
    go(one)
    home = tmp_path / "exp/cells/RoPE/seed-1"
    if lost == "checkpoints":
        (home / "checkpoints/step_000002").rename(home / "checkpoints/gone")
    elif lost == "a line":
        lines = (home / "metrics.jsonl").read_text().splitlines(keepends=True)
        (home / "metrics.jsonl").write_text("".join(lines[:-1]))
        (home / "checkpoints/step_000002").rename(home / "checkpoints/gone")
    else:
        (home / lost).unlink()
    here.trained.clear()
    outcome, told = go(one)
    assert outcome.failed == {}
    assert len(here.trained) == 1
    assert here.trained[0].trainer.resume
    assert len(told.summarized) == 1


def test_half_done_trial_goes_on(go: Any, experiment: Make, here: Any, tmp_path: Path) -> None:
    one = experiment(variants={"RoPE": [{"trainer.max_iters": 6}]}, seeds=1)

    def dies(config: Config, log: Path, stop: Event) -> int:
        killed = replace(config, trainer=replace(config.trainer, max_iters=6))

        def die(trainer: Any, record: Any) -> None:
            if record["step"] == 4:
                raise KeyboardInterrupt

        from mingpt.runs import run

        try:
            run.train(killed, callbacks=[die])
        except KeyboardInterrupt:
            return 137
        return 0

    outcome, _ = go(one, launch=dies)
    assert [code for code, _ in outcome.failed.values()] == [137]
    home = tmp_path / "exp/cells/RoPE/seed-1"
    began = (home / "metrics.jsonl").read_text().splitlines()
    assert checkpoint.steps(home)[0] == 4
    go(one)
    assert here.trained[0].trainer.resume
    assert (home / "metrics.jsonl").read_text().splitlines()[:4] == began[:4]  # its seconds, too: not made again
    assert len(read_lines(home / "metrics.jsonl")) == 6


@pytest.mark.full
def test_crash_of_a_trial_leaves_the_others(go: Any, experiment: Make, here: Any, tmp_path: Path) -> None:
    def crash(config: Config) -> None:
        if config.model.rope:
            raise NotFiniteError("boom")

    here.before = crash
    outcome, told = go(experiment())
    assert sorted((trial.name, code) for trial, (code, _) in outcome.failed.items()) == [
        ("RoPE seed 1", 5), ("RoPE seed 2", 5),
    ]  # fmt: skip
    assert any("FAILED: error: boom" in line for line in told.lines)
    assert [trial.variant for trial in told.summarized] == ["learned", "learned"]
    record = read_record(tmp_path / "exp")
    assert record is not None
    assert record["hopeless"] == {f"cells/RoPE/seed-{seed}": "error: boom" for seed in (1, 2)}
    here.before = lambda config: None
    go(experiment())
    assert "hopeless" not in read_record(tmp_path / "exp")


def test_record_keeps_what_was_found_while_an_experiment_goes_on(
    go: Any, experiment: Make, here: Any, tmp_path: Path
) -> None:
    def crash(config: Config) -> None:
        if config.model.rope:
            raise NotFiniteError("boom")

    one, seen = experiment(measurements=(Measurement("numbers", lambda lab: [{"x": 1}]),)), list[Any]()
    here.before = crash
    go(one)
    first = read_record(tmp_path / "exp")
    here.before = lambda config: seen.append(read_record(tmp_path / "exp"))
    go(one)
    assert len(seen) == len(first["hopeless"]) == 2
    for key in ("hopeless", "measured", "tables", "trials"):
        assert [record[key] for record in seen] == [first[key]] * 2


@pytest.mark.full
def test_changed_definition_is_rejected(go: Any, experiment: Make, here: Any, tmp_path: Path, text_file: Path) -> None:
    go(experiment())
    here.trained.clear()
    other = {"RoPE": [{"model.rope": True, "model.n_embd": 16}], "learned": [{"model.rope": False}]}
    with pytest.raises(UsageError, match=r"variant RoPE stage 1: model.n_embd was 8, is 16; --fresh"):
        go(experiment(variants=other))
    with pytest.raises(UsageError, match="variant learned is gone"):
        go(experiment(variants={"RoPE": [{"model.rope": True}]}))
    changed = tmp_path / "changed.txt"
    changed.write_text(text_file.read_text() + "a")
    with pytest.raises(UsageError, match="the text was"):
        go(experiment(), data=str(changed))
    assert here.trained == []
    go(experiment(variants=other), fresh=True)
    assert len(here.trained) == 4
    assert (tmp_path / "exp.before-1/record.json").exists()


def test_fresh_leaves_a_folder_in_use(go: Any, experiment: Make, tmp_path: Path) -> None:
    go(experiment())
    with locked(next((tmp_path / "exp/claims").iterdir())), pytest.raises(CheckpointError, match="another process"):
        go(experiment(), fresh=True)
    assert (tmp_path / "exp/record.json").exists()


def test_trials_behind_a_link_are_found_after_they_were_trained(
    go: Any, experiment: Make, here: Any, tmp_path: Path
) -> None:
    (tmp_path / "exp").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "exp/cells").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="exp/cells: can't be read: a link"):
        go(experiment())
    assert here.trained == []


def test_wrong_setting_is_found_before_any_trial(go: Any, experiment: Make, here: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"model.n_embd=7.*in the combination bad"):
        go(experiment(variants={"good": [{}], "bad": [{"model.n_embd": 7}]}))
    assert here.trained == []
    assert not (tmp_path / "exp").exists()


def test_second_stage_starts_from_the_first(go: Any, experiment: Make, tmp_path: Path) -> None:
    stages = [{"trainer.max_iters": 3}, {"data.block_size": 12, "trainer.max_iters": 1, "trainer.learning_rate": 1e-9}]
    go(experiment(variants={"RoPE": stages}, seeds=1))
    first, second = (load(tmp_path / "exp/cells/RoPE/seed-1" / f"stage-{n}") for n in (1, 2))
    assert (first.progress.step, second.progress.step, second.model.config.block_size) == (3, 1, 12)
    for name, weight in first.model.state_dict().items():
        assert (second.model.state_dict()[name] - weight).abs().max() < 1e-6, name


def test_second_stage_does_not_run_after_a_failed_first(go: Any, experiment: Make, here: Any, tmp_path: Path) -> None:
    def crash(config: Config) -> None:
        if (config.system.work_dir or "").endswith("stage-1"):
            raise NotFiniteError("boom")

    here.before = crash
    outcome, _ = go(experiment(variants={"RoPE": [{}, {}]}, seeds=1))
    assert len(outcome.failed) == 1
    assert here.seen == ["seed-1/stage-1"]


def test_second_stage_does_not_train_on_another_text(go: Any, experiment: Make, here: Any, text_file: Path) -> None:
    here.before = lambda config: text_file.write_text(text_file.read_text() + "a") and None
    outcome, _ = go(experiment(variants={"RoPE": [{}, {}]}, seeds=1))
    ((code, why),) = outcome.failed.values()
    assert (code, why) == (3, f"the text in {text_file} changed since the first trial was planned")
    assert here.seen == ["seed-1/stage-1"]


def test_n_gram_lines_are_drawn_across_validation_losses_alone(tmp_path: Path) -> None:
    (tmp_path / "measurements.jsonl").write_text('{"measurement": "numbers", "x": 1}\n')

    def plot(rows: Any, figure: Any, look: Palette) -> None:
        for label, axes in zip((LOSS, "time"), figure.subplots(1, 2), strict=True):
            axes.plot([1, 2], [2, 3])
            axes.set_label(label)

    for belongs, named in ((True, ["2-gram 2.50"]), (False, [])):
        measurement = Measurement("numbers", lambda lab: [], plot, with_baselines=belongs)
        with mock.patch("mingpt.experiments.drawings.baselines_of", return_value={"2-gram": 2.5}):
            found = drawings.drawing(measurement, tmp_path, Palette())
        assert found is not None
        assert [[text.get_text() for text in axes.texts] for axes in found.figure.axes] == [named, []]


def test_quick_takes_part_of_the_text_and_short_variants(go: Any, experiment: Make, here: Any, tmp_path: Path) -> None:
    one = experiment(quick=Form(settings={"trainer.max_iters": 1}, variants={"RoPE": [{}]}, seeds=1, characters=300))
    go(one, form="quick")
    assert [config.trainer.max_iters for config in here.trained] == [1]
    assert len(Path(here.trained[0].data.path).read_text()) == 300
    assert read_record(tmp_path / "exp")["text"]["characters"] == 300


def test_measurement_is_taken_once_and_drawn(go: Any, experiment: Make, tmp_path: Path) -> None:
    taken: list[Lab] = []

    def take(lab: Lab) -> list[dict[str, Any]]:
        taken.append(lab)
        return [{"x": 1}, {"x": 2}]

    drawn: list[Any] = []
    measurement = Measurement("numbers", take, lambda rows, figure, look: drawn.append(rows))
    one = experiment(variants={}, common={}, measurements=(measurement,))
    go(one)
    go(one)
    assert len(taken) == 1
    assert drawn[0] == drawn[1] == [{"measurement": "numbers", "x": 1}, {"measurement": "numbers", "x": 2}]
    assert (tmp_path / "exp/figures/numbers.svg").exists()


@pytest.mark.parametrize("variant", ["a/b", "..", "x" * 300, "a:b", ""])
def test_name_of_a_variant_stays_in_the_folder(variant: str) -> None:
    name = folder_name(variant)
    assert "/" not in name
    assert name not in ("", ".", "..")
    assert len(name) < 120
    assert folder_name(variant + "!") != name


def test_record_has_every_setting(go: Any, experiment: Make, tmp_path: Path) -> None:
    go(experiment())
    record = json.loads((tmp_path / "exp/record.json").read_bytes())
    settings = record["arms"]["RoPE"][0]
    assert settings["model.rope"] is True
    none = ("system.seed", "model.pretrained_folder")
    expected = {key for key in Config().flat() if key not in none and not changes_no_result(key)}
    expected -= {f"model.{name}" for name in ("cell", "readout", "reading", "objective", "order")}  # others' own
    assert settings.keys() == expected
    assert (record["seeds"], record["command"], record["question"]) == (2, "test", "Which?")
