"""Seconds as rows: medians and quartiles, and a line with a band on a picture."""

from collections.abc import Sequence
from typing import Any

from mingpt.experiments.base import Row
from mingpt.probe import Spread
from mingpt.untrusted import NUMBER, Fields

SPREAD: Fields = {"median": NUMBER, "q1": NUMBER, "q3": NUMBER}  # of a row, as `spread` gives it


def spread(seconds: Spread, unit: float) -> dict[str, float]:
    """Median and quartiles of the repeats, in units of so many seconds."""
    low, high = seconds.quartiles
    return {"median": seconds.median / unit, "q1": low / unit, "q3": high / unit, "repeats": len(seconds.values)}


def banded_lines(axes: Any, rows: Sequence[Row], by: str, x: str, y: str) -> None:
    """One line of medians per `by`, its quartiles shaded."""
    for name in dict.fromkeys(row[by] for row in rows):
        own = sorted((row for row in rows if row[by] == name), key=lambda row: row[x])
        at = [row[x] for row in own]
        axes.plot(at, [row[y]["median"] for row in own], marker="o", ms=3, label=str(name))
        axes.fill_between(at, [row[y]["q1"] for row in own], [row[y]["q3"] for row in own], alpha=0.2)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
