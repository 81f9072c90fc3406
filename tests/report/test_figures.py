"""Figures and pages of runs whose names are long, as a sweep's are."""

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mingpt.report import figures
from mingpt.report.columns import records_of
from mingpt.report.compare import Comparison, comparison
from mingpt.report.difference_plot import differences
from mingpt.report.drawing import Drawing
from mingpt.report.fonts import LINE_OF_LEGEND, LONGEST_IN_LEGEND, in_lines
from mingpt.report.formatting import chance
from mingpt.report.palette import COLOURS, QUIET
from mingpt.report.pictures import own_figures
from mingpt.report.table import Table, to_html, value_text

NAMES = [
    f"model.window={window},model.score=multiplicative,model.n_kv_head={heads},trainer.matrix_learning_rate=0.02"
    for window in (16, 64)
    for heads in (1, 2)
]


def test_names_of_a_sweep_stay_above_their_panels(make_run: Callable[..., Path]) -> None:
    drawn = figures.loss_curves(comparison({name: [make_run(str(at))] for at, name in enumerate(NAMES)}))
    assert drawn is not None
    figure = drawn.figure
    figure.draw_without_rendering()
    (legend,), panels, whole = figure.legends, figure.axes, figure.bbox
    assert [axes.get_title().replace("\n", "") for axes in panels] == NAMES[1:]  # the first is in grey in each
    assert legend.get_texts()[0].get_text().replace("\n", "") == f"{NAMES[0]}, the baseline"
    for place in (legend.get_window_extent(), *(axes.title.get_window_extent() for axes in panels)):
        assert whole.x0 <= place.x0 < place.x1 <= whole.x1
        assert whole.y0 <= place.y0 < place.y1 <= whole.y1
    for above, below in zip(panels[:1], panels[2:], strict=True):  # the same column
        assert above.get_window_extent().y0 > below.title.get_window_extent().y1
    assert all(axes.get_window_extent().height > 0.5 * figure.dpi for axes in panels)  # names take none of their room


def test_no_curve_hides_another(costly: dict[str, list[Path]], make_run: Callable[..., Path]) -> None:
    """A panel has one variant's mean and seeds, and the baseline's mean in grey."""
    third = [make_run(f"third-{seed}", seed=seed, curve=[3, 2, 1.5 + seed / 50], score="dot") for seed in (1, 2, 3)]
    drawn = figures.loss_curves(comparison({**costly, "third": third}))
    assert drawn is not None
    assert [axes.get_title() for axes in drawn.figure.axes] == ["dear", "third"]
    for axes, colour in zip(drawn.figure.axes, COLOURS[1:], strict=False):
        drawn_in = [line.get_color() for line in axes.lines if line.get_zorder() > 0]
        assert {*drawn_in} == {QUIET, colour}
        assert (drawn_in.count(QUIET), drawn_in.count(colour)) == (1, 4)


def test_losses_are_drawn_against_flops_where_these_are_known(costly: dict[str, list[Path]]) -> None:
    drawn = figures.loss_curves(comparison(costly), over="flops")
    assert drawn is not None
    (axes,) = drawn.figure.axes
    assert axes.get_xlabel() == "training FLOPs"
    (mean,) = (line for line in axes.lines if line.get_label() == "dear")
    assert list(mean.get_xdata()) == pytest.approx([3 * 2e6 * 8 * step for step in (10, 20, 30)])
    names = [figure.name for figure in own_figures(comparison(costly))]
    assert names == ["difference-from-baseline", *(f"validation-loss-by-{x}" for x in ("steps", "seconds", "flops"))]


# ---- the figure that answers


def answer_of(result: Comparison) -> Drawing:
    drawn = differences(result)
    assert drawn is not None
    return drawn


def test_difference_is_drawn_with_the_interval_of_the_table_and_the_margin(costly: dict[str, list[Path]]) -> None:
    result = replace(comparison(costly), margin=0.02)
    (_, dear) = records_of(result)
    (axes,) = answer_of(result).figure.axes
    (interval,) = (line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_color() == COLOURS[1])
    assert list(interval.get_xdata()) == [dear["difference_low"], dear["difference_high"]]
    (dot,) = (line for line in axes.lines if len(line.get_xdata()) == 1)
    assert dot.get_xdata()[0] == dear["difference"]
    (shaded,) = axes.patches
    assert (shaded.get_x(), shaded.get_x() + shaded.get_width()) == (-0.02, 0.02)
    (name,) = (text.get_text() for text in axes.get_yticklabels())
    assert name == f"dear\nbetter, p {chance(dear['p_holm'])}"


def test_answer_names_n_gram_lines_where_they_lie_and_what_has_no_loss(costly: dict[str, list[Path]]) -> None:
    result = comparison(costly)
    blind = replace(result.variants[1], name="blind", loss=None, losses=[None] * 3)
    base = result.variants[0].loss
    assert base is not None
    near = {"4-gram": base.mean - 0.08, "1-gram": base.mean + 2}
    drawn = answer_of(replace(result, variants=[*result.variants, blind], baselines=near))
    (axes,) = drawn.figure.axes
    assert [text.get_text() for text in axes.texts] == ["4-gram"]
    assert "The 4-gram lies at -0.080." in drawn.caption
    assert "Without a validation loss: blind." in drawn.caption
    assert "dear -0.1" in drawn.label


def test_names_of_n_gram_lines_do_not_touch(costly: dict[str, list[Path]]) -> None:
    result = comparison(costly)
    base = result.variants[0].loss
    assert base is not None
    for near, far in itertools.product((0.002, 0.012, 0.024, 0.03), repeat=2):
        above = {"6-gram": 0.0, "5-gram": near, "4-gram": near + far}
        drawn = answer_of(replace(result, baselines={n: base.mean - 0.06 + at for n, at in above.items()}))
        drawn.figure.canvas.draw()
        texts = drawn.figure.axes[0].texts
        boxes = sorted((text.get_window_extent() for text in texts), key=lambda box: box.x0)
        assert all(left.x1 + 8 < right.x0 for left, right in itertools.pairwise(boxes)), (near, far)
        assert {*re.findall(r"\d", " ".join(text.get_text() for text in texts))} == {"4", "5", "6"}
        assert len(texts) == {0.002: 1, 0.03: 3}.get(near, len(texts)) or near != far


def test_difference_that_no_two_seeds_share_is_not_drawn(make_run: Callable[..., Path]) -> None:
    assert differences(comparison({"a": [make_run("a")], "b": [make_run("b", rope=True)]})) is None


@pytest.mark.parametrize("name", ["", "rope", "a, b", "x" * 500, "one way, both ways" * 3, "$a,$" * 20, *NAMES])
def test_lines_of_a_legend_are_short_and_lose_nothing(name: str) -> None:
    lines = in_lines(name).split("\n")
    assert all(len(line.replace("\\$", "$")) <= LINE_OF_LEGEND + 1 for line in lines)
    joined = "".join(lines).replace("\\$", "$").replace(" ", "")
    assert joined.removesuffix("…") == name.replace(" ", "")[: len(joined.removesuffix("…"))]
    assert len(joined) >= min(len(name.replace(" ", "")), LONGEST_IN_LEGEND - 20)


def test_long_name_may_break_and_is_escaped() -> None:
    drawn = to_html(Table(heads=["name"], rows=[["a.b=scaled_dot,<i>,1,000"]]))
    assert ">a.<wbr>b=<wbr>scaled_<wbr>dot,<wbr>&lt;i&gt;,<wbr>1,<wbr>000</th>" in drawn


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"mean": 1.5, "low": 1.25, "high": 1.75}, "1.500 ± 0.250"),
        ({"mean": 1.5, "low": None, "high": None}, "1.500"),
        ({"mean": "x", "low": None, "high": None}, "{'mean': 'x', 'low': None, 'high': None}"),
    ],
)
def test_mean_with_its_interval_is_a_cell_of_a_measurement(value: Any, said: str) -> None:
    assert value_text(value) == said
