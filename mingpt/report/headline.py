"""A comparison in one sentence, for the head of a page: what the arms are beside the first that has a loss."""

from collections.abc import Mapping, Sequence

from mingpt.report.formatting import number
from mingpt.report.significance import Verdict, called
from mingpt.report.statistics import MARGIN

KINDS = {  # of a verdict whose `first` is the arm that the others are compared with: what it makes of `second`
    "worse": "better",
    "better": "worse",
    "same": "the same within",  # MARGIN of the unit
    "open": "not told apart from it",
    "none": "without a verdict",
}
MOST_NAMED = 6  # arms that a headline names; of more it gives the number


def headline(losses: Mapping[str, float | None], verdicts: Sequence[Verdict], unit: str) -> str:
    """What may be said, in one sentence.

    Args:
        losses: of two arms or more by their names, means over seeds; None of one that has none.
        verdicts: on pairs of them.
    """
    told = [verdict for verdict in verdicts if verdict.kind != "none"]
    if len(verdicts) == 1:
        return verdicts[0].sentence
    judged = {name: loss for name, loss in losses.items() if loss is not None}
    without = [called(name) for name in losses if name not in judged]
    unjudged = [f"{_listed(without)} {_are(without)} without a held-out loss"] if without else []
    if len(told) == 1 and len(judged) == 2:
        return "; ".join([told[0].sentence, *unjudged])
    if not judged:
        return "no run here has a held-out loss, so there is no verdict"
    lowest = min(judged, key=lambda name: judged[name])
    least = f"the lowest held-out loss is {number(judged[lowest])} {unit}, {called(lowest)}"
    if not told:
        return f"no verdict on any two of {len(losses)} arms; {least}"
    first = told[0].first  # an arm before it has no verdict at all, and is named as such
    said = [_said(kind, first, each, unit) for kind, each in _beside(first, verdicts, judged).items()]
    said += unjudged
    said += [least] if lowest != first else []
    return (
        f"compared with {called(first)} (held-out loss {number(judged[first])} {unit}), {'; '.join(filter(None, said))}"
    )


def brief(losses: Mapping[str, float | None], verdicts: Sequence[Verdict], unit: str) -> str:
    """The same for a table: of two arms that are judged with their difference, of more without numbers.

    Args:
        losses, verdicts: as for `headline`, of two arms or more.
    """
    judged = {name: loss for name, loss in losses.items() if loss is not None}
    told = [verdict for verdict in verdicts if verdict.kind != "none"]
    if not told:
        return headline(losses, verdicts, unit)
    first = told[0].first
    beside = _beside(first, verdicts, judged)
    said = [_said(kind, first, each, unit, exact=len(judged) == 2) for kind, each in beside.items()]
    lowest = min(judged, key=lambda name: judged[name])
    best = [name for verdict in beside["worse"] + beside["better"] for name in (verdict.first, verdict.second)]
    said += [f"{called(lowest)} has the lowest held-out loss"] if len(best) > 2 and lowest in {*best} - {first} else []
    without = [called(name) for name in losses if name not in judged]
    said += [f"{_listed(without)} {'has' if len(without) == 1 else 'have'} no held-out loss"] if without else []
    return f"compared with {called(first)}, {'; '.join(filter(None, said))}"


def _beside(first: str, verdicts: Sequence[Verdict], judged: Mapping[str, float]) -> dict[str, list[Verdict]]:
    """By their kinds, in the order of KINDS, those on `first` and another arm that has a loss."""
    about = [each for each in verdicts if first in (each.first, each.second) and {each.first, each.second} <= {*judged}]
    return {kind: [each for each in about if each.kind == kind] for kind in KINDS}


def _said(kind: str, first: str, verdicts: Sequence[Verdict], unit: str, *, exact: bool = True) -> str:
    """`window 2 (by 0.143 nats) and window 8 (by 0.105 nats) are better`; nothing of no verdicts.

    Args:
        exact: False: no sizes, but what is small is said to be.
    """
    if not verdicts:
        return ""
    found = [each.difference for each in verdicts if each.difference is not None]
    small = [f"less than {MARGIN:g}" if each.same else "" for each in verdicts]
    if kind not in ("better", "worse"):
        sizes = [""] * len(verdicts)
    elif exact:
        means = [f"{number(abs(d.mean))} {unit}" for d in found]
        sizes = [f" (by {', '.join(filter(None, each))})" for each in zip(means, small, strict=True)]
    else:
        sizes = [f" (by {less} {unit})" if less else "" for less in small]
    others = [each.second if each.first == first else each.first for each in verdicts]
    named = [called(other) + size for other, size in zip(others, sizes, strict=True)]
    who = _listed(named) if len(named) <= MOST_NAMED else f"{len(named)} arms"
    shown = f" {MARGIN:g} {unit}" if kind == "same" else ""
    if kind == "open" and exact:
        seeds, smallest = min(len(d.seeds) for d in found), max(d.smallest for d in found)
        shown = f" ({seeds} seeds could have shown a difference of {number(smallest)})"
    return f"{who} {_are(named)} {KINDS[kind]}{shown}"


def _listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
