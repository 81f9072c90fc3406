"""Differences with their intervals, one below the other: of variants from a baseline, or of an idea's effects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mingpt.report.palette import INK, QUIET

ROW = 0.44  # inches: of each interval
NAME = 26  # letters of a name in a line of its label


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A difference as it is drawn: its label, mean, and 95 % interval, if it has one.

    Attributes:
        style: colour and marker, as arguments of matplotlib's `plot`.
    """

    label: str
    mean: float
    low: float | None
    high: float | None
    style: dict[str, Any]


def draw_intervals(axes: Any, intervals: Sequence[Interval], margin: float, label: str) -> None:
    """Draw differences below one another, with the margin of equivalence shaded.

    Args:
        axes: matplotlib's.
        margin: half the shaded width, in the unit of the differences.
        label: of the horizontal axis.
    """
    axes.axvspan(-margin, margin, color=QUIET, alpha=0.18, lw=0, zorder=0)
    axes.axvline(0, color=QUIET, lw=1.5, zorder=1)
    for place, each in enumerate(intervals):
        if each.low is not None and each.high is not None:
            axes.plot([each.low, each.high], [place, place], color=each.style["color"], ls="-", lw=2.2)
        axes.plot([each.mean], [place], ms=7, **each.style)
    axes.set_ylim(len(intervals) - 0.45, -0.55)
    axes.set_yticks(range(len(intervals)), [each.label for each in intervals])
    axes.locator_params(axis="x", nbins=5)
    axes.tick_params(colors=INK, labelsize=9)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel(label, fontsize=9.5, color=INK)
