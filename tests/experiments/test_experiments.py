"""The registered experiments: no default hidden in a variant, none that can't run, none that draws nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from mingpt.core.run_files.reading import read_lines
from mingpt.experiments import commands
from mingpt.experiments.base import FORMS, FULL, Experiment, Lab, Trial
from mingpt.experiments.catalogue import EXPERIMENTS
from mingpt.experiments.measurements import kv_cache, score_functions, symmetries, window_cost
from mingpt.experiments.trials import Text, config_of, defined, text_of, trials_of
from mingpt.report.experiment_files import smallness
from mingpt.report.palette import Palette
from mingpt.runs.run import train

ALL = [(name, form) for name in EXPERIMENTS for form in FORMS]


@pytest.mark.parametrize(("name", "form"), ALL)
@pytest.mark.thin(5)
def test_every_variant_has_valid_settings(name: str, form: str) -> None:
    for stages in EXPERIMENTS[name].stages(form).values():
        for stage in stages:
            found = config_of(stage).flat()
            assert {key: found[key] for key in stage} == stage


@pytest.mark.parametrize(("name", "form"), ALL)
def test_every_shared_setting_is_used_by_a_variant(name: str, form: str) -> None:
    found = EXPERIMENTS[name]
    read = {key for stages in found.stages(form).values() for stage in stages for key in stage}
    if found.variants:
        assert {*found.common, *found.form(form).settings} <= read


@pytest.mark.parametrize(("name", "form"), ALL)
def test_no_two_variants_are_equal(name: str, form: str) -> None:
    variants = EXPERIMENTS[name].stages(form)
    assert len({str(stages) for stages in variants.values()}) == len(variants)
    assert EXPERIMENTS[name].question.endswith("?")
    assert variants or EXPERIMENTS[name].measurements
    assert commands.show(EXPERIMENTS[name], form).startswith(EXPERIMENTS[name].question)


def test_published_record_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("results/window-quick").mkdir(parents=True)
    assert "published" not in commands.show(EXPERIMENTS["window"], "standard")
    Path("results/window-quick/README.md").write_text("a table")
    for form in FORMS:
        assert "published: results/window-quick/README.md" in commands.show(EXPERIMENTS["window"], form)


def test_record_of_an_experiment_has_its_margin_of_equivalence() -> None:
    text = Text("t.txt", "0" * 64, 10)
    found = {name: defined(replace(EXPERIMENTS[name], variants={}), text, FULL)["margin"] for name in EXPERIMENTS}
    assert {name: margin for name, margin in found.items() if margin != 0.05} == {"window": 0.02, "gqa": 0.02}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, text_file: Path, tiny: dict[str, Any]) -> Lab:
    """Two variants of one seed, trained."""
    folder = tmp_path_factory.mktemp("lab")
    variants = {"RoPE": [{"model.rope": True}], "learned": [{"model.rope": False}]}
    experiment = Experiment(
        name="t", question="?", hypothesis="", variants=variants, common={**tiny, "trainer.eval_every": 1}
    )
    text = text_of(experiment, folder, str(text_file), "standard")
    trials = trials_of(experiment, folder, text, [1], "standard", {})
    for trial in trials:
        train(trial.configs[0])
    return Lab(folder, trials, "quick")


@pytest.mark.parametrize("name", ["loss-by-step", "extrapolation", "loss-by-position", "samples"])
def test_measurements_of_runs_have_rows(lab: Lab, name: str) -> None:
    found = {each.name: each for each in EXPERIMENTS["rope"].measurements}[name]
    rows = found.take(lab)
    assert {row["arm"] for row in rows} == {"RoPE", "learned"}
    if found.draw:
        figure = Figure()
        found.draw(rows, figure, Palette())
        assert figure.axes[0].lines


def test_extrapolation_is_of_the_same_weights(lab: Lab) -> None:
    """At the trained length it is the run's own held-out loss; and learned positions lose beyond it."""
    rows = {each.name: each for each in EXPERIMENTS["rope"].measurements}["extrapolation"].take(lab)
    for trial in lab.trials:
        own = next(row for row in rows if row["arm"] == trial.variant and row["block"] == row["trained"])
        assert own["nats"] == pytest.approx(read_lines(trial.folders[0] / "metrics.jsonl")[-1]["val_loss"], abs=1e-5)
    assert sorted({row["block"] for row in rows}) == [8, 16, 32]


def test_symmetry_is_where_theory_has_one() -> None:
    rows = symmetries.asymmetry.take(Lab(Path(), (), "quick"))
    most = {case: max(row["scores"] for row in rows if row["case"] == case) for case in {row["case"] for row in rows}}
    least = {case: min(row["weights"] for row in rows if row["case"] == case) for case in most}
    assert most.pop("W_q, W_k free") > 1
    assert all(value < 1e-11 for value in most.values()), most
    assert all(value > 1e-3 for value in least.values()), least
    equal = {(row["mask"], row["position"]): row["largest_difference"] for row in symmetries.equivariance.take(None)}  # type: ignore[arg-type]
    assert equal.pop(("full", "none")) < 1e-10
    assert all(value > 1e-3 for value in equal.values())


def test_linear_concat_alone_does_not_see_the_query() -> None:
    rows = {row["score"]: row["largest_difference"] for row in score_functions.query_blindness.take(None)}  # type: ignore[arg-type]
    assert rows.pop("linear_concat") < 1e-12
    assert all(value > 1e-3 for value in rows.values())
    (folded,) = score_functions.folding.take(None)  # type: ignore[arg-type]
    assert folded["largest_difference"] < 1e-12


def test_slope_of_a_known_power_is_found() -> None:
    rows = [{"way": "x", "length": n, "ms": {"median": 3.0 * n**1.5}} for n in (256, 512, 1024, 2048, 4096)]
    assert window_cost.time_slopes(rows) == {"x": pytest.approx(1.5)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gqa", "window", "attention", "cache"])
def test_timing_leaves_rows_to_draw(name: str, text_file: Path) -> None:
    text = Text(str(text_file), "0", 600)
    trials = trials_of(EXPERIMENTS[name], Path(), text, [1], "quick", {})
    for measurement in EXPERIMENTS[name].measurements:
        if measurement.of_runs or measurement.of_model:
            continue
        rows = measurement.take(Lab(Path(), trials, "quick"))
        assert rows
        if measurement.draw:
            measurement.draw(rows, Figure(), Palette())


@pytest.mark.full
def test_generation_with_the_cache_writes_the_same_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_cache, "VARIANTS", {"window": {"rope": True, "window": 8}})
    rows = kv_cache.same_text.take(Lab(Path(), [Trial("", 0, (), ())], "quick"))
    assert {row["differing"] for row in rows} == {0}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_figure_of_timings_names_steps_of_training(name: str) -> None:
    """What is no run says itself what its quick form makes smaller; what looks at runs leaves it to these."""
    of_runs = {"loss-in-training", "leak-map", "extrapolation", "loss-by-position", "loss-by-step"}
    of_runs |= {"sensitivity-by-distance", "samples", "effect", "interaction"}
    for measurement in EXPERIMENTS[name].measurements:
        assert measurement.of_runs == (measurement.name in of_runs), measurement.name
        assert not (measurement.of_runs and measurement.smaller), measurement.name


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.thin(2)
def test_quick_form_is_called_smaller_where_it_is(name: str) -> None:
    """And the full form larger and trained for longer, as a page says of an experiment with variants."""
    experiment, text = EXPERIMENTS[name], Text("t.txt", "0", 9)
    small = smallness({**defined(experiment, text, "quick"), "seeds": 3})
    assert smallness({**defined(experiment, text, "full"), "seeds": 3}) == ""
    if not experiment.variants:
        assert bool(small) == any(each.smaller for each in experiment.measurements)
        return
    quick, full = (experiment.stages(form) for form in ("quick", "full"))
    for size in ("trainer.max_iters", "model.n_embd"):
        most = [
            max(sum(stage.get(size, 0) for stage in stages) for stages in variants.values())
            for variants in (quick, full)
        ]
        assert most[0] < most[1], size


def test_symmetry_is_not_called_smaller_in_its_quick_form() -> None:
    for measurement in EXPERIMENTS["symmetry"].measurements:
        assert measurement.take(None)  # type: ignore[arg-type]  # which so doesn't ask whether to be quick
    assert smallness(defined(EXPERIMENTS["symmetry"], Text("t.txt", "0", 9), "quick")) == ""
