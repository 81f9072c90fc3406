"""Figures and pages of runs whose names are long, as a sweep's are."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mingpt.report import figures
from mingpt.report.compare import comparison
from mingpt.report.fonts import LINE_OF_LEGEND, LONGEST_IN_LEGEND, in_lines
from mingpt.report.table import Table, to_html

NAMES = [
    f"model.window={window},model.score=multiplicative,model.n_kv_head={heads},trainer.matrix_learning_rate=0.02"
    for window in (16, 64)
    for heads in (1, 2)
]


def test_names_of_a_sweep_stay_in_their_legend(make_run: Callable[..., Path]) -> None:
    drawn = figures.loss_curves(comparison({name: [make_run(str(at))] for at, name in enumerate(NAMES)}))
    assert drawn is not None
    figure = drawn.figure
    figure.draw_without_rendering()
    (legend,), (axes,) = figure.legends, figure.axes
    assert [text.get_text().replace("\n", "") for text in legend.get_texts()] == NAMES
    found, whole = legend.get_window_extent(), figure.bbox
    assert whole.x0 <= found.x0 < found.x1 <= whole.x1
    assert whole.y0 <= found.y0 < found.y1 <= axes.get_window_extent().y0
    assert axes.get_window_extent().height > 0.6 * figures.HEIGHT * figure.dpi  # the names take none of its room


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
