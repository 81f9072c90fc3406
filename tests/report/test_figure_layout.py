"""A measurement's figure, whatever its drawing did: nothing is cut off, nothing lies on something else."""

from itertools import pairwise

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from mingpt.report.figure_layout import tidy
from mingpt.report.figures import MEASURED, _write_small
from mingpt.report.loss_plot import labels
from mingpt.report.palette import settings


def drawn(rows: int, panels: int = 1) -> Figure:
    with rc_context(settings()):
        return _drawn(rows, panels)


def _drawn(rows: int, panels: int) -> Figure:
    figure = Figure(figsize=MEASURED, layout="constrained")
    for axes in np.atleast_1d(figure.subplots(1, panels)):
        for row in range(rows):
            axes.plot([300, 900, 4000], [1 + row, 2 + row, 30 + row], label=f"way number {row}")
        axes.set(xscale="log", yscale="log", xlabel="x", ylabel="y", title="A title of many words " * 5)
    figure.suptitle("A title above all, in many words, longer than any picture is wide " * 2)
    figure.axes[0].legend()
    tidy(figure)
    _write_small(figure, "Quick form: 600 steps of a 2-layer model, 3 seeds")
    figure.draw_without_rendering()
    return figure


def test_neither_title_nor_legend_is_cut_off() -> None:
    for panels in (1, 2):
        figure = drawn(8, panels)
        shown = [*figure.texts, *figure.legends, *(axes.title for axes in figure.axes)]
        for each in shown:
            box = each.get_window_extent()
            assert figure.bbox.x0 <= box.x0, each
            assert box.x1 <= figure.bbox.x1, each
            assert figure.bbox.y0 <= box.y0, each


def test_legend_lies_on_nothing() -> None:
    figure = drawn(8)
    (legend,) = figure.legends
    small = figure.texts[-1]
    assert "Quick form" in small.get_text()
    for name in filter(lambda text: text.get_text(), legend.get_texts()):
        assert not name.get_window_extent().overlaps(small.get_window_extent())
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())
    assert not drawn(2).legends  # a short one stays where it is


def test_labels_of_a_logarithmic_axis_are_there_and_apart() -> None:
    axes = drawn(2).axes[0]
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        named = [label for label in axis.get_ticklabels(which="both") if label.get_text()]
        places = {"x": 0, "y": 1}[axis.axis_name]
        named = [label for label in named if low <= label.get_position()[places] <= high]
        assert len(named) >= 2
        boxes = [label.get_window_extent() for label in named]
        assert not any(a.overlaps(b) for place, a in enumerate(boxes) for b in boxes[place + 1 :])


def test_labels_are_apart_and_inside_the_picture() -> None:
    lines = {"1-gram": 3.3, "4-gram": 1.74, "5-gram": 1.70, "6-gram": 1.68, "2-gram": 3.32}
    for low, high in ((1.5, 3.5), (1.66, 3.33)):
        placed = labels(lines, apart=0.1, low=low, high=high)
        heights = [height for height, _ in placed]
        assert [text.split()[0] for _, text in placed] == ["6-gram", "5-gram", "4-gram", "1-gram", "2-gram"]
        assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(heights))
        assert low - 1e-9 <= heights[0]
        assert heights[-1] <= high + 1e-9
    assert labels({"a": 1.0, "b": 2.0}, apart=0.1, low=0, high=3) == [(1.0, "a 1.00"), (2.0, "b 2.00")]
