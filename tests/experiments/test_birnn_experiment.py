"""Reading from both ends: what sums to one, what leaks, and an experiment with a variant that has no held-out loss."""

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from matplotlib.figure import Figure

from mingpt.experiments import drawings
from mingpt.experiments.base import Lab, Sizes
from mingpt.experiments.measurements import string_probability
from mingpt.experiments.measurements.answer_copying import leak_map
from mingpt.report.figures import MEASURED
from mingpt.report.page import compared
from mingpt.report.palette import Palette

WHOLE, PREFIX, ONE = "both ways on whole text", "both ways on each prefix", "one way"
WHOLE_TEXT, EACH_PREFIX = "whole text", "each prefix"  # as the measurements of small layers call them


@pytest.fixture(scope="module")
def quick_strings() -> Any:
    with (
        mock.patch.object(string_probability, "STEPS", Sizes(quick=3, full=0)),
        mock.patch.object(string_probability, "SEEDS", 2),
        mock.patch.object(string_probability, "LENGTHS", Sizes(quick=(2, 4, 8), full=())),
    ):
        yield


def test_prefixes_make_a_probability_and_the_complete_text_does_not(quick_strings: None) -> None:
    rows = string_probability.string_sums.take(Lab(Path(), (), "quick"))
    assert len(rows) == 3 * 2 * 2 * 5
    for row in rows:
        if row["way"] != WHOLE_TEXT or row["length"] == 1:  # one token is predicted from the first alone
            assert row["off_by"] < 1e-12, row
        elif row["weights"] == "random weights":
            assert row["off_by"] > 1e-3, row
    figure = Figure()
    string_probability.string_sums.draw(rows, figure, Palette())  # type: ignore[misc]
    assert len(figure.axes) == 2


def test_kinds_of_weights_have_ranges_of_their_own() -> None:
    rows = [
        {"way": way, "weights": weights, "length": 5, "sum": total, "off_by": abs(total - 1), "width": 16}
        for way, weights, total in (
            (WHOLE_TEXT, "random weights", 1.5),
            (WHOLE_TEXT, "random weights", 2.0),
            (WHOLE_TEXT, "trained on random strings", 80.0),
            (EACH_PREFIX, "random weights", 1.0),
        )
    ]
    found = [[*row.values()] for row in string_probability.string_sums.table(rows)]
    assert found == [
        [WHOLE_TEXT, "random weights", 5, 1.5, 2.0, 1.0],
        [WHOLE_TEXT, "trained on random strings", 5, 80.0, 80.0, 79.0],
        [EACH_PREFIX, "random weights", 5, 1.0, 1.0, 0.0],
    ]


def test_cost_table_has_the_exponent_of_the_longer_half() -> None:
    rows = [{"way": EACH_PREFIX, "length": n, "ms": {"median": n**2.0}, "width": 64} for n in (32, 64, 128, 256, 512)]
    (found,) = string_probability.prefix_cost.table(rows)
    assert [*found.values()] == [EACH_PREFIX, pytest.approx(2.0), 512**2.0]


@pytest.mark.full
def test_copying_all_but_the_last_sums_to_what_it_must() -> None:
    """The whole-text reading taught to copy: a sum of about 3^(length - 1), its largest."""
    model = string_probability._trained(string_probability.WAYS[WHOLE_TEXT], 0, 200)
    for length in (2, 3, 5):
        assert 0.9 * 3 ** (length - 1) < string_probability.total(model, length) <= 3 ** (length - 1)


def test_map_has_a_colour_bar_and_names_along_its_axes() -> None:
    rows = [
        {"arm": variant, "output": i, "token": "abc"[i], "later_inputs": int(i < 2), "moved": [0.1, 0.0, 0.2]}
        for variant in (WHOLE, PREFIX)
        for i in range(3)
    ]
    figure = Figure(figsize=MEASURED, layout="constrained")
    leak_map.draw(rows, figure, Palette())  # type: ignore[misc]
    figure.draw_without_rendering()
    panels, bars = figure.axes[:2], figure.axes[2:]
    assert panels[0].get_ylabel() == "prediction after this token"
    assert any(axes.get_xlabel() == "input that is replaced" for axes in panels)
    colours = [axes.collections[-1].get_cmap()(1.0) for axes in bars]
    assert [colour[0] > colour[2] for colour in colours] == [False, True]  # blue, then red below it
    assert ["later" in axes.get_xlabel() for axes in bars] == [False, True]


@pytest.mark.full
def test_birnn_experiment_has_a_variant_without_a_loss(
    quick_strings: None, tmp_path: Path, small_form: Any, carried_out: Any
) -> None:
    folder = tmp_path / "exp"
    page = carried_out(small_form("birnn"), folder)
    assert all(variant in page for variant in (WHOLE, PREFIX, ONE))
    result = compared(folder)
    assert result
    losses_of = {each.name: each.loss for each in result.variants}
    assert losses_of[WHOLE] is None
    assert losses_of[PREFIX] is not None
    losses = drawings.measured(folder, "loss-in-training")
    assert {(row["arm"], row["loss"]) for row in losses} == {
        (WHOLE, "training"),
        *((variant, kind) for variant in (PREFIX, ONE) for kind in ("training", "held out")),
    }
    later = dict.fromkeys((WHOLE, PREFIX, ONE), 0)
    for row in drawings.measured(folder, "leak-map"):
        later[row["arm"]] += row["later_inputs"]
        assert any(row["moved"][: row["output"] + 1])
    assert later[PREFIX] == later[ONE] == 0
    assert later[WHOLE] == 12 * 11 // 2
    read = {
        row["length"]: row["positions_read"]
        for row in drawings.measured(folder, "prefix-cost")
        if row["way"] == EACH_PREFIX
    }
    assert read == {2: 4, 4: 16, 8: 64}
