"""Whether two arms differ, told from their losses alone: intervals, paired tests, and a verdict in one plain sentence.

The seed is the unit.  Arms see the same batches under the same seed, so losses are paired by seed, and everything is
said of the differences d = a - b, one a shared seed, in nats:

    interval   mean(d) +- t(0.975, n-1) sd(d) / sqrt(n)                    (Student 1908), 95 %, of this pair alone
    better     p of the paired t-test, after Holm's correction (1979) over all pairs that are judged, is below 0.05
    the same   the 95 % interval lies inside +-0.05 nats.  Stricter than two one-sided tests at 5 % (Schuirmann 1987),
               which ask that of the 90 % interval; never corrected over pairs
    smallest   the difference that n seeds of this spread show with 80 % power, at 5 % shared among all judged pairs

Fewer than three shared seeds give no verdict.  A loss that is missing or not finite leaves its seed out.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations

import numpy as np

CONFIDENCE = 0.95
LEVEL = 0.05  # of a test
MARGIN = 0.05  # nats; closer than that counts as the same
POWER = 0.8
FEWEST = 3  # seeds that a verdict needs

Losses = Mapping[int, float | None]  # seed -> loss


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds and its 95 % interval; no interval of one seed, or where no seed changes anything."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class Difference:
    """First minus second over the seeds that both have.

    Attributes:
        spread: standard deviation of the differences.
        p: of the paired t-test, two-sided; 1 where all differences are 0, 0 where they are all the same and not 0.
        smallest: difference that this many seeds would have shown with 80 % power at 5 %; of many pairs, at its share.
    """

    seeds: list[int]
    mean: float
    low: float
    high: float
    spread: float
    p: float
    smallest: float


@dataclass(frozen=True, kw_only=True)
class Sooner:
    """How many steps earlier the better arm reaches the other's last loss, and on which curve that was read."""

    steps: float
    curve: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What may be said of two arms.

    Attributes:
        first, second: names of the arms.
        kind: better (the first is), worse (the second is), same, open (nothing was shown), none (too few seeds).
        same: the 95 % interval lies inside +-0.05; also beside better or worse: a small difference, yet sure.
        p: after Holm; None without a test.
    """

    first: str
    second: str
    kind: str
    same: bool
    p: float | None
    difference: Difference | None
    sooner: Sooner | None
    sentence: str


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % t-interval of at least one finite value."""
    assert values
    assert all(math.isfinite(value) for value in values)
    mean, n = float(np.mean(values)), len(values)
    if n == 1:
        return Estimate(mean=mean, low=None, high=None, n=1)
    half = _half_width(_spread(values), n)
    return Estimate(mean=mean, low=mean - half, high=mean + half, n=n)


def shared_seeds(first: Losses, second: Losses) -> list[int]:
    """Seeds with a finite loss in both."""
    return sorted(seed for seed in first.keys() & second.keys() if _finite(first[seed]) and _finite(second[seed]))


def difference(first: Losses, second: Losses) -> Difference | None:
    """The paired difference, first minus second; None where fewer than two seeds are shared."""
    seeds = shared_seeds(first, second)
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
        smallest=smallest_effect(spread, n),
    )


def holm(chances: Sequence[float]) -> list[float]:
    """p-values corrected for being several: sorted, the i-th of m times m - i, never falling, at most 1 (Holm 1979)."""
    corrected, largest = [0.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=lambda place: chances[place])):
        largest = max(largest, min(1.0, (len(chances) - rank) * chances[place]))
        corrected[place] = largest
    return corrected


def smallest_effect(spread: float, n: int, *, power: float = POWER, level: float = LEVEL) -> float:
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


def judge(
    arms: Mapping[str, Losses],
    *,
    every_pair: bool = False,
    unit: str = "nats",
    sooner: Callable[[str, str], Sooner | None] | None = None,
    certain: Collection[str] = (),
) -> list[Verdict]:
    """A verdict on each later arm against the first, or on every pair.

    Args:
        arms: final held-out losses by the arm's name, seed -> loss.
        unit: of the losses, for the sentences.
        sooner: asked for (better arm, other arm) where one is better.
        certain: arms that no seed changes; of two such there is no test, since nothing varies.
    """
    names = list(arms)
    pairs = list(combinations(names, 2)) if every_pair else [(names[0], other) for other in names[1:]]
    differences = [difference(arms[first], arms[second]) for first, second in pairs]
    fixed = [first in certain and second in certain for first, second in pairs]
    tested = [d for d, f in zip(differences, fixed, strict=True) if d is not None and len(d.seeds) >= FEWEST and not f]
    chances = iter(holm([d.p for d in tested]))
    verdicts = []
    for (first, second), found, no_seed in zip(pairs, differences, fixed, strict=True):
        if found is not None and no_seed:
            verdicts.append(_verdict(first, second, "none", None, None, None, _certain(first, second, found, unit)))
            continue
        if found is None or len(found.seeds) < FEWEST:
            sentence = _too_few(called(first), called(second), shared_seeds(arms[first], arms[second]))
            verdicts.append(_verdict(first, second, "none", None, found, None, sentence))
            continue
        p = next(chances)
        found = replace(found, smallest=smallest_effect(found.spread, len(found.seeds), level=LEVEL / len(tested)))
        kind = _kind(found, p)
        better, other = (second, first) if kind == "worse" else (first, second)
        gain = sooner(better, other) if sooner and kind in ("better", "worse") else None
        sentence = SENTENCES[kind](called(better), called(other), found, p, len(tested), unit, gain)
        verdicts.append(_verdict(first, second, kind, p, found, gain, sentence))
    return verdicts


def number(value: float) -> str:
    """Three decimals, or two significant digits where three decimals would say little: 0.041, 0.0042."""
    if value == 0 or abs(value) >= 0.01:
        return f"{value:.3f}"
    return str(np.format_float_positional(value, precision=2, unique=False, fractional=False, trim="-"))


def chance(p: float) -> str:
    """`p = 0.004`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.0995 else f"p = {p:.2f}"


def inside_margin(found: Difference) -> bool:
    """Whether the 95 % interval lies inside +-0.05."""
    return found.low > -MARGIN and found.high < MARGIN


def called(name: str) -> str:
    """An arm's name in a sentence, in quotes where a comma would part it."""
    return f"“{name}”" if "," in name else name


def _verdict(
    first: str, second: str, kind: str, p: float | None, found: Difference | None, gain: Sooner | None, sentence: str
) -> Verdict:
    same = kind != "none" and found is not None and inside_margin(found)
    return Verdict(
        first=first, second=second, kind=kind, same=same, p=p, difference=found, sooner=gain, sentence=sentence
    )


def _kind(found: Difference, p: float) -> str:
    if p < LEVEL:
        return "better" if found.mean < 0 else "worse"
    return "same" if inside_margin(found) else "open"


def _better(a: str, b: str, d: Difference, p: float, tests: int, unit: str, gain: Sooner | None) -> str:
    low, high = sorted((d.low, d.high) if d.mean > 0 else (-d.high, -d.low))
    alone, after = (" of this pair alone", " after Holm") if tests > 1 else ("", "")
    text = (
        f"{a} is better than {b} by {number(abs(d.mean))} {unit} (95 % interval{alone} {number(low)} to "
        f"{number(high)}, {chance(p)}{after}, {len(d.seeds)} seeds)"
    )
    if inside_margin(d):
        text += f", though by less than the {MARGIN:g} that count as a difference here"
    if gain is not None:
        text += f"; about {float(f'{gain.steps:.2g}'):,.0f} steps sooner, by the {gain.curve}"
    return text


def _same(a: str, b: str, d: Difference, p: float, tests: int, unit: str, gain: Sooner | None) -> str:
    return (
        f"{a} and {b} are the same within {MARGIN:g} {unit} (difference {number(d.mean)}, 95 % interval "
        f"{number(d.low)} to {number(d.high)}, {len(d.seeds)} seeds)"
    )


def _open(a: str, b: str, d: Difference, p: float, tests: int, unit: str, gain: Sooner | None) -> str:
    alone, after = (" of this pair alone", " after Holm") if tests > 1 else ("", "")
    return (
        f"no difference between {a} and {b} was shown (difference {number(d.mean)} {unit}, 95 % interval{alone} "
        f"{number(d.low)} to {number(d.high)}, {chance(p)}{after}); {len(d.seeds)} seeds could have shown "
        f"one of {number(d.smallest)}"
    )


SENTENCES = {"better": _better, "worse": _better, "same": _same, "open": _open}


def _too_few(first: str, second: str, seeds: Sequence[int]) -> str:
    shared = {0: "no seed whose held-out loss is known of both", 1: "1 seed"}.get(len(seeds), f"{len(seeds)} seeds")
    return (
        f"no verdict on {first} and {second}: they share {shared}, and {FEWEST} are the fewest that tell a difference "
        "from chance"
    )


def _certain(first: str, second: str, found: Difference, unit: str) -> str:
    lower, other = (first, second) if found.mean <= 0 else (second, first)
    by = f"{called(lower)} is lower by {number(abs(found.mean))} {unit}" if found.mean else "their losses are equal"
    return f"no test of {called(lower)} and {called(other)}, since both count, the same for every seed: {by}"


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
