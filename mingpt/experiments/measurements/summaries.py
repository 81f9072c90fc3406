"""Rows of a measurement summarized: groups, means over seeds, and their intervals."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mingpt.core.statistics import estimate
from mingpt.experiments.base import Row
from mingpt.report.panels import Band


def groups(rows: Sequence[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    """The rows with equal values of `keys` together, by these values, in the order of their first."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def by_variant(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each variant, in the order of their first."""
    return {variant: own for (variant,), own in groups(rows, "arm").items()}


def interval(values: Sequence[float], *, log: bool = False) -> tuple[float, float, float]:
    """The mean over seeds and its 95 % t-interval (low, high), which is nan of one seed.

    Args:
        log: of the logarithms, so that the mean is the geometric one; all nan where a value is 0.
    """
    if log and min(values) <= 0:
        return math.nan, math.nan, math.nan
    found = estimate([math.log(value) for value in values] if log else values)
    ends = [math.nan if each is None else each for each in (found.mean, found.low, found.high)]
    mean_, low, high = map(math.exp, ends) if log else ends
    return mean_, low, high


def bands(rows: Sequence[Row], x: str, y: str, *, log: bool = False) -> dict[str, Band]:
    """The mean over seeds with its interval, by each variant.

    Args:
        x, y: keys of a row.
        log: as for `interval`.
    """
    found = {}
    for variant, own in by_variant(rows).items():
        by_x = groups(sorted(own, key=lambda row: row[x]), x)
        middle, low, high = zip(*(interval([row[y] for row in each], log=log) for each in by_x.values()), strict=True)
        found[variant] = Band(at=[at for (at,) in by_x], middle=middle, low=low, high=high)
    return found


def in_table(values: Sequence[float]) -> dict[str, float | None]:
    """The same as a cell of a table, which shows `1.603 ± 0.013`; without an interval where no seed changes it."""
    found = estimate(values)
    low, high = (None, None) if found.low == found.high else (found.low, found.high)
    return {"mean": found.mean, "low": low, "high": high}


def mean(rows: Sequence[Row], key: str) -> float:
    """The mean of what the rows have under `key`."""
    return float(np.mean([row[key] for row in rows]))
