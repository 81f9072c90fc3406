"""Batch: a row alone, among others, in another place and with padding gets the same logits."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mingpt.interop.audit.checks.base import check, first_difference, snippet
from mingpt.interop.audit.effort import Effort
from mingpt.interop.audit.results import Result, failed, listed, not_applicable, passed
from mingpt.interop.audit.target import Target

ROWS, TOKENS, PADDING = 3, 12, 3


@dataclass(frozen=True)
class Case:
    """A batch that holds a text: its name, the inputs, and where in it the text is.

    Attributes:
        ids, mask: (b, t); mask is None where nothing is padding
        row: the row that holds the text
        start: position of its first token
        code: Python that makes `ids` and `mask` of the `text`
    """

    name: str
    ids: Tensor
    mask: Tensor | None
    row: int
    start: int
    code: str


@check(4, "batch", "a row alone, among others, in another place and with padding gives the same", weight=1)
def batch(target: Target, effort: Effort) -> Result:
    """Compare a text alone with the same text in each of several batches."""
    if target.model is None:
        return not_applicable("a file of scores has no model to ask")
    steady = target.comparable()
    if steady is None:
        return not_applicable("equal inputs give different outputs; see determinism")
    text = target.ids(1, target.tokens_within(TOKENS) - (PADDING if _short(target) else 0))
    alone = steady.logits(text)
    tried, rejected = [], []
    for case in _cases(target, text):
        try:
            logits = steady.logits(case.ids, case.mask)
        except Exception as error:  # any code of others
            rejected.append(f"{case.name} is rejected: {' '.join(str(error).split())[:80] or type(error).__name__}")
            continue
        found = logits[case.row : case.row + 1, case.start : case.start + text.shape[1]]
        different = first_difference(target, alone, found, same_shape=False)
        if different:
            summary = f"{case.name}, logits at position {different.position} differ by {different.size:.2g}"
            lines = [
                *(["target = target.repeating()"] if steady.fresh else []),
                f"text = target.ids(1, {text.shape[1]})",
                case.code,
                f"found = target.logits(ids, mask)[{case.row}, {case.start} : {case.start + text.shape[1]}]",
                "print(float((found - target.logits(text)[0]).abs().max()))  # must be rounding alone",
            ]
            evidence = {"case": case.name, "position": different.position, "size": different.size}
            return failed(summary, snippet(target, *lines), **evidence)
        tried.append(case.name)
    if not tried:
        return not_applicable("; ".join(rejected))
    unmasked = [] if target.calling.mask else ["it takes no attention_mask, so no padding was tried"]
    return passed("; ".join((f"the same {listed(tried)}", *rejected, *unmasked)), cases=tried, rejected=rejected)


def _short(target: Target) -> bool:
    return target.block_size is not None and target.block_size < TOKENS + PADDING and target.block_size > PADDING + 1


def _cases(target: Target, text: Tensor) -> Iterator[Case]:
    t = text.shape[1]
    others = target.ids(ROWS, t, seed=3)
    last = torch.cat((others[:2], text))
    make = f"others = target.ids({ROWS}, {t}, seed=3)"
    yield Case(
        "first of three rows",
        torch.cat((text, others[:2])),
        None,
        0,
        0,
        f"{make}\nids, mask = torch.cat((text, others[:2])), None",
    )
    yield Case("last of three rows", last, None, 2, 0, f"{make}\nids, mask = torch.cat((others[:2], text)), None")
    if not target.calling.mask:
        return
    yield from _padded(target, text)


def _padded(target: Target, text: Tensor) -> Iterator[Case]:
    """Yield the text with padding on either side, alone and next to a row without any."""
    t = text.shape[1]
    pad = target.pads(1, PADDING, seed=4)
    row = target.ids(1, t + PADDING, seed=5)
    ones, zeros = torch.ones(1, t, dtype=torch.long), torch.zeros(1, PADDING, dtype=torch.long)
    make = (
        f"pad, row = target.pads(1, {PADDING}, seed=4), target.ids(1, {t + PADDING}, seed=5)\n"
        f"ones, zeros = torch.ones(1, {t}, dtype=torch.long), torch.zeros(1, {PADDING}, dtype=torch.long)"
    )
    for side, start in (("right", 0), ("left", PADDING)):
        order = (text, pad) if side == "right" else (pad, text)
        marks = (ones, zeros) if side == "right" else (zeros, ones)
        ids, mask = torch.cat(order, dim=1), torch.cat(marks, dim=1)
        spelled, marked = ("text, pad", "ones, zeros") if side == "right" else ("pad, text", "zeros, ones")
        code = f"{make}\nids, mask = torch.cat(({spelled}), dim=1), torch.cat(({marked}), dim=1)"
        yield Case(f"with padding on the {side}", ids, mask, 0, start, code)
        both = torch.cat((row, ids))
        full = torch.cat((torch.ones_like(mask), mask))
        code += "\nids, mask = torch.cat((row, ids)), torch.cat((torch.ones_like(mask), mask))"
        yield Case(f"with padding on the {side}, after a longer row", both, full, 1, start, code)
