"""Length: what a model does past its trained length: it rejects more tokens, or goes on, and how well.

Going on is no fault, but silently computing something else is: giving fewer logits than tokens, logits that are no
numbers, or positions that begin again or stand still, which is seen of the ids that position embeddings are asked for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mingpt.interop.audit.calling import TargetError
from mingpt.interop.audit.checks.base import check, snippet
from mingpt.interop.audit.checks.score import next_token_nats
from mingpt.interop.audit.effort import Effort
from mingpt.interop.audit.results import Result, failed, not_applicable, passed
from mingpt.interop.audit.target import Target

PAST = 8  # tokens past the trained length
PARTS = 4  # of the trained length, and of as much after it, of which a loss is given


@check(7, "length", "past its trained length a model rejects tokens or goes on, and never silently changes", weight=1)
def length(target: Target, effort: Effort) -> Result:
    """Ask for a few tokens more than the trained length, then for the loss by position if there is a text."""
    if target.model is None:
        return not_applicable("a file of scores has no model to ask")
    size = target.block_size
    if size is None:
        return not_applicable("no trained length is known (block_size)")
    code = f"ids = target.ids(1, {size + PAST})\n"
    try:
        with looked_up(target) as asked:
            logits = target.logits(target.ids(1, size + PAST))
    except TargetError as error:
        showing = (
            "try:\n    target.logits(ids)\nexcept Exception as error:\n    print(error)  # must be one position a token"
        )
        return failed(f"past {size} tokens it {error}", snippet(target, code + showing))
    except Exception as error:  # any code of others
        return passed(f"rejects more than {size} tokens: {' '.join(str(error).split())[:80] or type(error).__name__}")
    if logits[:, size:].isnan().any() or not logits[:, size:].isfinite().any(-1).all():
        line = f"print(target.logits(ids)[0, {size}:])  # no numbers"
        return failed(f"logits past {size} tokens are no numbers", snippet(target, code + line))
    again = _again(asked, size)
    if again:
        lines = [
            "from mingpt.interop.audit.checks.length import looked_up",
            code + "with looked_up(target) as asked:\n    target.logits(ids)",
            "print(asked)  # what embeddings of positions were asked for",
        ]
        return failed(f"past {size} tokens positions {again}, silently", snippet(target, *lines))
    losses = _by_position(target, effort)
    shown = f"; loss by position, in nats: {losses}" if losses else ""
    return passed(f"goes on past {size} tokens{shown}", losses=losses)


@contextmanager
def looked_up(target: Target) -> Iterator[list[list[int]]]:
    """Record the ids that each nn.Embedding is asked for in one row, where they are no tokens."""
    asked: list[list[int]] = []

    def hook(module: nn.Module, args: Any, out: Tensor) -> None:
        if args and isinstance(args[0], Tensor) and args[0].numel():
            asked.append(args[0].reshape(-1, args[0].shape[-1])[0].tolist())

    modules = target.module.modules() if target.module is not None else ()
    hooks = [each.register_forward_hook(hook) for each in modules if isinstance(each, nn.Embedding)]
    try:
        yield asked
    finally:
        for each in hooks:
            each.remove()


def _again(asked: list[list[int]], size: int) -> str:
    """Return how positions repeat that count up by one before `size`; "" if none do."""
    for ids in asked:
        counts = len(ids) == size + PAST and ids[:size] == list(range(ids[0], ids[0] + size))
        if counts and ids[size] == ids[0] and size > 1:
            return "begin again at the first"
        if counts and {*ids[size:]} == {ids[size - 1]}:
            return "stand still at the last"
    return ""


def _by_position(target: Target, effort: Effort) -> list[float]:
    """Return mean losses of parts of the trained length, then of as much after it; [] without a text."""
    size, ids = target.block_size, target.claim.ids if target.claim else None
    if ids is None or size is None or size < PARTS or len(ids) < 2 * size + 1 or not target.autoregressive:
        return []
    windows = ids[: len(ids) // (2 * size + 1) * (2 * size + 1)].view(-1, 2 * size + 1)
    found = [
        next_token_nats(target.logits(window[None]), window[None])[0] for window in effort.while_time(windows[:64])
    ]
    mean = torch.stack(found).mean(0)  # (2 size,)
    return [round(float(part.mean()), 3) for part in mean.tensor_split(2 * PARTS)]
