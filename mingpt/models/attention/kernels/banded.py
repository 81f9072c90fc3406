"""Sliding-window attention in O(N w) time, and memory that beyond inputs and outputs does not grow with w N.

The queries of a head are cut into blocks of c, and each block sees the r c keys that end with it,
r = ceil((w - 1) / c) + 1, through one (c, r c) band.  The keys of neighbouring blocks are overlapping views, so a
run of blocks is one batched product, and no key is copied.  The first queries, which have fewer keys before them, and
the last ones, too few for a block, make runs of another shape.

The backward pass makes the weights again (as Dao et al. 2022), so that nothing is saved but q, k and v, and adds its
products into preallocated gradients: autograd through slices would write a full-length tensor of zeros for each of
them, and be quadratic.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mingpt import utils
from mingpt.models.attention.kernels.base import KERNELS, Kernel, Need, folded

SHORT = 512  # positions below which one masked product is as fast
TILE = 1 << 19  # weights held at once: few enough for the cache of a core, many enough to pay for the calls


class Run(NamedTuple):
    """`blocks` blocks of `size` queries from `start` on; each block sees the `keys` keys that end with it."""

    start: int
    blocks: int
    size: int
    keys: int

    def queries_of(self, row: Tensor) -> Tensor:
        """(N, d) -> (blocks, size, d), a view."""
        return row[self.start : self.start + self.blocks * self.size].unflatten(0, (self.blocks, self.size))

    def keys_of(self, row: Tensor) -> Tensor:
        """(N, d) -> (blocks, keys, d), a view that overlaps itself."""
        token, number = row.stride()
        shape = (self.blocks, self.keys, row.shape[1])
        return row[self._first_key :].as_strided(shape, (self.size * token, token, number))

    def add_to_keys(self, row: Tensor, parts: Tensor) -> None:
        """Add (blocks, keys, d) to what `keys_of` shows of (N, d): a place gets the sum of all that overlap there."""
        step = self.size if self.blocks > 1 else self.keys
        for first in range(0, self.keys, step):
            begin = self._first_key + first
            row[begin : begin + self.blocks * step].unflatten(0, (self.blocks, step)).add_(
                parts[:, first : first + step]
            )

    def band(self, window: int, like: Tensor) -> Tensor:
        """(size, keys): 0 where the query sees the key, -inf elsewhere."""
        i = torch.arange(self.keys - self.size, self.keys, device=like.device)[:, None]
        j = torch.arange(self.keys, device=like.device)
        return like.new_zeros(self.size, self.keys).masked_fill_((i < j) | (i - j >= window), -math.inf)

    @property
    def _first_key(self) -> int:
        return self.start + self.size - self.keys


class Banded(Kernel):
    """Causal windows, forward and backward, on any device."""

    name, rank = "banded", 2
    serves_cache = False

    def refuses(self, need: Need) -> str | None:
        rules = (
            (not need.score.bilinear, "it takes scores that are a dot product"),
            (need.mask.band in (None, math.inf), "it takes causal masks with a model.window"),
            (need.bias is not None, "it has no position bias"),
            (not need.whole, "it serves whole sequences, not a cache"),
        )
        return next((reason for broken, reason in rules if broken), None)

    def not_worth(self, need: Need) -> str | None:
        if need.device.type != "cpu":
            return "it makes many small products, which only a CPU is quick at"
        wide = need.mask.band is None or need.mask.band > need.keys / 4
        return "one masked product is as fast at this size" if wide or need.keys < SHORT else None

    def attend(self, q: Tensor, k: Tensor, v: Tensor, need: Need) -> tuple[Tensor, Tensor | None]:
        assert need.mask.band is not None
        q, k, v = folded(q, k, v, need)
        seed = torch.randint(2**31, (), generator=utils.generator()) if need.dropout_p else None
        window = int(min(need.mask.band, need.keys))
        return banded(q, k, v, window, need.score.scale, need.dropout_p, seed), None


KERNELS.add(Banded.name)(Banded())


@torch.library.custom_op("mingpt::banded", mutates_args=())
def banded(q: Tensor, k: Tensor, v: Tensor, window: int, scale: float, dropout_p: float, seed: Tensor | None) -> Tensor:
    """softmax(scale q k^T + band) v: position i sees j with 0 <= i - j < window.

    Args:
        q: (b, h, N, d)
        k: (b, g, N, d)
        v: (b, g, N, d)
        window: keys seen, the query's own included; 1 to N
        scale: of the products
        dropout_p: dropout on the weights
        seed: of that dropout, () on the CPU; a tensor, so that a compiler needn't stop to read it

    Returns:
        (b, h, N, d)
    """
    result, keep = q.new_empty(q.shape), _dropout(dropout_p, seed, q.device)
    with torch.autocast(q.device.type, enabled=False):  # which would make float32 of a softmax alone
        for run in _runs(q.shape[2], window):
            band = run.band(window, q)
            for out, *row in _rows(q.shape[1], result, q, k, v):
                queries, keys, values = run.queries_of(row[0]), run.keys_of(row[1]), run.keys_of(row[2])
                torch.bmm(keep(_weights(queries, keys, band, scale))[0], values, out=run.queries_of(out))
    return result


@torch.library.custom_op("mingpt::banded_backward", mutates_args=())
def _banded_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, window: int, scale: float, dropout_p: float, seed: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = q.new_empty(q.shape), k.new_zeros(k.shape), v.new_zeros(v.shape)
    keep = _dropout(dropout_p, seed, q.device)
    with torch.autocast(q.device.type, enabled=False):
        for run in _runs(q.shape[2], window):
            band = run.band(window, q)
            for dq_row, dk_row, dv_row, grad_row, *row in _rows(q.shape[1], dq, dk, dv, grad, q, k, v):
                queries, keys, values = run.queries_of(row[0]), run.keys_of(row[1]), run.keys_of(row[2])
                of_output = run.queries_of(grad_row)
                weights = _weights(queries, keys, band, scale)
                read, of_read = keep(weights, torch.bmm(of_output, values.mT))
                run.add_to_keys(dv_row, torch.bmm(read.mT, of_output))
                of_logits = torch._softmax_backward_data(of_read, weights, -1, weights.dtype)
                torch.bmm(of_logits, keys, out=run.queries_of(dq_row))
                run.add_to_keys(dk_row, torch.bmm(of_logits.mT, queries))
    return dq.mul_(scale), dk.mul_(scale), dv


@banded.register_fake
def _(q: Tensor, *rest: Any) -> Tensor:
    return q.new_empty(q.shape)


@_banded_backward.register_fake
def _(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    q, k, v, *ctx.settings, seed = inputs
    ctx.save_for_backward(q, k, v, seed)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    q, k, v, seed = ctx.saved_tensors
    return (*_banded_backward(grad, q, k, v, *ctx.settings, seed), None, None, None, None)


banded.register_autograd(_backward, setup_context=_remember)


def _runs(length: int, window: int) -> Iterator[Run]:
    """All `length` queries, none twice, each run with at most TILE weights where a block is no larger."""
    size = min(max(16, 1 << max(window // 4, 1).bit_length() - 1), 64)
    before = math.ceil((min(window, length) - 1) / size) * size  # keys before a block that it sees
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
    """(N, d) of each, query head by query head; a key/value head comes once for each query head that shares it."""
    for b in range(len(tensors[0])):
        for h in range(heads):
            yield [x[b, h * x.shape[1] // heads] for x in tensors]


def _weights(queries: Tensor, keys: Tensor, band: Tensor, scale: float) -> Tensor:
    return torch.baddbmm(band, queries, keys.mT, alpha=scale).softmax(-1)


def _dropout(p: float, seed: Tensor | None, device: torch.device) -> Callable[..., tuple[Tensor, ...]]:
    """What zeroes the same random entries of all its arguments; made again from `seed`, it draws the same again."""
    if seed is None:
        return lambda *tensors: tensors
    generator = torch.Generator(device).manual_seed(int(seed.item()))

    def keep(*tensors: Tensor) -> tuple[Tensor, ...]:
        kept = torch.empty_like(tensors[0]).bernoulli_(1 - p, generator=generator).div_(1 - p)
        return tuple(x * kept for x in tensors)

    return keep
