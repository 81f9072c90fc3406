"""What all benchmarks print."""

import itertools
from typing import Any

import torch

from mingpt.training.profiling import Spread
from mingpt.utils import device_name, training_type


def machine_of(device: torch.device) -> dict[str, str]:
    """Where a record was made: the device and its name, the type that it trains in, PyTorch's version."""
    kind = str(training_type(device)).removeprefix("torch.")
    return {"device": str(device), "device_name": device_name(device), "dtype": kind, "torch": torch.__version__}


def summary(spread: Spread, unit: float = 1.0) -> dict[str, float]:
    """Median and quartiles, in `unit`s."""
    low, high = spread.quartiles
    return {"median": rounded(spread.median / unit), "q1": rounded(low / unit), "q3": rounded(high / unit)}


def rounded(value: float) -> float:
    """To four digits that count."""
    return float(f"{value:.4g}")


def ranking(seconds: dict[str, Spread]) -> str:
    """`a < b ~ c`: the fastest first; ~ where the quartiles of two neighbours overlap, so that neither is faster."""
    names = sorted(seconds, key=lambda name: seconds[name].median)
    line = names[0]
    for before, name in itertools.pairwise(names):
        line += f" {'<' if seconds[before].apart_from(seconds[name]) else '~'} {name}"
    return line


def table(seconds: dict[str, Spread], baseline: str, *, faster: bool = False) -> dict[str, dict[str, Any]]:
    """A row for each: `ms`, its `ratio` to the baseline, by round, and whether the two are `apart`.

    Args:
        faster: the ratio is how many times faster than the baseline it is, else how many times as long it takes.
    """
    base, rows = seconds[baseline], {}
    for name, spread in seconds.items():
        ratio = base.over(spread) if faster else spread.over(base)
        rows[name] = {"ms": summary(spread, 1e-3), "ratio": summary(ratio), "apart": spread.apart_from(base)}
    return rows


def versus(ratio: dict[str, float], apart: bool) -> str:
    """`1.61x (1.54 to 1.8)`, or that the difference is not significant."""
    return f"{ratio['median']:.4g}x ({ratio['q1']:.4g} to {ratio['q3']:.4g})" if apart else "no significant difference"
