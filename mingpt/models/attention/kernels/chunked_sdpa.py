"""Attention with a window of a good part of the text, on the CPU, by PyTorch's own fused kernel.

The first w queries see all that stands before them: one causal call.  Those after them go in chunks of c, each with
the w + c - 1 keys that any of its queries sees, under one and the same mask; outside of these keys nothing is computed.

The fused kernel is called below autograd, forward and backward, so that each chunk adds its gradients of keys and
values to what is there: autograd through slices would write a full-length tensor of zeros for each chunk.  The calls
are PyTorch's own, but private, and take on trust what `scaled_dot_product_attention` checks for them: that there is
something to attend to, as many key heads as query heads, and numbers of a row side by side.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mingpt.models.attention.kernels.base import KERNELS, Kernel, Need, folded
from mingpt.models.attention.scores import repeated

CHUNK = 256  # queries: with more, more is computed outside of the band; with fewer, products are too small
SHORT = 1024  # positions; below, one masked product is about as fast
NARROW = 512  # the widest window with which the banded kernel is as fast


def _private(name: str, *inputs: str) -> Callable[..., Any] | None:
    """PyTorch's operator of that name, if there is one and it takes what it is given here."""
    found: Any = getattr(torch.ops.aten, name, None)
    names = [argument.name for argument in found.default._schema.arguments] if found else []
    return found.default if names == [*inputs, "dropout_p", "is_causal", "attn_mask", "scale"] else None


FLASH = "_scaled_dot_product_flash_attention_for_cpu"
FORWARD = _private(FLASH, "query", "key", "value")
BACKWARD = _private(f"{FLASH}_backward", "grad_out", "query", "key", "value", "out", "logsumexp")


class Part(NamedTuple):
    """Queries and the keys that they see: by `mask`, (queries, keys), to be added; or, with None, causally."""

    queries: slice
    keys: slice
    mask: Tensor | None


class Wide(Kernel):
    """Causal windows without dropout, forward and backward, on the CPU."""

    name, rank = "wide", 1
    serves_cache = False

    def refuses(self, need: Need) -> str | None:
        rules = (
            (need.device.type != "cpu", "it calls the fused kernel of the CPU"),
            (FORWARD is None or BACKWARD is None, "this PyTorch has no such fused kernel"),
            (not need.score.bilinear, "it takes scores that are a dot product"),
            (need.mask.band in (None, math.inf), "it takes causal masks with a model.window"),
            (need.bias is not None, "it has no position bias"),
            (need.dropout_p > 0, "it has no dropout"),
            (not need.whole, "it serves whole sequences, not a cache"),
        )
        return next((reason for broken, reason in rules if broken), None)

    def not_worth(self, need: Need) -> str | None:
        if need.keys < SHORT:
            return "one masked product is as fast at this size"
        assert need.mask.band is not None
        narrow = need.mask.band <= min(NARROW, need.keys / 4)
        return "the banded kernel is as fast with so narrow a window" if narrow else None

    def attend(self, q: Tensor, k: Tensor, v: Tensor, need: Need) -> tuple[Tensor, Tensor | None]:
        assert need.mask.band is not None
        q, k, v = folded(q, k, v, need)
        return wide(q, k, v, int(min(need.mask.band, need.keys)), need.score.scale)[0], None


KERNELS.add(Wide.name)(Wide())


@torch.library.custom_op("mingpt::wide", mutates_args=())
def wide(q: Tensor, k: Tensor, v: Tensor, window: int, scale: float) -> tuple[Tensor, Tensor]:
    """softmax(scale q k^T + band) v: position i sees j with 0 <= i - j < window.

    Args:
        q: (b, h, N, d)
        k: (b, g, N, d)
        v: (b, g, N, d)
        window: keys seen, the query's own included; 1 to N
        scale: of the products

    Returns:
        (b, h, N, d), and (b, h, N) the log of each softmax's sum, for the backward pass; that has no gradient.
    """
    assert FORWARD is not None
    result, log_sums = q.new_empty(q.shape), q.new_empty(q.shape[:3], dtype=_summed_in(q))
    q, k, v = map(_in_rows, (q, k, v))
    for part in _parts(q.shape[2], window, q) if q.numel() else ():
        own_k, own_v = (repeated(x[:, :, part.keys], q.shape[1]) for x in (k, v))
        result[:, :, part.queries], log_sums[:, :, part.queries] = FORWARD(
            q[:, :, part.queries], own_k, own_v, is_causal=part.mask is None, attn_mask=part.mask, scale=scale
        )
    return result, log_sums


@torch.library.custom_op("mingpt::wide_backward", mutates_args=())
def _wide_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, result: Tensor, log_sums: Tensor, window: int, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    assert BACKWARD is not None
    dq, (dk, dv) = q.new_empty(q.shape), (log_sums.new_zeros(x.shape) for x in (k, v))
    grad, q, k, v = map(_in_rows, (grad, q, k, v))
    shared = q.shape[1] // k.shape[1]
    for part in _parts(q.shape[2], window, q) if q.numel() else ():
        dq[:, :, part.queries], of_keys, of_values = BACKWARD(
            grad[:, :, part.queries],
            q[:, :, part.queries],
            *(repeated(x[:, :, part.keys], q.shape[1]) for x in (k, v)),
            result[:, :, part.queries],
            log_sums[:, :, part.queries],
            dropout_p=0.0,
            is_causal=part.mask is None,
            attn_mask=part.mask,
            scale=scale,
        )
        for first in range(shared):  # of each of the heads that share a key
            dk[:, :, part.keys] += of_keys[:, first::shared]
            dv[:, :, part.keys] += of_values[:, first::shared]
    return dq, dk.to(k.dtype), dv.to(v.dtype)


@wide.register_fake
def _(q: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), q.new_empty(q.shape[:3], dtype=_summed_in(q))


@_wide_backward.register_fake
def _(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, *ctx.settings = inputs
    ctx.save_for_backward(q, k, v, *output)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: Tensor, of_log_sums: Tensor) -> tuple[Any, ...]:
    return (*_wide_backward(grad, *ctx.saved_tensors, *ctx.settings), None, None)


wide.register_autograd(_backward, setup_context=_remember)


def _parts(length: int, window: int, like: Tensor) -> Iterator[Part]:
    """All `length` queries, none twice; masks in the type of `like`."""
    early = slice(0, min(window, length))
    yield Part(early, early, None)
    c = min(CHUNK, length - early.stop)
    seen = torch.ones(c, window + c - 1, dtype=torch.bool, device=like.device).triu_().tril_(window - 1)
    band = like.new_zeros(seen.shape).masked_fill_(~seen, -math.inf)
    for start in range(early.stop, length, CHUNK):
        end = min(start + CHUNK, length)
        keys = slice(start - window + 1, end)
        yield Part(slice(start, end), keys, band[: end - start, : end - keys.start])


def _in_rows(x: Tensor) -> Tensor:
    """As the fused kernel reads it: the numbers of a row side by side, no row over another."""
    return x if x.stride(3) == 1 and x.stride(2) >= x.shape[3] else x.contiguous()


def _summed_in(x: Tensor) -> torch.dtype:
    """What the fused kernel adds in, and hands the log-sum-exp out in: float32 for shorter types."""
    return torch.promote_types(x.dtype, torch.float32)
