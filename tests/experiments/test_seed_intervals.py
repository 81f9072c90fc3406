"""Measurements over seeds: 95 % intervals, gains from context, and the starting document's values next to ours."""

import math
from typing import Any

import numpy as np
import pytest

from mingpt.core.statistics import estimate
from mingpt.experiments.catalogue import EXPERIMENTS
from mingpt.experiments.measurements.context_length import gain, loss_by_position, ranges_of
from mingpt.experiments.measurements.effects import INTERACTION, effect, interaction, two_by_two
from mingpt.experiments.measurements.sensitivity import sensitivity
from mingpt.experiments.measurements.stages import reference_points, stage_curves
from mingpt.experiments.measurements.summaries import bands, interval
from mingpt.report import figures
from mingpt.report.palette import COLOURS, QUIET
from mingpt.report.panels import LOSS


def along(arm: str, seed: int, size: int = 40) -> dict[str, Any]:
    """Losses of a block: 3 at the first 16 positions, then 2, later 1; a seed shifts the later ones."""
    nats = [3.0] * 16 + [2.0 + seed / 10] * 16 + [1.0 + seed / 10] * (size - 32)
    return {"arm": arm, "seed": seed, "nats": nats[:size]}


ROWS = [along(arm, seed) for arm in ("GPT", "GRU", "LSTM") for seed in (1, 2, 3)]


def drawn(measurement: Any, rows: list[dict[str, Any]]) -> Any:
    return figures.measured(measurement.draw, rows, lines={"4-gram": 2.0}, caption="x").figure


def test_interval_over_seeds_is_students() -> None:
    found = estimate([1.0, 2.0, 4.0])
    assert interval([1.0, 2.0, 4.0]) == (found.mean, found.low, found.high)
    assert all(map(math.isnan, interval([1.0])[1:]))


def test_interval_of_logarithms_is_about_the_geometric_mean() -> None:
    middle, low, high = interval([1e-4, 1e-2], log=True)
    assert middle == pytest.approx(1e-3)
    assert low * high == pytest.approx(1e-6)
    assert all(map(math.isnan, interval([1e-4, 0.0], log=True)))  # 0 has no logarithm: the line ends


def test_bands_pool_the_seeds_of_each_place() -> None:
    rows = [{"arm": "a", "seed": seed, "x": x, "y": seed + x} for seed in (1, 3) for x in (5, 2)]
    assert (bands(rows, "x", "y")["a"].at, list(bands(rows, "x", "y")["a"].middle)) == ([2, 5], [4.0, 7.0])


def test_gain_from_context_is_the_loss_of_the_first_16_minus_the_later_one() -> None:
    assert ranges_of(ROWS) == [(17, 32), (33, 40)]
    assert gain(along("GPT", 2), 17, 32) == pytest.approx(3 - 2.2)
    (first, *_) = loss_by_position.table(ROWS)
    found = estimate([3 - 1.1, 3 - 1.2, 3 - 1.3])
    assert first["gain at 33 to 40"] == pytest.approx({"mean": found.mean, "low": found.low, "high": found.high})
    assert first["loss at positions 1 to 5"] == {"mean": 3.0, "low": None, "high": None}  # no seed changes it
    assert ranges_of([along("GPT", 1, size=16)]) == []


def test_loss_by_position_has_a_panel_for_each_variant_and_the_gains_of_all() -> None:
    figure = drawn(loss_by_position, ROWS)
    losses, gains = [axes for axes in figure.axes if axes.get_label() == LOSS], figure.axes[-1]
    assert [axes.get_title() for axes in losses] == ["GRU", "LSTM"]
    for axes, colour in zip(losses, COLOURS[1:], strict=False):
        assert [line.get_color() for line in axes.lines][:2] == [QUIET, colour]
        assert len(axes.collections) == 2  # the interval of each
    assert [text.get_text() for text in gains.get_yticklabels()] == ["GPT", "GRU", "LSTM"]
    assert "gain from context" in gains.get_xlabel()
    assert len(drawn(loss_by_position, [along(arm, 1, size=12) for arm in "ab"]).axes) == 1


def test_sensitivity_ends_where_a_seed_is_not_moved() -> None:
    moved = {1: (0.5, 0.4), 4: (1e-3, 1e-5), 16: (1e-6, 0.0)}
    rows = [
        {"arm": arm, "seed": seed, "distance": at, "moved": value}
        for arm in ("GPT", "GRU")
        for at, values in moved.items()
        for seed, value in enumerate(values, start=1)
    ]
    (axes,) = drawn(sensitivity, rows).axes
    assert (axes.get_yscale(), axes.get_title()) == ("log", "GRU")
    (line,) = (line for line in axes.lines if line.get_color() == COLOURS[1])
    heights = list(line.get_ydata())
    assert heights[:2] == pytest.approx([math.sqrt(0.2), 1e-4])
    assert math.isnan(heights[2])


def staged(arm: str, seed: int, steps: int) -> list[dict[str, Any]]:
    found = []
    for stage in (1, 2):
        for part in (1, 2):
            row = {"arm": arm, "seed": seed, "stage": stage, "step": (stage - 1) * steps + part * steps // 2}
            found += [{**row, "held_out": 2.2 - stage / 10}, {**row, "training": 2.0 - stage / 10 + seed / 100}]
    return found


REFERENCES = {"RoPE": (2.04, 1.445), "other": (9.0, 9.0)}


def test_reference_stands_where_a_stage_ends_as_the_starting_document_s_did() -> None:
    rows = [row for row in staged("RoPE", 1, 600) if "held_out" in row]
    assert reference_points(rows, "RoPE", REFERENCES) == [(600, 2.04), (1200, 1.445)]
    assert reference_points(rows, "learned", REFERENCES) == []
    quick = [row for row in staged("RoPE", 1, 300) if "held_out" in row]
    assert reference_points(quick, "RoPE", REFERENCES) == []  # another setting: nothing to compare with


def test_reference_is_hollow_and_labelled_at_the_training_loss() -> None:
    rows = [row for arm in ("learned", "RoPE") for seed in (1, 2) for row in staged(arm, seed, 600)]
    measurement = stage_curves(REFERENCES)
    axes = {each.get_title(): each for each in drawn(measurement, rows).axes}
    assert [*axes] == [f"{arm}: {kind}" for arm in ("learned", "RoPE") for kind in ("training", "validation")]
    hollow = {
        title: [(line.get_xdata()[0], line.get_ydata()[0]) for line in each.lines if line.get_mfc() == "none"]
        for title, each in axes.items()
    }
    assert hollow.pop("RoPE: training") == [(600, 2.04), (1200, 1.445)]
    assert [*hollow.values()] == [[], [], []]
    assert [text.get_text() for text in axes["RoPE: training"].texts] == ["2.04", "1.445"]
    lines = {title for title, each in axes.items() if any(line.get_zorder() == 0 for line in each.lines)}
    assert lines == {"learned: validation", "RoPE: validation"}  # n-gram models have no training loss
    learned, rope = measurement.table(rows)
    assert rope["starting document, training, stage 2"] == 1.445
    assert rope["training loss after stage 2"] == pytest.approx(np.mean([1.81, 1.82]))
    assert not any("starting" in key for key in learned)


def test_rows_of_before_training_losses_were_kept_are_drawn_without_them() -> None:
    rows = [row for arm in ("learned", "RoPE") for row in staged(arm, 1, 300) if "held_out" in row]
    assert [axes.get_title() for axes in drawn(stage_curves(REFERENCES), rows).axes] == ["RoPE"]


@pytest.mark.parametrize(("name", "variants"), [("rope", 2), ("rope-gqa", 4)])
def test_references_are_of_the_experiments_own_variants(name: str, variants: int) -> None:
    experiment = EXPERIMENTS[name]
    (measurement,) = (each for each in experiment.measurements if each.name == "loss-by-step")
    rows = [row for variant in experiment.variants for row in staged(variant, 1, 600)]
    ends = [row for row in measurement.table(rows) if "starting document, training, stage 2" in row]
    assert len(ends) == variants
    assert ends[0]["starting document, training, stage 2"] == 1.681  # absolute positions, all heads


def four_variants(both: float) -> list[dict[str, Any]]:
    """Losses of two ideas over four seeds: RoPE takes 0.3, GQA adds 0.1, and both together end at `both`."""
    means = {"learned+MHA": 2.0, "RoPE+MHA": 1.7, "learned+GQA": 2.1, "RoPE+GQA": both}
    wobble = {"learned+MHA": 0.0, "RoPE+MHA": 0.01, "learned+GQA": 0.02, "RoPE+GQA": -0.01}
    return [
        {"arm": name, "seed": seed, "loss": loss + wobble[name] * (-1) ** seed}
        for name, loss in means.items()
        for seed in (1, 2, 3, 4)
    ]


IDEAS = (("learned", "RoPE"), ("MHA", "GQA"))


def test_interaction_is_the_difference_of_the_differences() -> None:
    found = two_by_two(four_variants(both=1.5), *IDEAS)
    means = {name: each.mean for name, each in found.items() if each}
    expected = {
        "RoPE with MHA": -0.3,
        "RoPE with GQA": -0.6,
        "GQA with learned": 0.1,
        "GQA with RoPE": -0.2,
        INTERACTION: -0.3,
    }
    assert means == pytest.approx(expected)
    each_seed = estimate([-0.3 - 0.04 * (-1) ** seed for seed in (1, 2, 3, 4)])
    over_seeds = found[INTERACTION]
    assert over_seeds is not None
    assert (over_seeds.low, over_seeds.high) == pytest.approx((each_seed.low, each_seed.high))


@pytest.mark.parametrize(
    ("both", "margin", "outcome"),
    [(1.5, 0.05, "significant"), (1.8, 0.1, "none beyond ±0.1"), (1.8, 0.02, "inconclusive")],
)
def test_interaction_has_one_of_three_outcomes(both: float, margin: float, outcome: str) -> None:
    *others, last = interaction(*IDEAS, margin=margin).table(four_variants(both))
    assert last["outcome"] == outcome
    assert [row["outcome"] for row in others] == [None] * 4


def test_interaction_without_shared_seeds_is_empty() -> None:
    rows = [row for row in four_variants(1.8) if row["seed"] == 1 or row["arm"] != "RoPE+GQA"]
    found = two_by_two(rows, *IDEAS)
    assert found[INTERACTION] is None
    assert found["RoPE with MHA"] is not None
    assert interaction(*IDEAS).table(rows)[-1]["difference ± 95 % CI"] is None


def test_interaction_is_drawn_apart_from_the_effects() -> None:
    figure = drawn(interaction(*IDEAS), four_variants(both=1.5))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()][-1].splitlines()[0] == INTERACTION
    points = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 1]
    assert np.concatenate(points) == pytest.approx([-0.3, -0.6, 0.1, -0.2, -0.3])


def test_effect_is_the_second_of_a_pair_minus_the_first_where_both_are_there() -> None:
    measured = effect("RoPE minus learned", {"MHA": ("learned+MHA", "RoPE+MHA"), "Muon": ("learned", "RoPE")})
    (row,) = measured.table(four_variants(both=1.5))
    assert row["effect"] == "MHA"
    assert row["difference ± 95 % CI"].startswith("-0.3")
    (axes,) = drawn(measured, four_variants(both=1.5)).axes
    assert axes.get_xlabel().startswith("change of the validation loss")
