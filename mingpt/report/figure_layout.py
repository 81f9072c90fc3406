"""What a drawing can't know: that titles fit the picture, labels their axes, legends hide no line."""

import math
import textwrap
from collections.abc import Collection
from typing import Any

LETTERS = 12  # of a title to the inch
MOST_INSIDE = 2  # rows of a legend that stands among the lines
ROW = 0.19  # inches of a legend's row
MOST_TICKS = 7  # of a logarithmic axis
BINARY = 1024


def tidy(figure: Any) -> None:
    """Break long titles, thin the labels of logarithmic axes, and move long legends below."""
    width = figure.get_figwidth()
    if figure.get_suptitle():
        figure.suptitle(_broken(figure.get_suptitle(), width))
    for axes in figure.axes:
        place = axes.get_subplotspec()
        axes.set_title(_broken(axes.get_title(), width / (place.get_gridspec().ncols if place else 1)))
        for axis in (axes.xaxis, axes.yaxis):
            _thin(axis)
    _below(figure)


def short_number(value: float) -> str:
    """A number next to an axis: 0.01, 64, 1k of 1,000 or 1,024, 16k, 4M; 1e-07 of what has too many zeros.

    Thousands are 1,024 where that gives fewer digits, as of a block length of 16,384 and of nothing in tens.
    """
    if value == 0 or abs(value) < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-") if value else "0"
    for unit, binary, letter in ((1e9, BINARY**3, "G"), (1e6, BINARY**2, "M"), (1e3, BINARY, "k")):
        if abs(value) >= unit:
            return min((f"{value / each:.4g}{letter}" for each in (unit, binary)), key=len)
    return f"{value:.4g}"


def log_ticks(axis: Any, values: Collection[float], most: int = MOST_TICKS) -> None:
    """Make a matplotlib axis logarithmic with ticks where the data are: at each value, or each second, third, ...

    Args:
        most: about the number of ticks that there is room for.
    """
    low, high = min(values), max(values)
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    at = sorted({*values})
    span = math.log(high / low) if high > low else 1.0
    kept = at[:1]
    for value in at[1:]:
        if math.log(value / kept[-1]) >= span / (most + 1):
            kept.append(value)
    axis.set_ticks(kept, [short_number(value) for value in kept])
    axis.set_ticks([], minor=True)


def _broken(title: str, inches: float) -> str:
    return "\n".join(line for part in title.split("\n") for line in textwrap.wrap(part, int(LETTERS * inches)) or [""])


def _thin(axis: Any) -> None:
    """Powers of ten alone are named, in plain numbers; where the axis has fewer than three, 1, 2 and 5 times these."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if axis.get_scale() != "log" or not isinstance(axis.get_major_locator(), LogLocator):
        return
    low, high = sorted(axis.get_view_interval())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_locator(LogLocator())
    if sum(low <= tick <= high for tick in axis.get_majorticklocs()) < 3:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, place: short_number(value)))


def _below(figure: Any) -> None:
    """The one long legend of a figure goes below its axes, in two columns."""
    from matplotlib.lines import Line2D

    found = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    if len(found) != 1 or len(found[0].get_texts()) <= MOST_INSIDE or figure.legends:
        return
    names = [text.get_text() for text in found[0].get_texts()]
    handles = list(found[0].legend_handles)
    found[0].remove()
    columns = 2 if max(map(len, names)) < 34 else 1
    rows = -(-len(names) // columns)
    figure.set_figheight(figure.get_figheight() + ROW * (rows + 1))
    blank = Line2D([], [], ls="none")
    for end in (rows, 2 * rows + 1)[:columns]:  # a row is left free below, for what is written at the picture's foot
        names[end:end], handles[end:end] = [""], [blank]
    figure.legend(handles, names, loc="outside lower left", frameon=False, ncols=columns, handlelength=3.4)
