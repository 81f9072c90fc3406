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
from mingpt.experiments.base_config import BASE
from mingpt.experiments.catalogue import EXPERIMENTS
from mingpt.experiments.measurements import memory, memory_training, sensitivity
from mingpt.experiments.measurements.memory_training import Recipe
from mingpt.experiments.rnn import SMALL
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


def test_sensitivity_table_has_the_mean_of_the_seeds_at_some_distances() -> None:
    rows = [{"arm": "a", "distance": d, "moved": m} for d in (1, 9) for m in (0.0, 0.5)]
    assert sensitivity.sensitivity.table(rows) == [{"variant": "a", "1 back": 0.25}]


@pytest.fixture(scope="module")
def small_tasks() -> Any:
    tiny = Recipe((4, 5), 2, (1,), (1e-3,), batch=4, fitted=3)
    with (
        mock.patch.object(memory, "RECIPES", Sizes(quick=tiny, full=tiny)),
        mock.patch.object(memory_training, "FRESH", 16),
    ):
        yield


@pytest.mark.full
def test_rnn_experiment_has_every_variant(
    small_tasks: None, tmp_path: Path, here: Any, small_form: Any, carried_out: Any
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
    for name in ("recall", "copying"):
        assert {row["model"] for row in drawings.measured(folder, name)} == set(SMALL), name
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


def of_one_seed(mean: float) -> dict[str, Any]:
    return {"mean": pytest.approx(mean), "low": None, "high": None}


@pytest.mark.parametrize("measurement", EXPERIMENTS["rnn"].measurements[:2], ids=lambda each: each.name)
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
    }
    own = rows[measurement.name]
    figure = Figure()
    measurement.draw(own, figure, Palette())
    (axes,) = figure.axes  # of b; a is in grey
    assert axes.get_title() == "b"
    shown = {
        "loss-by-position": list(axes.lines[1].get_ydata()) == [3.0, 2.0, 2.0, 1.0, 1.0, 1.0],
        "sensitivity-by-distance": math.isnan(axes.lines[1].get_ydata()[1]),  # exactly 0 has no place on a log axis
    }
    assert shown[measurement.name]
    tables = {
        "loss-by-position": [
            {"variant": v, "loss at positions 1 to 5": of_one_seed(1.8), "at 4 to 6": of_one_seed(1.0)} for v in "ab"
        ],
        "sensitivity-by-distance": [{"variant": v, "1 back": 0.5} for v in ("a", "b")],
    }
    assert measurement.table(own) == tables[measurement.name]
