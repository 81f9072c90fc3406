"""Rows of a measurement summarized: groups of rows, and means and ranges over them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mingpt.experiments.base import Row


def groups(rows: Sequence[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    """The rows with equal values of `keys` together, by these values, in the order of their first."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def mean(rows: Sequence[Row], key: str) -> float:
    """The mean of what the rows have under `key`."""
    return float(np.mean([row[key] for row in rows]))
