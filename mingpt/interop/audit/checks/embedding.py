"""The gradient of a prediction with respect to the embeddings of later tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from mingpt.interop.audit.calling import mode
from mingpt.interop.audit.effort import Effort
from mingpt.interop.audit.target import Target
from mingpt.utils import seeded_generator, seeded_globally

TOKENS = 17
SMALLEST = 1e-14  # of the largest gradient of a prediction: smaller ones are rounding in float64, too
CHANGES = (1 / 4, 1 / 8, 1 / 16, 1 / 32)  # sizes of the changes that tell a dependency from rounding
LEAST, MOST, PARALLEL = 1.5, 2.7, 0.98  # of the ratio of two moves, and of the cosine between them


@contextmanager
def embedded(model: nn.Module, ids: Tensor, added: Tensor | None = None) -> Iterator[list[Tensor]]:
    """Make what embeddings return for `ids` leaves that need a gradient, in the list that is yielded.

    Args:
        added: (t,) numbers, by which a random vector is multiplied that is added to the embeddings
    """
    leaves: list[Tensor] = []

    def hook(module: nn.Module, args: Any, out: Tensor) -> Tensor | None:
        if not (args and isinstance(args[0], Tensor) and args[0].shape == ids.shape and torch.equal(args[0], ids)):
            return None
        leaf = (out if added is None else out + added[:, None].to(out.dtype) * _direction(out)).detach()
        leaves.append(leaf.requires_grad_())
        return leaf

    hooks = [each.register_forward_hook(hook) for each in model.modules() if isinstance(each, nn.Embedding)]
    try:
        yield leaves
    finally:
        for each in hooks:
            each.remove()


def _direction(out: Tensor) -> Tensor:
    """Return (e,) random numbers, the same for the same width e."""
    return torch.randn(out.shape[-1], generator=torch.Generator().manual_seed(1)).to(out.dtype)


def gradient_leak(target: Target, effort: Effort) -> tuple[tuple[int, int, float, int] | None, str]:
    """Find a prediction with a gradient for a later embedding that moves it.

    Returns ((i, j, size, tokens), "") of the first one; (None, note) with why there is no gradient, or "" if all are 0.
    """
    if target.module is None:
        return None, "none, the model is no nn.Module"
    if target.fresh:
        return None, "none, the model keeps a state"
    ids = target.ids(1, target.tokens_within(TOKENS))
    try:
        gradients = _gradients(target, ids, effort)
    except (RuntimeError, NotImplementedError) as error:
        return None, f"none ({' '.join(str(error).split())[:80]})"
    if gradients is None:
        return None, "none, no nn.Embedding takes the ids"
    for i, row in gradients.items():
        later = row[i + 1 :]
        if later.numel() and float(later.max()) > SMALLEST * float(row.max()):
            j = i + 1 + int(later.argmax())
            size = response(target, ids, i, slice(j, j + 1))
            if size:
                return (i, j, size, ids.shape[1]), ""
    return None, ""


def response(target: Target, ids: Tensor, i: int, at: slice) -> float:
    """Return how far prediction i moves when the embeddings at `at` change by a random vector; 0 if that is rounding.

    A dependency is smooth: half the change moves the logits half as far in the same direction, and again.  Rounding
    moves them about as far in another direction.  That tells a dependency from rounding however small it is.
    """
    if target.module is None or target.fresh:
        return 0.0
    moves = []
    before = _with_change(target, ids, i, at, 0.0)
    if before is None:
        return 0.0
    for size in CHANGES:
        after = _with_change(target, ids, i, at, size)
        assert after is not None
        moves.append((after - before).nan_to_num(0.0, 0.0, 0.0))
    smooth = all(
        LEAST < float(large.norm()) / max(float(small.norm()), 1e-300) < MOST and _cosine(large, small) > PARALLEL
        for large, small in pairwise(moves)
    )
    return float(moves[0].abs().max()) if smooth else 0.0


def _cosine(a: Tensor, b: Tensor) -> float:
    return float((a @ b) / (a.norm() * b.norm()).clamp_min(1e-300))


def _with_change(target: Target, ids: Tensor, i: int, at: slice, size: float) -> Tensor | None:
    """Return (v,) float64 logits of prediction i with changed embeddings; None if no nn.Embedding takes the ids."""
    added = torch.zeros(ids.shape[1])
    added[at] = size
    assert target.module is not None
    with embedded(target.module, ids, added) as leaves:
        logits = target.logits(ids)[0, i].detach().double()
    return logits if leaves else None


def _gradients(target: Target, ids: Tensor, effort: Effort) -> dict[int, Tensor] | None:
    """Return, by prediction, (t,) largest absolute gradients of a random sum of its logits; None without embeddings."""
    model = target.module
    assert model is not None
    found: dict[int, Tensor] = {}
    with torch.enable_grad(), seeded_globally(0, ids.device), seeded_generator(0), mode(model, target.training):
        with embedded(model, ids) as leaves:
            logits = target.calling.logits(model, ids)[0]
        if not leaves or not logits.requires_grad:
            return None
        weights = torch.randn(logits.shape[1:], generator=torch.Generator().manual_seed(0)).to(logits.dtype)
        sums = logits.masked_fill(~logits.isfinite(), 0.0) @ weights
        for i in effort.while_time(range(ids.shape[1]), least=4):
            parts = torch.autograd.grad(sums[i], leaves, retain_graph=True, allow_unused=True)
            sizes = [part.abs().amax((0, 2)) for part in parts if part is not None]
            found[i] = torch.stack(sizes).amax(0) if sizes else torch.zeros(ids.shape[1])
    return found
