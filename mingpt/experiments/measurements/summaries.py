"""Rows of a measurement summarized: groups, means, and lines of means with their ranges."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mingpt.experiments.base import Row
from mingpt.report.fonts import plain
from mingpt.report.palette import Palette


def groups(rows: Sequence[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    """The rows with equal values of `keys` together, by these values, in the order of their first."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def by_variant(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each variant, in the order of their first."""
    return {variant: own for (variant,), own in groups(rows, "arm").items()}


def mean_lines(axes: Any, rows: Sequence[Row], look: Palette, x: str, y: str, *, positive: bool = False) -> None:
    """Draw a line per variant, the mean over its seeds, with the range of the seeds shaded.

    Args:
        axes: matplotlib's.
        x, y: keys of a row.
        positive: leave out what is 0, which a logarithmic axis has no place for.
    """
    for variant, own in by_variant(rows).items():
        values = [[row[y] for row in each] for each in groups(sorted(own, key=lambda row: row[x]), x).values()]
        at = sorted({row[x] for row in own})
        lines = [[float(of(each)) for each in values] for of in (np.mean, min, max)]
        middle, low, high = ([value or np.nan for value in line] if positive else line for line in lines)
        label = plain(f"{variant} (n = {max(map(len, values))})")
        axes.plot(at, middle, label=label, **look.line(variant, len(at)))
        axes.fill_between(at, low, high, alpha=0.15, lw=0, color=look.colour(variant))
    axes.legend(frameon=False)


def mean(rows: Sequence[Row], key: str) -> float:
    """The mean of what the rows have under `key`."""
    return float(np.mean([row[key] for row in rows]))
