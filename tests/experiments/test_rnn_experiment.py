"""Recurrent models beside GPT and counting: variants of one size, and a memory measured where there is one."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from matplotlib.figure import Figure

from mingpt.experiments import drawings
from mingpt.experiments.base import FORMS, Experiment, Sizes
from mingpt.experiments.base_config import BASE, model_config
from mingpt.experiments.catalogue import EXPERIMENTS
from mingpt.experiments.measurements import associative_recall, sensitivity
from mingpt.experiments.runner import ExperimentOptions, carry_out
from mingpt.experiments.trials import config_of
from mingpt.model import build
from mingpt.models.base import LanguageModel, ModelConfig
from mingpt.report.compare import comparison
from mingpt.report.experiment_files import read_record
from mingpt.report.palette import Palette


def parameters(settings: dict[str, Any]) -> int:
    own = {key.removeprefix("model."): value for key, value in settings.items() if key.startswith("model.")}
    with torch.device("meta"):
        model = build(ModelConfig(**own, vocab_size=65, block_size=settings["data.block_size"]))
    return model.parameter_count


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["rnn", "birnn"])
def test_variants_are_of_equal_sizes(name: str, form: str) -> None:
    variants = {variant: stages[-1] for variant, stages in EXPERIMENTS[name].stages(form).items()}
    sizes = {variant: parameters(stage) for variant, stage in variants.items() if stage["model.type"] != "ngram"}
    assert len(sizes) >= 3
    assert max(sizes.values()) < 1.02 * min(sizes.values()), sizes


def test_recall_is_of_equal_sizes() -> None:
    shape = {"vocab_size": associative_recall.ASK + 1, "block_size": max(associative_recall.SIZES.full.distances) + 1}
    sizes = {
        name: build(model_config(**own, **shape)).parameter_count for name, own in associative_recall.MODELS.items()
    }
    assert sizes.pop("6-gram") == 0
    assert all(abs(size / sizes["GPT"] - 1) < 0.03 for size in sizes.values()), sizes


def test_shared_settings_reach_the_families_that_have_them() -> None:
    variants = {"network": [{"model.type": "gpt"}], "counts": [{"model.type": "ngram", "model.order": 2}]}
    shared = {"trainer.max_iters": 7, "model.n_embd": 8, "data.block_size": 4, "model.cell": "gru"}
    made = Experiment(name="t", question="?", hypothesis="", variants=variants, common=shared).stages("full")
    (counts,) = made["counts"]
    assert counts.items() >= {"data.block_size": 4, **variants["counts"][0]}.items()
    assert not counts.keys() & {"trainer.max_iters", "model.n_embd", "model.cell"}
    (network,) = made["network"]
    assert {key: network.get(key) for key in shared} == {**shared, "model.cell": None}
    assert network["model.n_layer"] == BASE["model.n_layer"]
    refused = Experiment(
        name="t", question="?", hypothesis="", variants={"c": [{**variants["counts"][0], "trainer.max_iters": 7}]}
    )
    with pytest.raises(Exception, match=r"trainer.max_iters: no setting of model.type=ngram"):
        config_of(refused.stages("full")["c"][0])
    wrong = Experiment(name="t", question="?", hypothesis="", variants=variants, common={"model.n_embdd": 8})
    with pytest.raises(Exception, match="no such setting"):
        config_of(wrong.stages("full")["counts"][0])


class Remembers(LanguageModel):
    """Predicts the token `back` places back, the last one being 1, with certainty."""

    def __init__(self, back: int) -> None:
        super().__init__()
        self.config, self.back = ModelConfig(vocab_size=5), back
        self.register_buffer("unused", torch.zeros(()))

    def forward(self, idx: torch.Tensor, targets: Any = None, *, state: Any = None) -> Any:
        seen = idx.roll(self.back - 1, 1)
        return mock.Mock(logits=torch.nn.functional.one_hot(seen, 5).double() * 1e3)


def test_distance_is_exact_and_a_token_is_replaced_by_another() -> None:
    idx = torch.tensor([[0, 1, 2, 3], [0, 0, 2, 4], [1, 1, 2, 3]])
    for back in (1, 2, 3, 4):
        model = Remembers(back)
        before = sensitivity.predicted(model, idx)
        moved = [sensitivity.moved(model, idx, distance, before).tolist() for distance in (1, 2, 3, 4)]
        assert moved == [[1.0] * 3 if distance == back else [0.0] * 3 for distance in (1, 2, 3, 4)]


def test_key_is_at_its_place_and_asked_for() -> None:
    idx, keys = associative_recall.texts(50, 7, seed=1)
    assert idx.shape == (50, 7)  # the key is 7 back, what asks is 1 back
    assert torch.equal(idx[:, 0], keys)
    assert (idx[:, -1] == associative_recall.ASK).all()
    fillers = idx[:, 1:-1]
    assert ((fillers >= associative_recall.KEYS) & (fillers < associative_recall.ASK)).all()
    inputs, targets = associative_recall.batch(associative_recall.SIZES.quick, 7, 1, 3)
    assert (targets[:, :-1] == associative_recall.NOT_SCORED).all()
    assert torch.equal(targets[:, -1], inputs[:, 0])
    assert not torch.equal(inputs, associative_recall.batch(associative_recall.SIZES.quick, 7, 1, 4)[0])


def test_near_key_is_learned_and_no_far_one_by_n_grams() -> None:
    """Beside the key: any model tells it.  Beyond what a trigram sees: no more than chance."""
    size = associative_recall.Size((2,), 150, 16, (1,))
    model, steps = associative_recall.taught(
        {"type": "rnn", "cell": "gru", "n_layer": 1, "n_embd": 16}, size, 2, 1, 1e-2
    )
    assert associative_recall.accuracy(model, 2, 1) == 1.0
    assert steps < 150  # ended once it knew
    near, _ = associative_recall.taught({"type": "ngram", "order": 3}, size, 2, 1, 0.0)
    far, _ = associative_recall.taught({"type": "ngram", "order": 3}, size, 3, 1, 0.0)
    assert associative_recall.accuracy(near, 2, 1) == 1.0
    assert associative_recall.accuracy(far, 3, 1) < 0.25


def test_rate_is_not_chosen_on_the_texts_that_it_is_evaluated_on(tmp_path: Path) -> None:
    asked: list[Any] = []
    size = associative_recall.Size((2,), 1, 1, (1, 2), (1e-3, 1e-2))
    model = mock.Mock(**{"config.count_based": False, "parameter_count": 3})
    with (
        mock.patch.object(associative_recall, "taught", return_value=(model, 1)),
        mock.patch.object(associative_recall, "accuracy", lambda model, distance, seed: asked.append(seed) or 1.0),
        mock.patch.object(associative_recall, "MODELS", {"GRU": associative_recall.MODELS["GRU"]}),
    ):
        first = associative_recall.measured(size, tmp_path / "rows.jsonl")
        assert asked == [0, 0, 1, 2]
        assert associative_recall.measured(size, tmp_path / "rows.jsonl") == first  # a stopped one goes on
        farther = replace(size, distances=(2, 3))
        assert len(associative_recall.measured(farther, tmp_path / "rows.jsonl")) == 2 * len(first)
    assert asked == [0, 0, 1, 2] * 2
    seen: list[Any] = []
    with mock.patch.object(associative_recall, "texts", lambda count, distance, seed: seen.append(seed)):
        for seed in (0, 1):
            with pytest.raises(TypeError):
                associative_recall.accuracy(mock.Mock(), 2, seed)
    assert len({*seen}) == 2


def test_reach_has_no_gap_in_it() -> None:
    assert associative_recall.reach({3: 1.0, 5: 0.85, 8: 1.0}) == 3
    assert associative_recall.reach({8: 0.9, 3: 1.0}) == 8
    assert associative_recall.reach({3: 0.5, 5: 1.0}) == 0


def test_sensitivity_table_has_the_mean_of_the_seeds_at_some_distances() -> None:
    rows = [{"arm": "a", "distance": d, "moved": m} for d in (1, 9) for m in (0.0, 0.5)]
    assert sensitivity.sensitivity.table(rows) == [{"variant": "a", "1 back": 0.25}]


def test_rate_is_the_best_and_of_equal_ones_the_slower() -> None:
    told = {1e-3: (0.9, 50), 3e-3: (1.0, 60), 1e-2: (1.0, 40)}
    assert (
        associative_recall.best_rate(list(told), lambda rate: {"accuracy": told[rate][0], "steps": told[rate][1]})
        == 1e-2
    )


@pytest.fixture(scope="module")
def small_recall() -> Any:
    tiny = associative_recall.Size((2, 3), 2, 4, (1,), (1e-3,))
    with (
        mock.patch.object(associative_recall, "SIZES", Sizes(quick=tiny, full=associative_recall.SIZES.full)),
        mock.patch.object(associative_recall, "FRESH", 16),
    ):
        yield


@pytest.mark.full
def test_rnn_experiment_has_every_variant(
    small_recall: None, tmp_path: Path, here: Any, small_form: Any, carried_out: Any
) -> None:
    experiment = small_form("rnn")
    folder = tmp_path / "exp"
    page = carried_out(experiment, folder)
    variants = list(experiment.stages("quick"))
    assert all(variant in page for variant in variants)
    for name in ("loss-by-position", "sensitivity-by-distance"):
        assert {row["arm"] for row in drawings.measured(folder, name)} == set(variants), name
    far = [row for row in drawings.measured(folder, "sensitivity-by-distance") if row["arm"] == "6-gram"]
    assert {row["largest"] for row in far if row["distance"] > 5} == {0.0}
    assert any(row["largest"] > 0 for row in far if row["distance"] <= 5)
    assert {row["model"] for row in drawings.measured(folder, "recall")} == set(associative_recall.MODELS)
    record = read_record(folder)
    assert "6-gram" not in record["chosen_learning_rates"]
    assert set(record["chosen_learning_rates"]) == set(variants) - {"6-gram"}
    here.trained.clear()
    carried_out(experiment, folder)
    assert here.trained == []  # what counts is finished after its one step, too


def lasts(trials: list[Any], variant: str, seconds: float) -> None:
    """Its steps took so long each, whatever this machine says."""
    for path in [trial.folders[-1] / "metrics.jsonl" for trial in trials if trial.variant == variant]:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        told = [{**line, **dict.fromkeys(("seconds", "cpu_seconds"), seconds * line["step"])} for line in lines]
        path.write_text("".join(json.dumps(line) + "\n" for line in told))


@pytest.mark.full
def test_n_grams_do_not_shorten_the_view_at_equal_seconds(
    text_file: Path, tmp_path: Path, here: Any, small_form: Any
) -> None:
    experiment = small_form("rnn")
    kept = {variant: stages for variant, stages in experiment.quick.variants.items() if variant in ("GRU", "6-gram")}
    experiment = replace(experiment, quick=replace(experiment.quick, variants=kept, learning_rates=()), measurements=())
    options = ExperimentOptions(folder=tmp_path / "exp", command="test", data=str(text_file), form="quick")
    trials: list[Any] = []
    carry_out(experiment, options, summarize=lambda e, f, c: trials.extend(c), launch=here)
    lasts(trials, "GRU", 10.0)
    lasts(trials, "6-gram", 0.5)
    found = comparison({trial.variant: trial.folders for trial in trials})
    network, counts = found.variants
    assert found.seconds == pytest.approx(network.seconds.mean)
    assert counts.losses_at_seconds == counts.losses
    assert all(each.steps_to_baseline is None for each in found.variants)
    lasts(trials, "6-gram", 1e3)
    found = comparison({trial.variant: trial.folders for trial in trials})
    assert found.seconds == pytest.approx(found.variants[0].seconds.mean)
    assert found.variants[1].losses_at_seconds != found.variants[1].losses


@pytest.mark.parametrize("measurement", EXPERIMENTS["rnn"].measurements, ids=lambda each: each.name)
def test_figure_has_its_curves(measurement: Any) -> None:
    rows: dict[str, list[dict[str, Any]]] = {
        "loss-by-position": [
            {"arm": variant, "seed": 1, "nats": [3.0, 2.0, 2.0, 1.0, 1.0, 1.0]} for variant in ("a", "b")
        ],
        "sensitivity-by-distance": [
            {"arm": variant, "seed": 1, "distance": k, "places": 3, "moved": m, "largest": m}
            for variant in ("a", "b")
            for k, m in ((1, 0.5), (2, 0.0))
        ],
        "recall": [
            {"model": "a", "distance": d, "seed": 1, "accuracy": 0.5, "steps": 3, "chance": 0.125} for d in (2, 4)
        ],
    }
    own = rows[measurement.name]
    figure = Figure()
    measurement.draw(own, figure, Palette())
    (axes,) = figure.axes
    assert axes.get_title()
    shown = {
        "loss-by-position": list(axes.lines[0].get_ydata()) == [3.0, 2.0, 2.0, 1.0, 1.0, 1.0],
        "sensitivity-by-distance": math.isnan(axes.lines[0].get_ydata()[1]),  # exactly 0 has no place on a log axis
        "recall": any("chance, 1 in 8" in text.get_text() for text in axes.texts),
    }
    assert shown[measurement.name]
    tables = {
        "loss-by-position": [{"variant": v, "loss at positions 1 to 5": 1.8, "at 4 to 6": 1.0} for v in ("a", "b")],
        "sensitivity-by-distance": [{"variant": v, "1 back": 0.5} for v in ("a", "b")],
        "recall": [
            {"variant": "a", "90% correct up to": 0, "accuracy 2 back": 0.5, "accuracy 4 back": 0.5},
        ],
    }
    assert measurement.table(own) == tables[measurement.name]
