"""Determinism: in evaluation mode equal inputs give equal outputs, whatever was drawn or computed before."""

from mingpt.interop.audit.checks.base import check, first_difference, snippet
from mingpt.interop.audit.effort import Effort
from mingpt.interop.audit.results import Result, failed, not_applicable, passed
from mingpt.interop.audit.target import Target

ROWS, TOKENS = 2, 12
REPEATS = 4


@check(5, "determinism", "evaluation mode draws no random numbers, and no call leaves anything for the next", weight=1)
def determinism(target: Target, effort: Effort) -> Result:
    """Repeat a pass at once, then after passes over other texts, of the same and of another shape."""
    if target.model is None:
        return not_applicable("a file of scores has no model to ask")
    tokens = target.tokens_within(TOKENS)
    ids, other = target.ids(ROWS, tokens), target.ids(ROWS, tokens, seed=1)
    first = target.logits(ids, seed=None)
    line = f"ids, other = target.ids({ROWS}, {tokens}), target.ids({ROWS}, {tokens}, seed=1)"
    for _ in range(REPEATS):
        different = first_difference(target, first, target.logits(ids, seed=None), same_shape=True)
        if different:
            seeded = target.repeating()
            drawn = seeded is not None and not seeded.fresh
            why = "it draws random numbers, as dropout does" if drawn else "a call leaves something for the next"
            lines = [line, "first = target.logits(ids, seed=None)", f"{_AGAIN}  # must be 0"]
            summary = f"two equal calls in evaluation mode differ by {different.size:.2g}: {why}"
            return failed(summary, snippet(target, *lines), size=different.size, random=drawn)
    for text, name in ((other, "other"), (other[:1, : max(tokens // 2, 1)], "other[:1, : max(ids.shape[1] // 2, 1)]")):
        before = target.logits(ids)
        target.logits(text)
        different = first_difference(target, before, target.logits(ids), same_shape=True)
        if different:
            lines = [line, "first = target.logits(ids)", f"target.logits({name})", f"{_AGAIN}  # must be 0"]
            summary = f"after a call with another text, logits differ by {different.size:.2g}: a call leaves something"
            return failed(summary, snippet(target, *lines), size=different.size, random=False)
    return passed(f"{REPEATS + 1} equal calls and calls after other texts give equal logits")


_AGAIN = "print(float((target.logits(ids, seed=None) - first).abs().max()))"
