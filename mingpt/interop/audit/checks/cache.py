"""Cache: token by token, in chunks and at once a model gives the same logits, and a new state holds nothing of others.

Lengths go past the windows that the model's settings name, since a cache that holds too much or too little shows there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mingpt.interop.audit.checks.base import Difference, check, first_difference, snippet
from mingpt.interop.audit.effort import Effort
from mingpt.interop.audit.results import Result, failed, listed, not_applicable, passed
from mingpt.interop.audit.target import Target

ROWS, TOKENS = 2, 12
LONG = 70  # tokens that are decoded one by one at most, unless a window or a thorough audit asks for more
LAST = 6  # tokens decoded one by one after a longer prefix


@dataclass(frozen=True)
class Pattern:
    """A way to feed t tokens: its name, and the sizes of its pieces."""

    name: str
    sizes: Callable[[int], list[int]]


PATTERNS = (
    Pattern("one by one", lambda length: [1] * length),
    Pattern("a prefix, then one by one", lambda length: [max(length - LAST, 1), *[1] * min(LAST, length - 1)]),
    Pattern("in chunks", lambda length: _chunks(length)),
)


def _chunks(length: int) -> list[int]:
    """Return pieces of 3, 1, 4, 2, 5 tokens and so on."""
    sizes, left, turn = [], length, 0
    while left:
        size = min((3, 1, 4, 2, 5)[turn % 5], left)
        sizes.append(size)
        left, turn = left - size, turn + 1
    return sizes


@check(3, "cache", "token by token, in chunks and at once give the same logits; a reset leaves nothing", weight=3)
def cache(target: Target, effort: Effort) -> Result:
    """Compare each way of decoding with one pass over all tokens, then look for what a state leaves behind."""
    if target.model is None:
        return not_applicable("a file of scores has no model to ask")
    try:
        if target.decoder(1) is None:
            return not_applicable("the model has no cache that is known: new_state and state, or use_cache")
        fed(target, target.ids(1, 2), [1, 1])
    except Exception as error:  # any code of others
        return not_applicable(f"its cache can't be used: {' '.join(str(error).split())[:100] or type(error).__name__}")
    steady = target.comparable()
    if steady is None or steady.fresh:
        return not_applicable("equal inputs give different outputs; see determinism")
    tried: dict[str, list[int]] = {}
    rejected: list[str] = []
    for length, pattern in effort.while_time(_cases(target, effort), least=len(PATTERNS)):
        ids = target.ids(ROWS, length)
        try:
            found = fed(target, ids, pattern.sizes(length))
        except Exception as error:  # any code of others
            rejected.append(f"{pattern.name} is rejected: {' '.join(str(error).split())[:80] or type(error).__name__}")
            continue
        expected = target.logits(ids)
        different = first_difference(target, expected, found, same_shape=False)
        if different:
            return _failure(target, pattern, length, different, _explained(target, expected, found))
        tried.setdefault(pattern.name, []).append(length)
    if not tried:
        return not_applicable("; ".join(rejected))
    left = _left_behind(target)
    if left:
        return left
    ways = "; ".join(f"{name}: {listed(lengths)} tokens" for name, lengths in tried.items())
    summary = "; ".join((f"the same logits as at once ({ways}); a new state holds nothing", *dict.fromkeys(rejected)))
    return passed(summary, lengths=tried, rejected=rejected)


def fed(target: Target, ids: Tensor, sizes: list[int]) -> Tensor:
    """Return (b, t, v) logits of (b, t) ids that a new decoder gets in pieces of these sizes."""
    decode = target.decoder(len(ids))
    assert decode is not None
    return torch.cat([decode(piece) for piece in ids.split(sizes, dim=1)], dim=1)


def _cases(target: Target, effort: Effort) -> Iterator[tuple[int, Pattern]]:
    """Yield lengths and patterns: a short length, past each window, and up to the trained length."""
    most = target.block_size
    past = [min(size + 5, most or size + 5) for size in target.turning_points]
    whole = [most] if most and (effort.thorough or most <= LONG) else [min(LONG, most or LONG)]
    for length in sorted({min(TOKENS, most or TOKENS), *past, *whole}):
        for pattern in PATTERNS:
            if pattern.name == "a prefix, then one by one" or length <= LONG or effort.thorough:
                yield length, pattern


def _explained(target: Target, expected: Tensor, found: Tensor) -> str:
    """Return what explains a difference, if logits are those of another position."""
    for shift, words in ((1, "one position late"), (-1, "one position early")):
        moved = expected[:, :-1] if shift == 1 else expected[:, 1:]
        there = found[:, 1:] if shift == 1 else found[:, :-1]
        if moved.shape[1] > 1 and not first_difference(target, moved, there, same_shape=False):
            return f", and are {words}"
    return ""


def _failure(target: Target, pattern: Pattern, length: int, found: Difference, explained: str) -> Result:
    summary = (
        f"decoded {pattern.name}, logits at position {found.position} of {length} differ by {found.size:.2g} from "
        f"those of one pass{explained}"
    )
    lines = [
        "from mingpt.interop.audit.checks.cache import fed",
        f"ids = target.ids({ROWS}, {length})",
        f"cached = fed(target, ids, {pattern.sizes(length)})",
        "print(float((cached - target.logits(ids)).abs().max()))  # must be rounding alone",
    ]
    evidence = {"pattern": pattern.name, "length": length, "position": found.position, "size": found.size}
    return failed(summary, snippet(target, *lines), **evidence)


def _left_behind(target: Target) -> Result | None:
    """Return a failure if decoding one text changes what is computed of another after it."""
    tokens = target.tokens_within(TOKENS)
    ids, other, sizes = target.ids(ROWS, tokens), target.ids(ROWS, tokens, seed=1), _chunks(tokens)
    by_one = [1] * tokens
    for pieces in (sizes, by_one):
        try:
            first, whole = fed(target, ids, pieces), target.logits(ids)
            fed(target, other, pieces)
            again, whole_again = fed(target, ids, pieces), target.logits(ids)
        except Exception:  # this way of decoding is rejected, as was reported
            continue
        for before, after, where in ((first, again, "decoding"), (whole, whole_again, "one pass")):
            different = first_difference(target, before, after, same_shape=True)
            if different:
                lines = [
                    "from mingpt.interop.audit.checks.cache import fed",
                    f"ids, other = target.ids({ROWS}, {tokens}), target.ids({ROWS}, {tokens}, seed=1)",
                    f"first, sizes = fed(target, ids, {pieces}), {pieces}",
                    "fed(target, other, sizes)",
                    "print(float((fed(target, ids, sizes) - first).abs().max()))  # must be 0",
                ]
                summary = f"after another text was decoded, {where} of the first differs by {different.size:.2g}"
                return failed(summary, snippet(target, *lines), position=different.position, size=different.size)
    return None
