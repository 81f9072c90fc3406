"""Whether two arms differ: a verdict in one plain sentence, by the rules below.

    better     p of the paired t-test, after Holm's correction over all pairs that are judged, is below 0.05
    the same   the 95 % interval lies inside +-0.05 nats.  Stricter than two one-sided tests at 5 % (Schuirmann 1987),
               which ask that of the 90 % interval; never corrected over pairs
    open       neither; the sentence says how small a difference these seeds could have shown

Fewer than three shared seeds give no verdict.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from mingpt.report.formatting import chance, number
from mingpt.report.statistics import (
    LEVEL,
    MARGIN,
    Difference,
    Losses,
    difference,
    holm,
    inside_margin,
    shared_seeds,
    smallest_effect,
)

FEWEST = 3  # seeds that a verdict needs


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
