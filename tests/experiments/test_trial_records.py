"""Finished trials are kept as small files, shared by experiments, and named by what makes them what they are."""

import json
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from mingpt.core.atomic_io import sha256
from mingpt.core.run_files.reading import read_lines
from mingpt.experiments import budget, summarize, trial_records
from mingpt.experiments.base import Experiment, Form, Measurement, settings_of
from mingpt.experiments.base_config import BASE
from mingpt.experiments.catalogue import EXPERIMENTS
from mingpt.experiments.identity import trial_id
from mingpt.experiments.measurements.stages import stage_curves
from mingpt.experiments.runner import ExperimentOptions, carry_out
from mingpt.experiments.trials import Text, config_of, trials_of
from mingpt.report.experiment_files import read_packed, read_rows
from mingpt.report.publish import LINES, publish

Make = Callable[..., Experiment]

IDS = {
    "attention": "934d1f92106287e0",
    "birnn": "93646b3a67b46281",
    "cache": "4f53cda18c2baa0c",
    "gqa": "a71979fb7949a053",
    "rnn": "ad8c1660f51ae773",
    "rope": "745cd64250333c97",
    "rope-gqa": "5a8d59af8aebd690",
    "symmetry": "4f53cda18c2baa0c",
    "window": "281e4d24c0d37d8c",
}


def _parameters(lab: Any) -> list[dict[str, Any]]:
    """A row that only a trained model can give."""
    assert len(lab.trials) == 1
    return [
        {"arm": trial.variant, "seed": trial.seed, "found": (trial.folders[-1] / "checkpoints").exists()}
        for trial in lab.trials
    ]


OF_MODEL = Measurement("of-model", _parameters, of_runs=True, of_model=True)
ONCE = Measurement("once", _parameters, of_runs=True, of_model=True, first_seed=True)


def rows(folder: Path, name: str) -> list[tuple[str, int]]:
    return [
        (row["arm"], row["seed"]) for row in read_lines(folder / "measurements.jsonl") if row["measurement"] == name
    ]


@pytest.mark.full
def test_experiments_share_trials_through_their_records(go: Any, experiment: Make, here: Any, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    one = experiment(measurements=(OF_MODEL, ONCE))
    go(one, kept=kept)
    assert len(here.trained) == len(list(kept.glob("*.json"))) == 4
    assert rows(tmp_path / "exp", "once") == [("RoPE", 1), ("learned", 1)]
    here.trained.clear()
    other = experiment(name="other", variants={"rotary": [{"model.rope": True}]}, measurements=(OF_MODEL, ONCE))
    _, told = go(other, kept=kept, folder=tmp_path / "other", seeds=3)
    assert here.seen == ["rotary/seed-3"]
    assert [trial.seed for trial in told.summarized] == [1, 2, 3]
    assert rows(tmp_path / "other", "of-model") == [("rotary", 1), ("rotary", 2), ("rotary", 3)]
    assert not (tmp_path / "other/cells/rotary/seed-1/checkpoints").exists()
    ours, theirs = (
        read_lines(tmp_path / home / "seed-1/metrics.jsonl")[-1] for home in ("exp/cells/RoPE", "other/cells/rotary")
    )
    assert theirs["val_loss"] == pytest.approx(ours["val_loss"], abs=1e-5)


def test_lost_checkout_goes_on_from_the_records(go: Any, experiment: Make, here: Any, tmp_path: Path) -> None:
    kept, stages = tmp_path / "kept", [{"trainer.max_iters": 3}, {"data.block_size": 12}]
    one = experiment(variants={"RoPE": stages}, seeds=1, measurements=(OF_MODEL,))
    go(one, kept=kept)
    shutil.rmtree(tmp_path / "exp")
    here.trained.clear()
    outcome, told = go(one, kept=kept)
    assert (outcome.failed, here.seen, len(told.summarized)) == ({}, [], 1)
    assert read_lines(tmp_path / "exp/cells/RoPE/seed-1/stage-1/metrics.jsonl")[-1]["step"] == 3
    assert f"1 of 1 trials have a record in {kept.parent}; --fresh trains them again" in told.lines
    assert not any("validation loss" in line for line in told.lines)  # it isn't reported as if it had been trained
    go(one, kept=kept)
    assert here.seen == []


@pytest.mark.full
def test_fresh_trains_what_has_a_record_and_so_does_its_resumption(
    go: Any, experiment: Make, here: Any, tmp_path: Path
) -> None:
    kept, one = tmp_path / "results" / "trials", experiment(seeds=1)
    go(one, kept=kept)
    here.trained.clear()
    go(one, kept=kept, fresh=True, launch=lambda config, *given: 1)  # each trial fails
    assert here.seen == []
    go(one, kept=kept)
    assert len(here.trained) == 2
    _, told = go(one, kept=kept, folder=tmp_path / "other")
    assert len(here.trained) == 2
    assert f"2 of 2 trials have a record in {kept.parent}; --fresh trains them again" in told.lines


@pytest.mark.full
def test_experiment_of_records_alone_is_summarized_and_published(
    text_file: Path, experiment: Make, here: Any, tmp_path: Path
) -> None:
    kept, rows = tmp_path / "kept", list[Any]()
    one = experiment(seeds=3, common={**experiment().common, "trainer.eval_every": 1}, measurements=(stage_curves({}),))
    for folder in (tmp_path / "first", tmp_path / "second"):
        options = ExperimentOptions(folder=folder, command="test", data=str(text_file), kept=kept)
        end = partial(summarize.summarize, show=lambda result, tables: rows.append(result))
        carry_out(one, options, summarize=end, launch=here)
        publish(folder, tmp_path / "results" / folder.name)
    assert len(here.trained) == 6
    first, second = rows
    for ours, theirs in zip(first.variants, second.variants, strict=True):
        assert theirs.losses == pytest.approx(ours.losses, abs=1e-4)
        assert theirs.parameters == ours.parameters
    assert second.seconds == pytest.approx(first.seconds, rel=1e-3)
    rows_of_first, rows_of_second = (read_packed(tmp_path / "results" / name).rows for name in ("first", "second"))
    assert rows_of_second == [pytest.approx(row, abs=1e-4) for row in rows_of_first]


@pytest.mark.full
def test_trials_of_a_published_experiment_are_not_trained_again(
    text_file: Path, experiment: Make, here: Any, tmp_path: Path
) -> None:
    """In a checkout that has results/NAME/record.jsonl and nothing else."""
    one, kept = experiment(seeds=2), tmp_path / "results" / "trials"

    def done(folder: Path) -> None:
        options = ExperimentOptions(folder=folder, command="test", data=str(text_file), kept=kept)
        end = partial(summarize.summarize, show=lambda result, tables: None)
        carry_out(one, options, summarize=end, launch=here)

    done(tmp_path / "first")
    publish(tmp_path / "first", tmp_path / "results" / "one")
    shutil.rmtree(kept)
    trained = len(here.trained)
    done(tmp_path / "second")
    assert len(here.trained) == trained > 0


@pytest.mark.full
def test_record_is_small_and_holds_no_weights(go: Any, experiment: Make, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    go(experiment(variants={"RoPE": [{"trainer.max_iters": 300, "trainer.save_every": 0}]}, seeds=1), kept=kept)
    (path,) = kept.glob("*.json")
    record = trial_records.read(path)
    assert len(record["stages"][0]["metrics"]) <= LINES + 2
    assert {"cpu_seconds", "val_loss"} <= record["stages"][0]["metrics"][-1].keys()
    assert path.stat().st_size < 30_000
    assert str(tmp_path) not in path.read_text()


@pytest.mark.full
def test_what_is_timed_is_left_out_on_a_machine_that_does_other_work(go: Any, experiment: Make, tmp_path: Path) -> None:
    timed = Measurement("timed", lambda lab: pytest.fail("it was measured"), timed=True)
    counted = Measurement("counted", lambda lab: [{"results": str(lab.tasks)}])
    kept = tmp_path / "results" / "trials"
    _, told = go(experiment(measurements=(timed, counted)), trials_only=True, kept=kept)
    assert told.summarized == []
    assert len(list((tmp_path / "exp/cells").glob("*/seed-*/trial.json"))) == 4
    assert read_rows(tmp_path / "exp") == [{"measurement": "counted", "results": str(tmp_path / "results" / "tasks")}]


@pytest.mark.full
def test_failed_measurement_of_a_model_fails_its_trial_alone(go: Any, experiment: Make) -> None:
    def take(lab: Any) -> list[dict[str, Any]]:
        return [{"x": 1 / (lab.trials[0].seed - 1)}]

    outcome, told = go(experiment(measurements=(Measurement("of-model", take, of_runs=True, of_model=True),)))
    assert sorted(trial.seed for trial in outcome.failed) == [1, 1]
    assert [trial.seed for trial in told.summarized] == [2, 2]


def test_id_ignores_defaults_that_are_added_or_move() -> None:
    stage = {"model.type": "rnn", "model.cell": "gru", "trainer.max_iters": 7, "trainer.optimizer": "adamw"}
    id_ = trial_id([stage], [{"text": "0"}], 1)
    spelled = {**stage, **{key: value for key, value in BASE.items() if key not in stage}}
    assert trial_id([spelled], [{"text": "0"}], 1) == id_
    assert trial_id([{**stage, "trainer.save_every": 9}], [{"text": "0"}], 1) == id_
    others = [
        {"model.cell": "lstm"},
        {"trainer.betas": (0.9, 0.99)},
        {"trainer.optimizer": "muon"},
        {"model.n_embd": 9},
    ]
    ids = {trial_id([{**stage, **other}], [{"text": "0"}], 1) for other in others}
    assert len(ids | {id_, trial_id([stage], [{"text": "1"}], 1), trial_id([stage], [{"text": "0"}], 2)}) == 7
    assert trial_id([{**stage, "trainer.betas": (0.9, 0.95)}], [{"text": "0"}], 1) == id_


def test_ids_of_published_trials_never_change() -> None:
    stages = [settings_of(config_of(each)) for each in EXPERIMENTS["rope"].stages("standard")["RoPE, two stages"]]
    assert trial_id(stages, [{"text": "0"}] * 2, 1) == "cc61e5181d533b46"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_ids_of_registered_trials_never_change(name: str) -> None:
    """Of all variants of the forms whose records are kept; a committed record is found by its id."""
    text = Text("input.txt", "0" * 64, None)
    ids = [
        each.id
        for form in ("standard", "full")
        for each in trials_of(EXPERIMENTS[name], Path("x"), text, [1], form, {})
    ]
    assert sha256(json.dumps(ids).encode())[:16] == IDS[name]


@cache
def registered(text_sha256: str) -> frozenset[str]:
    """Ids of the trials of every experiment's standard form, on one text; they take seconds to make."""
    text = Text("input.txt", text_sha256, None)
    return frozenset(
        trial.id
        for experiment in [EXPERIMENTS[name] for name in EXPERIMENTS]
        for trial in trials_of(experiment, Path("x"), text, range(1, experiment.seeds + 1), "standard", {})
    )


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "results/trials").glob("*.json")), ids=str)
def test_committed_trials_are_found_by_their_experiment(path: Path) -> None:
    assert path.stem in registered(trial_records.read(path)["stages"][0]["environment"]["text_sha256"])
    assert trial_records.find(path.parent, path.stem)["id"] == path.stem


def test_experiments_share_the_trials_that_are_the_same() -> None:
    stages = {name: EXPERIMENTS[name].stages("standard") for name in ("rope", "rope-gqa")}
    assert stages["rope"]["learned, two stages"] == stages["rope-gqa"]["absolute+MHA"]
    assert stages["rope"]["RoPE, two stages"] == stages["rope-gqa"]["RoPE+MHA"]
    named = {("rnn", "GPT"), ("window", "no window"), ("rope", "RoPE, standard recipe")}
    settings = [settings_of(config_of(EXPERIMENTS[name].stages("standard")[variant][0])) for name, variant in named]
    assert len({trial_id([each], [{"text": "0"}], 1) for each in settings}) == 1


def test_budget_names_trials_and_hours(experiment: Make, tiny: dict[str, Any], tmp_path: Path) -> None:
    one = experiment(seeds=3, standard=Form(data="tinyshakespeare"))
    said = list(budget.lines(one, "standard", tmp_path))
    assert said[0].startswith("  RoPE: ")
    assert said[-1].startswith("6 trials, 0 finished; about 0.0 hours of one core")
    (trial, *_) = budget._trials(one, "standard", range(1, 2))
    (tmp_path / f"{trial.id}.json").write_text(json.dumps({}))
    assert "6 trials, 1 finished" in list(budget.lines(one, "standard", tmp_path))[-1]
    assert list(budget.lines(experiment(variants={}, common={}), "standard", tmp_path)) == []
