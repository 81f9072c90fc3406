"""Statistics of losses over seeds: intervals, paired differences, p-values, minimum detectable effects.

The seed is the unit.  Variants see the same batches under the same seed, so losses are paired by seed, and tests are
of the differences d = a - b, one per shared seed, in nats:

    interval   mean(d) +- t(0.975, n-1) sd(d) / sqrt(n)                     (Student 1908), 95 %, of this pair alone
    p          of the paired t-test, two-sided; Holm's correction (1979) where several pairs are tested
    mde        minimum detectable effect: the difference that n seeds of this standard deviation show with power 0.8,
               at a level of 5 % shared among all tests

A loss that is missing or not finite leaves its seed out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

CONFIDENCE = 0.95
LEVEL = 0.05  # of a test
MARGIN = 0.05  # nats; variants closer than that are equivalent, where an experiment has no margin of its own
POWER = 0.8  # of the minimum detectable effect

Losses = Mapping[int, float | None]  # seed -> loss


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Mean over n seeds with its 95 % interval; without one of a single seed, or where no seed changes anything."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class Difference:
    """First minus second, over the seeds that both have.

    Attributes:
        spread: standard deviation of the differences.
        p: p-value of the paired t-test, two-sided; 1 where all differences are 0, 0 where they are equal and not 0.
        mde: minimum detectable effect of this many seeds with power 0.8 at 5 %; of many tests, at its share.
    """

    seeds: list[int]
    mean: float
    low: float
    high: float
    spread: float
    p: float
    mde: float


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % t-interval of at least one finite value."""
    assert values
    assert all(math.isfinite(value) for value in values)
    mean, n = float(np.mean(values)), len(values)
    if n == 1:
        return Estimate(mean=mean, low=None, high=None, n=1)
    half = _half_width(_spread(values), n)
    return Estimate(mean=mean, low=mean - half, high=mean + half, n=n)


def difference(first: Losses, second: Losses) -> Difference | None:
    """The paired difference, first minus second; None where fewer than two seeds are shared."""
    seeds = sorted(seed for seed in first.keys() & second.keys() if _finite(first[seed]) and _finite(second[seed]))
    if len(seeds) < 2:
        return None
    values = [float(first[seed] or 0) - float(second[seed] or 0) for seed in seeds]
    mean, spread, n = float(np.mean(values)), _spread(values), len(values)
    half = _half_width(spread, n)
    return Difference(
        seeds=seeds,
        mean=mean,
        low=mean - half,
        high=mean + half,
        spread=spread,
        p=_paired_p(mean, spread, n),
        mde=minimum_detectable_effect(spread, n),
    )


def holm(chances: Sequence[float]) -> list[float]:
    """p-values corrected for being several: sorted, the i-th of m times m - i, never falling, at most 1 (Holm 1979)."""
    corrected, largest = [0.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=lambda place: chances[place])):
        largest = max(largest, min(1.0, (len(chances) - rank) * chances[place]))
        corrected[place] = largest
    return corrected


def minimum_detectable_effect(spread: float, n: int, *, power: float = POWER, level: float = LEVEL) -> float:
    """The mean difference that a paired two-sided t-test of n seeds shows with this power.

    The test's statistic follows the noncentral t of n - 1 degrees of freedom and noncentrality effect sqrt(n) / spread.
    """
    assert n >= 2
    return _shift(n, power, level) * spread / math.sqrt(n)


@cache
def _shift(n: int, power: float, level: float) -> float:
    """The noncentrality at which the test of n seeds has this power."""
    from scipy import optimize, stats  # 0.5 s, and only where something is compared

    critical = stats.t.ppf(1 - level / 2, n - 1)

    def missing(shift: float) -> float:
        return float(stats.nct.sf(critical, n - 1, shift) - power)  # where this is 0, the far tail holds nothing

    return float(optimize.brentq(missing, 0.0, 2.0 * critical))


def inside_margin(found: Difference, margin: float) -> bool:
    """Whether the 95 % interval lies inside +-margin, in nats."""
    return found.low > -margin and found.high < margin


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len({*values}) > 1 else 0.0  # equal values would leave a rounding error


def _half_width(spread: float, n: int) -> float:
    from scipy import stats

    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * spread / math.sqrt(n)


def _paired_p(mean: float, spread: float, n: int) -> float:
    from scipy import stats

    if spread == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / (spread / math.sqrt(n)), n - 1))


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
