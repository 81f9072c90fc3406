"""Small multiples: a panel for each variant against the baseline in grey, so that no curve hides another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mingpt.report.fonts import in_lines, plain
from mingpt.report.loss_plot import labels
from mingpt.report.palette import INK, LINE, QUIET, Palette

COLUMNS, HEIGHT = 2, 1.45  # panels side by side; inches of a row of them
REST, LINE_OF_TITLE = 0.8, 0.15  # inches: of axis and legend, of a further line of a title
LETTERS = 25  # of a panel's title in a line
LOSS = "validation loss"  # matplotlib's label of the axes that n-gram lines are drawn across
GREY: dict[str, Any] = {"color": QUIET, "ls": "-", "lw": 1.5, "zorder": 1.9}  # the baseline, where another is shown


@dataclass(frozen=True, kw_only=True)
class Band:
    """A line with its interval: equally long lists; `low` and `high` are nan where there is no interval."""

    at: Sequence[float]
    middle: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def grid(
    figure: Any, names: Sequence[str], look: Palette, *, x_label: str, y_label: str, columns: int = COLUMNS
) -> list[Any]:
    """Make a panel for each name, with common scales; its title is the name, in its colour.

    Args:
        figure: matplotlib's Figure or SubFigure.
        names: names of the panels, row by row.
        x_label: label of the x axes, below the lowest panels.
        y_label: label of all y axes together.
        columns: number of panels side by side, where there are so many.
    """
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    axes = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for spare in axes[len(names) :]:
        spare.remove()
    for lowest in axes[len(names) - columns : len(names)]:  # of which some have no panel below
        lowest.tick_params(labelbottom=True)
        lowest.set_xlabel(x_label, fontsize=9.5, color=INK)
    figure.supylabel(y_label, fontsize=9.5, color=INK)
    for name, each in zip(names, axes, strict=False):
        each.set_title(in_lines(name, LETTERS), color=look.colour(name), fontsize=9.5)
        each.spines[["top", "right"]].set_visible(False)
        each.tick_params(colors=INK, labelsize=9)
    return axes[: len(names)]


def fit_height(figure: Any, axes: Sequence[Any], least: float = 0.0) -> None:
    """Set the figure's height by its rows of panels, whose titles may be of several lines.

    Args:
        least: inches, of a figure of a single panel.
    """
    rows = len({each.get_subplotspec().rowspan.start for each in axes})
    tallest = max(each.get_title().count("\n") for each in axes)
    figure.set_figheight(max(REST + rows * (HEIGHT + LINE_OF_TITLE * tallest), least if len(axes) == 1 else 0))


def others(names: Sequence[str]) -> list[str]:
    """Return the names that have a panel: all but the first, which is the baseline in each; of one, that."""
    return list(names[1:]) or list(names)


def draw_band(axes: Any, band: Band, **how: Any) -> None:
    """Draw a line, and its interval shaded."""
    axes.plot(band.at, band.middle, **how)
    axes.fill_between(band.at, band.low, band.high, alpha=0.18, lw=0, color=how["color"])


def draw_bands(figure: Any, bands: Mapping[str, Band], look: Palette, *, x_label: str, y_label: str) -> list[Any]:
    """Draw a panel for each band but the first, which is in grey in each; return the axes.

    Args:
        bands: a band for each variant, of which the first is the baseline.
        x_label, y_label: labels of the axes.
    """
    names, (baseline, *_) = others([*bands]), bands
    look.place(baseline)  # it has the first look, as in figures that show it in its own
    axes = grid(figure, names, look, x_label=x_label, y_label=y_label)
    for name, each in zip(names, axes, strict=True):
        if name != baseline:
            draw_band(each, bands[baseline], **GREY)
        draw_band(each, bands[name], **look.line(name, len(bands[name].at)))
    return axes


def name_baseline(figure: Any, names: Sequence[str], more: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Write below the panels what the grey line is.

    Args:
        names: names of the variants, of which the first is the baseline.
        more: looks of whatever else is to be named, by its name.
    """
    from matplotlib.lines import Line2D

    looks: dict[str, Mapping[str, Any]] = {f"{in_lines(names[0])}, the baseline": GREY} if len(names) > 1 else {}
    looks |= more or {}
    if looks:
        looks |= {" ": {"ls": "none"}}  # a free row, for what is written at the picture's foot
        handles = [Line2D([], [], **look) for look in looks.values()]
        how = {"frameon": False, "fontsize": 9, "labelcolor": INK, "handlelength": 2.0}
        figure.legend(handles, [*looks], loc="outside lower left", **how)


def draw_lines(all_axes: Sequence[Any], lines: Mapping[str, float], *, every: bool = False) -> None:
    """Draw the lines that n-gram models reach, as far as they lie near the curves, across axes of one scale.

    They are named to the right of the last axes of each row, with their losses where there is but one axes.

    Args:
        every: True if those are drawn, too, that lie far below the curves.
    """
    if not all_axes or not lines:
        return
    low, high = all_axes[0].get_ylim()
    low = min([low, *lines.values()]) if every else low
    near = {name: loss for name, loss in lines.items() if low - 0.35 * (high - low) <= loss <= high}
    low = min([low, *(loss - 0.02 * (high - low) for loss in near.values())])
    height = 0.055 if len(all_axes) == 1 else 0.13  # of a label, as a share of the axis
    for axes in all_axes:
        axes.set_ylim(low, high)
        for loss in near.values():
            axes.axhline(loss, color=LINE, lw=0.8, ls=(0, (4, 3)), zorder=0)
        if _ends_row(axes, all_axes):
            for at, text in labels(near, apart=height * (high - low), low=low, high=high):
                name = text if len(all_axes) == 1 else text.rpartition(" ")[0]
                place = {"xy": (1.01, at), "xycoords": ("axes fraction", "data")}
                axes.annotate(plain(name), **place, va="center", color=LINE, fontsize=9)


def _ends_row(axes: Any, all_axes: Sequence[Any]) -> bool:
    place = axes.get_subplotspec()
    return place is None or place.is_last_col() or axes is all_axes[-1]
