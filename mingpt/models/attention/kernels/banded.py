"""Sliding-window attention in O(N w) time, with O(N) memory.

The queries of a head are cut into blocks of c, and each block attends to the r c keys that end with it,
r = ceil((w - 1) / c) + 1, under one (c, r c) band mask.  The keys of neighbouring blocks are overlapping views, so a
run of blocks is one batched product and no key is copied.  The first queries, with fewer keys before them, and the
last ones, too few for a block, are runs of another shape.

The backward pass recomputes the weights (as Dao et al. 2022), so that only q, k and v are saved, and accumulates into
preallocated gradients: autograd through slices would write a full-length tensor of zeros per slice, O(N^2) in all.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mingpt import utils
from mingpt.models.attention.kernels.base import KERNELS, Kernel, Need, folded

SHORT = 512  # sequence length below which one masked product is as fast
TILE = 1 << 19  # weights per product: few enough for a core's cache, enough to amortise the calls


class Run(NamedTuple):
    """`blocks` blocks of `size` queries from `start` on; each block attends to the `keys` keys that end with it."""

    start: int
    blocks: int
    size: int
    keys: int

    def queries_of(self, row: Tensor) -> Tensor:
        """Return a (blocks, size, d) view of (N, d)."""
        return row[self.start : self.start + self.blocks * self.size].unflatten(0, (self.blocks, self.size))

    def keys_of(self, row: Tensor) -> Tensor:
        """Return a (blocks, keys, d) view of (N, d) whose blocks overlap."""
        token, number = row.stride()
        shape = (self.blocks, self.keys, row.shape[1])
        return row[self._first_key :].as_strided(shape, (self.size * token, token, number))

    def add_to_keys(self, row: Tensor, parts: Tensor) -> None:
        """Scatter-add (blocks, keys, d) into (N, d): the transpose of `keys_of`."""
        step = self.size if self.blocks > 1 else self.keys
        for first in range(0, self.keys, step):
            begin = self._first_key + first
            row[begin : begin + self.blocks * step].unflatten(0, (self.blocks, step)).add_(
                parts[:, first : first + step]
            )

    def band(self, window: int, like: Tensor) -> Tensor:
        """Return a (size, keys) mask: 0 where the query attends to the key, -inf elsewhere."""
        i = torch.arange(self.keys - self.size, self.keys, device=like.device)[:, None]
        j = torch.arange(self.keys, device=like.device)
        return like.new_zeros(self.size, self.keys).masked_fill_((i < j) | (i - j >= window), -math.inf)

    @property
    def _first_key(self) -> int:
        return self.start + self.size - self.keys


class Banded(Kernel):
    """Causal sliding windows, forward and backward, on any device."""

    name, rank = "banded", 2
    serves_cache = False

    def unsupported(self, need: Need) -> str | None:
        rules = (
            (not need.score.bilinear, "it takes scores that are a dot product"),
            (need.mask.band in (None, math.inf), "it takes causal masks with a model.window"),
            (need.bias is not None, "it has no position bias"),
            (not need.full_sequence, "it serves full sequences, not a KV cache"),
        )
        return next((reason for broken, reason in rules if broken), None)

    def slower(self, need: Need) -> str | None:
        if need.device.type != "cpu":
            return "it makes many small products, which are fast on a CPU only"
        too_wide = need.mask.band is None or need.mask.band > need.keys / 4
        return "one masked product is as fast at this size" if too_wide or need.keys < SHORT else None

    def attend(self, q: Tensor, k: Tensor, v: Tensor, need: Need) -> tuple[Tensor, Tensor | None]:
        assert need.mask.band is not None
        q, k, v = folded(q, k, v, need)
        seed = torch.randint(2**31, (), generator=utils.generator()) if need.dropout_p else None
        window = int(min(need.mask.band, need.keys))
        return banded(q, k, v, window, need.score.scale, need.dropout_p, seed), None


KERNELS.add(Banded.name)(Banded())


@torch.library.custom_op("mingpt::banded", mutates_args=())
def banded(q: Tensor, k: Tensor, v: Tensor, window: int, scale: float, dropout_p: float, seed: Tensor | None) -> Tensor:
    """Return softmax(scale q k^T + band) v, where query i attends to keys j with 0 <= i - j < window.

    Args:
        q: (b, h, N, d) queries
        k: (b, g, N, d) keys
        v: (b, g, N, d) values
        window: keys per query, its own position included; 1 to N
        scale: factor of the products q k^T
        dropout_p: dropout probability of the weights
        seed: seed of that dropout, () on the CPU; a tensor, so that torch.compile needs no graph break

    Returns:
        (b, h, N, d)
    """
    result, drop = q.new_empty(q.shape), _dropout(dropout_p, seed, q.device)
    with torch.autocast(q.device.type, enabled=False):  # it would cast softmax only to float32
        for run in _runs(q.shape[2], window):
            band = run.band(window, q)
            for out, *row in _rows(q.shape[1], result, q, k, v):
                queries, keys, values = run.queries_of(row[0]), run.keys_of(row[1]), run.keys_of(row[2])
                torch.bmm(drop(_weights(queries, keys, band, scale))[0], values, out=run.queries_of(out))
    return result


@torch.library.custom_op("mingpt::banded_backward", mutates_args=())
def _banded_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, window: int, scale: float, dropout_p: float, seed: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = q.new_empty(q.shape), k.new_zeros(k.shape), v.new_zeros(v.shape)
    drop = _dropout(dropout_p, seed, q.device)
    with torch.autocast(q.device.type, enabled=False):
        for run in _runs(q.shape[2], window):
            band = run.band(window, q)
            for dq_row, dk_row, dv_row, grad_row, *row in _rows(q.shape[1], dq, dk, dv, grad, q, k, v):
                queries, keys, values = run.queries_of(row[0]), run.keys_of(row[1]), run.keys_of(row[2])
                of_output = run.queries_of(grad_row)
                weights = _weights(queries, keys, band, scale)
                dropped, of_weights = drop(weights, torch.bmm(of_output, values.mT))
                run.add_to_keys(dv_row, torch.bmm(dropped.mT, of_output))
                of_logits = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
                torch.bmm(of_logits, keys, out=run.queries_of(dq_row))
                run.add_to_keys(dk_row, torch.bmm(of_logits.mT, queries))
    return dq.mul_(scale), dk.mul_(scale), dv


@banded.register_fake
def _(q: Tensor, *rest: Any) -> Tensor:
    return q.new_empty(q.shape)


@_banded_backward.register_fake
def _(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    q, k, v, *ctx.settings, seed = inputs
    ctx.save_for_backward(q, k, v, seed)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    q, k, v, seed = ctx.saved_tensors
    return (*_banded_backward(grad, q, k, v, *ctx.settings, seed), None, None, None, None)


banded.register_autograd(_backward, setup_context=_save_for_backward)


def _runs(length: int, window: int) -> Iterator[Run]:
    """Partition `length` queries into runs of at most TILE weights, or of one block if that has more."""
    size = min(max(16, 1 << max(window // 4, 1).bit_length() - 1), 64)
    before = math.ceil((min(window, length) - 1) / size) * size  # keys before a block that it attends to
    early = min(before, length)
    step = max(TILE // max(early, 1), size)
    for start in range(0, early, step):
        end = min(start + step, early)
        yield Run(start, 1, end - start, end)
    keys, (blocks, rest) = before + size, divmod(length - early, size)
    step = max(TILE // (size * keys), 1)
    for first in range(0, blocks, step):
        yield Run(early + first * size, min(step, blocks - first), size, keys)
    if rest:
        yield Run(length - rest, 1, rest, before + rest)


def _rows(heads: int, *tensors: Tensor) -> Iterator[list[Tensor]]:
    """Yield (N, d) slices of all tensors per query head; a shared key/value head comes once per query head."""
    for b in range(len(tensors[0])):
        for h in range(heads):
            yield [x[b, h * x.shape[1] // heads] for x in tensors]


def _weights(queries: Tensor, keys: Tensor, band: Tensor, scale: float) -> Tensor:
    return torch.baddbmm(band, queries, keys.mT, alpha=scale).softmax(-1)


def _dropout(p: float, seed: Tensor | None, device: torch.device) -> Callable[..., tuple[Tensor, ...]]:
    """Return a dropout that zeroes the same entries of all its arguments; the same `seed` draws the same entries."""
    if seed is None:
        return lambda *tensors: tensors
    generator = torch.Generator(device).manual_seed(int(seed.item()))

    def drop(*tensors: Tensor) -> tuple[Tensor, ...]:
        scale = torch.empty_like(tensors[0]).bernoulli_(1 - p, generator=generator).div_(1 - p)
        return tuple(x * scale for x in tensors)

    return drop
