"""Look-ahead: replace token j, and no prediction at a position i < j may move.

All tokens from a cut on are replaced, which finds a dependency on any of them; the pair (i, j) is then found by single
replacements, in batches of one row, so that what moves between the rows of a batch isn't taken for it.  The gradient
of a logit with respect to later embeddings must be 0 too, where there are any; what it finds counts if a large change
of that embedding moves the prediction.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from mingpt.inference.causality import largest_differences, self_dependencies, suffix_changes
from mingpt.interop.audit.checks.base import check, snippet
from mingpt.interop.audit.checks.embedding import gradient_leak, response
from mingpt.interop.audit.effort import Effort
from mingpt.interop.audit.results import Result, failed, listed, not_applicable, passed
from mingpt.interop.audit.target import LONGEST, Target
from mingpt.models.base import LanguageModel

SHORT, MIDDLE, LONG = 9, 33, 130  # tokens of the lengths that every model is tried at
ROWS, AT_ONCE = 8, 264  # cuts in one pass, and tokens of all of them
ALL = 33  # tokens up to which every cut is tried; of longer ones some, spread over the length
SOME = 7
NEAR = 24  # later tokens that are replaced one at a time, nearest first, before distances double


@dataclass(frozen=True)
class Leak:
    """A prediction that moves with a later token.

    Attributes:
        i, j: positions of the prediction and of the token
        size: largest difference of a logit
        length: tokens of the input
        training: found in training mode
        all_later: only the replacement of all tokens from j on moves it
    """

    i: int
    j: int
    size: float
    length: int
    training: bool
    all_later: bool = False


@dataclass
class Coverage:
    """What was tried: lengths by mode, cuts, differences that rounding explains, and if anything moved at all."""

    lengths: dict[str, list[int]]
    cuts: int = 0
    rounding: float = 0.0
    powered: bool = False


@dataclass
class Moved:
    """Predictions of one length that move: (i, cut) by more than rounding, and the most suspicious of the others."""

    surely: list[tuple[int, int]]
    most: float = 0.0
    suspect: tuple[int, int] | None = None


@check(1, "look_ahead", "no prediction depends on a later token, by replacement and by gradient", weight=6)
def look_ahead(target: Target, effort: Effort) -> Result:
    """Try every length in evaluation mode and in training mode."""
    if target.model is None:
        return not_applicable("a file of scores has no model to ask")
    if not target.autoregressive:
        return _infilling(target)
    coverage, notes = Coverage({}), []
    for mode in [target, *([target.in_training()] if target.module is not None else [])]:
        name = "training" if mode.training else "evaluation"
        steady = mode.repeating()
        if steady is None:
            notes.append(f"{name} mode not tried: equal inputs give different outputs")
            continue
        leak = next(_leaks(steady, effort, coverage), None)
        if leak is None:
            found, note = gradient_leak(steady, effort)
            notes += [f"gradient in {name} mode: {note}"] if note else []
            leak = Leak(*found, training=mode.training) if found else None
        if leak is not None:
            return _failure(steady, leak)
    if not coverage.lengths:
        return not_applicable("equal inputs give different outputs, so nothing can be compared; see determinism")
    return _success(coverage, notes)


def _infilling(target: Target) -> Result:
    """Return the result for a model that says that it isn't autoregressive: a token that it fills in must be hidden."""
    model = target.model
    if not (isinstance(model, LanguageModel) and model.infills):
        return not_applicable("the model says itself that it sees the tokens that it predicts")
    ids = target.ids(1, target.tokens_within(SHORT))
    seen = self_dependencies(model, ids)
    if not seen:
        return passed(f"it fills in tokens, and none of {ids.shape[1]}, masked, moves its own prediction")
    lines = [
        "from mingpt.inference.causality import self_dependencies",
        f"print(self_dependencies(target.model, target.ids(1, {ids.shape[1]})))  # must be []",
    ]
    return failed(f"masked tokens move their own predictions: {listed(seen)}", snippet(target, *lines), positions=seen)


def _success(coverage: Coverage, notes: list[str]) -> Result:
    if not coverage.powered:
        return not_applicable("no prediction depends on any token: the weights that would show it are zero")
    tried = listed(sorted({length for lengths in coverage.lengths.values() for length in lengths}))
    modes = f"{listed([*coverage.lengths])} mode"
    small = f"; differences up to {coverage.rounding:.1g} are rounding" if coverage.rounding else ""
    summary = f"no earlier prediction moves: {coverage.cuts} cuts at {tried} tokens, in {modes}{small}"
    evidence = {"lengths": coverage.lengths, "cuts": coverage.cuts, "rounding": coverage.rounding, "notes": notes}
    return passed("; ".join((summary, *notes)), **evidence)


def _failure(target: Target, leak: Leak) -> Result:
    mode = "training" if leak.training else "evaluation"
    later = f"tokens {leak.j} to {leak.length - 1}" if leak.all_later else f"token {leak.j}"
    summary = f"prediction {leak.i} moves by {leak.size:.2g} with {later}, of {leak.length} tokens in {mode} mode"
    place = f"{leak.j}:" if leak.all_later else f"{leak.j}"
    lines = [
        *(["target = target.in_training()"] if leak.training else []),
        *(["target = target.repeating()"] if target.fresh else []),
        f"ids = target.ids(1, {leak.length})",
        "other = ids.clone()",
        f"other[0, {place}] = target.others(ids)[0, {place}]",
        "moved = (target.logits(other) - target.logits(ids)).abs().amax(-1)[0]",
        f"print(float(moved[{leak.i}]))  # how far prediction {leak.i} moves; must be 0",
    ]
    return failed(summary, snippet(target, *lines), **vars(leak))


def lengths_of(target: Target) -> list[int]:
    """Return lengths: a short one, the trained length, then others, some of them past every window and chunk."""
    most = target.block_size
    usual = [SHORT, MIDDLE, LONG, *((most and [most]) or [])]
    past = [length for size in target.turning_points for length in (size + 2, 2 * size + 3)]
    found = sorted({min(length, most or length) for length in (*usual, *past)})
    first = [min(SHORT, most or SHORT), *([most] if most and most <= LONGEST else [])]
    return [length for length in dict.fromkeys((*first, *found)) if 1 < length <= LONGEST]


def _leaks(target: Target, effort: Effort, coverage: Coverage) -> Iterator[Leak]:
    """Yield the earliest leak of each length that has one."""
    name = "training" if target.training else "evaluation"
    for length in effort.while_time(lengths_of(target)):
        moved = Moved([])
        for seed in (1, 2) if length <= ALL else (1,):
            _replace(target, length, seed, effort, coverage, moved)
        coverage.lengths.setdefault(name, []).append(length)
        found = (_localised(target, length, i, cut) for i, cut in sorted(moved.surely))
        leak = next(filter(None, found), None) or _smooth(target, length, moved)
        if leak is not None:
            yield leak
        coverage.rounding = max(coverage.rounding, moved.most)


def _replace(target: Target, length: int, seed: int, effort: Effort, coverage: Coverage, moved: Moved) -> None:
    """Replace the tokens from each cut on, and add to `moved` the predictions before it that move."""
    ids = target.ids(1, length)
    other = target.others(ids, seed)
    rows = max(min(ROWS, AT_ONCE // length), 1)
    allowed = target.rounding.tolerance(target.logits(ids), same_shape=True)
    positions = torch.arange(length)
    chunks = suffix_changes(target.logits, ids, other, cuts_of(length, effort.thorough), rows=rows)
    for cuts, changes in effort.while_time(chunks):
        earlier = positions < cuts[:, None]
        coverage.cuts += len(cuts)
        coverage.powered |= bool((changes[~earlier] > 0).any())
        moved.surely += [(int(i), int(cuts[row])) for row, i in ((changes > allowed) & earlier).nonzero()]
        below = changes.where(earlier & (changes <= allowed), torch.zeros_like(changes))
        if float(below.max()) > moved.most:
            row, i = (below == below.max()).nonzero()[0].tolist()
            moved.most, moved.suspect = float(below.max()), (i, int(cuts[row]))


def _smooth(target: Target, length: int, moved: Moved) -> Leak | None:
    """Return the leak at the most suspicious prediction if it answers to later embeddings as no rounding does."""
    if moved.suspect is None:
        return None
    i, cut = moved.suspect
    ids = target.ids(1, length)
    if not response(target, ids, i, slice(cut, None)):
        return None
    j = next((j for j in _nearest_first(i, length) if response(target, ids, i, slice(j, j + 1))), None)
    return Leak(i, cut if j is None else j, moved.most, length, target.training, all_later=j is None)


def cuts_of(length: int, thorough: bool) -> list[int]:
    """Return the cuts that are tried: all of a short length, some of a long one, spread and at both ends."""
    if length <= ALL or thorough:
        return list(range(1, length))
    spread = torch.linspace(1, length - 1, SOME).round().long().tolist()
    drawn = torch.randint(1, length, (ROWS,), generator=torch.Generator().manual_seed(length)).tolist()
    return sorted({*spread, *drawn, length // 2, length // 4})


def _localised(target: Target, length: int, i: int, cut: int) -> Leak | None:
    """Return the leak at i with the nearest token that causes it, in a batch of one row; None if it isn't one there."""
    ids = target.ids(1, length)
    before = target.logits(ids)
    allowed = target.rounding.tolerance(before, same_shape=True)

    def moved(at: slice, seed: int) -> float:
        other = ids.clone()
        other[:, at] = target.others(ids, seed)[:, at]
        return float(largest_differences(before, target.logits(other))[0, i])

    everything = moved(slice(cut, None), 1)
    if everything <= allowed and moved(slice(cut, None), 2) <= allowed:
        return None
    for j in _nearest_first(i, length):
        size = moved(slice(j, j + 1), 1)
        if size > allowed:
            return Leak(i, j, size, length, target.training)
    return Leak(i, cut, everything, length, target.training, all_later=True)


def _nearest_first(i: int, length: int) -> Iterator[int]:
    near = min(length, i + 1 + NEAR)
    yield from range(i + 1, near)
    step = 1
    while near < length:
        yield near
        near, step = near + step, 2 * step
    if near > i + 1 + NEAR:
        yield length - 1
