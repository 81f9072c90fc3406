"""Chunked SDPA: wide sliding windows on the CPU by PyTorch's fused attention, a chunk of queries at a time.

The first w queries attend to everything before them: one causal call.  Later queries come in chunks of c, each with
the w + c - 1 keys of its windows, all under the same mask; products with other keys are skipped.

The fused kernel is called below autograd, forward and backward, so that chunks accumulate into one gradient of keys
and values: autograd through slices would write a full-length tensor of zeros per chunk.  The operators are private
ones of PyTorch and don't check what `scaled_dot_product_attention` checks: at least one key, as many key heads as
query heads, rows contiguous in memory.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mingpt.models.attention.kernels.base import KERNELS, Kernel, Need, folded
from mingpt.models.attention.scores import repeated

CHUNK = 256  # queries per call: larger chunks compute more outside of the band, smaller ones are inefficient
SHORT = 1024  # sequence length below which one masked product is about as fast
NARROW = 512  # widest window for which the banded kernel is as fast


def _private(name: str, *inputs: str) -> Callable[..., Any] | None:
    """Return PyTorch's operator `name` if it exists and has these inputs; else None."""
    found: Any = getattr(torch.ops.aten, name, None)
    names = [argument.name for argument in found.default._schema.arguments] if found else []
    return found.default if names == [*inputs, "dropout_p", "is_causal", "attn_mask", "scale"] else None


FLASH = "_scaled_dot_product_flash_attention_for_cpu"
FORWARD = _private(FLASH, "query", "key", "value")
BACKWARD = _private(f"{FLASH}_backward", "grad_out", "query", "key", "value", "out", "logsumexp")


class Chunk(NamedTuple):
    """A chunk of queries and its keys, with an additive (queries, keys) mask; None: causal."""

    queries: slice
    keys: slice
    mask: Tensor | None


class ChunkedSdpa(Kernel):
    """Causal sliding windows without dropout, forward and backward, on the CPU; `model.kernel=chunked_sdpa`."""

    name, rank = "chunked_sdpa", 1
    serves_cache = False

    def unsupported(self, need: Need) -> str | None:
        rules = (
            (need.device.type != "cpu", "it calls the fused kernel of the CPU"),
            (FORWARD is None or BACKWARD is None, "this PyTorch has no such fused kernel"),
            (not need.score.bilinear, "it takes scores that are a dot product"),
            (need.mask.band in (None, math.inf), "it takes causal masks with a model.window"),
            (need.bias is not None, "it has no position bias"),
            (need.dropout_p > 0, "it has no dropout"),
            (not need.full_sequence, "it serves full sequences, not a KV cache"),
        )
        return next((reason for broken, reason in rules if broken), None)

    def slower(self, need: Need) -> str | None:
        if need.keys < SHORT:
            return "one masked product is as fast at this size"
        assert need.mask.band is not None
        narrow = need.mask.band <= min(NARROW, need.keys / 4)
        return "the banded kernel is as fast with so narrow a window" if narrow else None

    def attend(self, q: Tensor, k: Tensor, v: Tensor, need: Need) -> tuple[Tensor, Tensor | None]:
        assert need.mask.band is not None
        q, k, v = folded(q, k, v, need)
        return chunked_sdpa(q, k, v, int(min(need.mask.band, need.keys)), need.score.scale)[0], None


KERNELS.add(ChunkedSdpa.name)(ChunkedSdpa())


@torch.library.custom_op("mingpt::chunked_sdpa", mutates_args=())
def chunked_sdpa(q: Tensor, k: Tensor, v: Tensor, window: int, scale: float) -> tuple[Tensor, Tensor]:
    """Return softmax(scale q k^T + band) v, where query i attends to keys j with 0 <= i - j < window.

    Args:
        q: (b, h, N, d) queries
        k: (b, g, N, d) keys
        v: (b, g, N, d) values
        window: keys per query, its own position included; 1 to N
        scale: factor of the products q k^T

    Returns:
        (b, h, N, d) outputs, and (b, h, N) log-sum-exp of the logits, for the backward pass; that has no gradient.
    """
    assert FORWARD is not None
    result, logsumexp = q.new_empty(q.shape), q.new_empty(q.shape[:3], dtype=_accumulation_type(q))
    q, k, v = map(_contiguous_rows, (q, k, v))
    for chunk in _chunks(q.shape[2], window, q) if q.numel() else ():
        own_k, own_v = (repeated(x[:, :, chunk.keys], q.shape[1]) for x in (k, v))
        result[:, :, chunk.queries], logsumexp[:, :, chunk.queries] = FORWARD(
            q[:, :, chunk.queries], own_k, own_v, is_causal=chunk.mask is None, attn_mask=chunk.mask, scale=scale
        )
    return result, logsumexp


@torch.library.custom_op("mingpt::chunked_sdpa_backward", mutates_args=())
def _chunked_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, result: Tensor, logsumexp: Tensor, window: int, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    assert BACKWARD is not None
    dq, (dk, dv) = q.new_empty(q.shape), (logsumexp.new_zeros(x.shape) for x in (k, v))
    grad, q, k, v = map(_contiguous_rows, (grad, q, k, v))
    shared = q.shape[1] // k.shape[1]
    for chunk in _chunks(q.shape[2], window, q) if q.numel() else ():
        dq[:, :, chunk.queries], of_keys, of_values = BACKWARD(
            grad[:, :, chunk.queries],
            q[:, :, chunk.queries],
            *(repeated(x[:, :, chunk.keys], q.shape[1]) for x in (k, v)),
            result[:, :, chunk.queries],
            logsumexp[:, :, chunk.queries],
            dropout_p=0.0,
            is_causal=chunk.mask is None,
            attn_mask=chunk.mask,
            scale=scale,
        )
        for first in range(shared):  # query heads that share a key head
            dk[:, :, chunk.keys] += of_keys[:, first::shared]
            dv[:, :, chunk.keys] += of_values[:, first::shared]
    return dq, dk.to(k.dtype), dv.to(v.dtype)


@chunked_sdpa.register_fake
def _(q: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), q.new_empty(q.shape[:3], dtype=_accumulation_type(q))


@_chunked_backward.register_fake
def _(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, *ctx.settings = inputs
    ctx.save_for_backward(q, k, v, *output)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: Tensor, of_logsumexp: Tensor) -> tuple[Any, ...]:
    return (*_chunked_backward(grad, *ctx.saved_tensors, *ctx.settings), None, None)


chunked_sdpa.register_autograd(_backward, setup_context=_save_for_backward)


def _chunks(length: int, window: int, like: Tensor) -> Iterator[Chunk]:
    """Partition `length` queries into chunks, with masks in the type of `like`."""
    early = slice(0, min(window, length))
    yield Chunk(early, early, None)
    c = min(CHUNK, length - early.stop)
    seen = torch.ones(c, window + c - 1, dtype=torch.bool, device=like.device).triu_().tril_(window - 1)
    band = like.new_zeros(seen.shape).masked_fill_(~seen, -math.inf)
    for start in range(early.stop, length, CHUNK):
        end = min(start + CHUNK, length)
        keys = slice(start - window + 1, end)
        yield Chunk(slice(start, end), keys, band[: end - start, : end - keys.start])


def _contiguous_rows(x: Tensor) -> Tensor:
    """Return `x` with contiguous rows that don't overlap, as the fused kernel needs it."""
    return x if x.stride(3) == 1 and x.stride(2) >= x.shape[3] else x.contiguous()


def _accumulation_type(x: Tensor) -> torch.dtype:
    """Return the type in which the fused kernel accumulates and returns the log-sum-exp: float32 or wider."""
    return torch.promote_types(x.dtype, torch.float32)
