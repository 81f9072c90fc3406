"""Seconds as rows: medians and quartiles, and a line with a band on a picture."""

from collections.abc import Sequence
from typing import Any

from typing_extensions import TypedDict

from mingpt.core.safe_parsing import Number
from mingpt.experiments.base import Row
from mingpt.report.palette import Palette
from mingpt.training.profiling import Spread


class SpreadFields(TypedDict):
    median: Number
    q1: Number
    q3: Number  # of a row, as `spread` gives it


def spread(seconds: Spread, unit: float) -> dict[str, float]:
    """Median and quartiles of the repeats, in units of so many seconds."""
    low, high = seconds.quartiles
    return {"median": seconds.median / unit, "q1": low / unit, "q3": high / unit, "repeats": len(seconds.values)}


def banded_lines(axes: Any, rows: Sequence[Row], look: Palette, by: str, x: str, y: str) -> None:
    """One line of medians per `by`, its quartiles shaded; x and y are the names of what a row has."""
    for name in dict.fromkeys(row[by] for row in rows):
        own = sorted((row for row in rows if row[by] == name), key=lambda row: row[x])
        at = [row[x] for row in own]
        axes.plot(at, [row[y]["median"] for row in own], label=str(name), **look.line(str(name), len(at)))
        quartiles = ([row[y][end] for row in own] for end in ("q1", "q3"))
        axes.fill_between(at, *quartiles, alpha=0.15, lw=0, color=look.colour(str(name)))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
