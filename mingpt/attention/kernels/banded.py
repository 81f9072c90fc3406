"""Sliding-window attention in O(N w) time, and memory that beyond inputs and outputs does not grow with w N.

The sequence is cut into blocks of c queries; a block sees the r c keys that end with it, r = ceil((w - 1) / c) + 1, and
a fixed (c x r c) band of them.  A few blocks at a time go through two batched products over overlapping views of K and
V, so no key is copied.  The backward pass recomputes the weights from the saved log-sum-exp (Dao et al. 2022) and adds
its products into preallocated gradients, block by block: autograd through slices would write a full-length tensor of
zeros for each and be quadratic.

All rows (batch x key/value head) lie one after the other in one long padded sequence, so that a run of blocks is one
strided view; the r - 1 blocks of padding before each row are computed and thrown away.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mingpt.attention.kernels.base import KERNELS, Kernel, Need
from mingpt.attention.scores import repeated

SHORT = 512  # positions below which one masked product is as fast
TILE = 1 << 19  # weights held at once: few enough to stay in the cache of a core, many enough to amortise a call
MASKED = -1e30  # finite, so that padding, which sees nothing, gives numbers instead of NaN


class Layout(NamedTuple):
    """How one call is cut up."""

    rows: int  # b * g
    shared: int  # query heads per key/value head
    length: int  # N
    block: int  # c
    reach: int  # r: blocks of keys that a block of queries sees
    blocks: int  # blocks of a row, the padding before it included

    @property
    def keys(self) -> int:
        return self.reach * self.block


class Banded(Kernel):
    """Causal windows, forward and backward, on any device."""

    name = "banded"
    serves_cache = False

    def refuses(self, need: Need) -> str | None:
        rules = (
            (not need.score.bilinear, "it takes scores that are a dot product"),
            (need.mask.band in (None, math.inf), "it takes causal masks with a window"),
            (need.bias is not None, "it has no position bias"),
            (need.queries != need.keys or need.keys_at is not None, "it serves whole sequences, not a cache"),
        )
        return next((reason for broken, reason in rules if broken), None)

    def worth(self, need: Need) -> bool:
        return need.keys >= SHORT and need.mask.band is not None and need.mask.band <= need.keys / 4

    def attend(self, q: Tensor, k: Tensor, v: Tensor, need: Need) -> tuple[Tensor, Tensor | None]:
        assert need.mask.band is not None
        q, k = need.score.fold(q, k)
        if k.shape[1] != v.shape[1]:
            v = repeated(v, k.shape[1])
        seed = int(torch.randint(2**31, ()).item()) if need.dropout_p else 0
        window = int(min(need.mask.band, need.keys))
        return banded(q, k, v, window, need.score.scale, need.dropout_p, seed)[0], None


KERNELS.add(Banded.name)(Banded())


def _layout(q: Tensor, k: Tensor, window: int) -> Layout:
    (b, h, n, _), g = q.shape, k.shape[1]
    block = min(max(16, 1 << max(window // 4, 1).bit_length() - 1), 64)
    reach = math.ceil((min(window, n) - 1) / block) + 1
    return Layout(b * g, h // g, n, block, reach, math.ceil(n / block) + reach - 1)


def _padded(x: Tensor, at: Layout) -> Tensor:
    """(b, g, N, d) or (b, g, N) -> the long sequence, (rows * blocks, c, d) or (rows * blocks, c)."""
    long = x.new_zeros(at.rows, at.blocks * at.block, *x.shape[3:])
    start = (at.reach - 1) * at.block
    long[:, start : start + at.length] = x.reshape(at.rows, at.length, *x.shape[3:])
    return long.view(at.rows * at.blocks, at.block, *x.shape[3:])


def _queries(x: Tensor, at: Layout) -> Tensor:
    """(b, h, N, ...) -> (rows * blocks, shared * c, ...): the heads that share keys are rows of one product."""
    parts = [_padded(x.unflatten(1, (-1, at.shared))[:, :, s], at) for s in range(at.shared)]
    return parts[0] if at.shared == 1 else torch.cat(parts, dim=1)


def _unpadded(long: Tensor, like: Tensor, at: Layout) -> Tensor:
    """Back from `_padded`."""
    start = (at.reach - 1) * at.block
    flat = long.view(at.rows, at.blocks * at.block, *long.shape[2:])
    return flat[:, start : start + at.length].reshape(like.shape)


def _unqueries(long: Tensor, like: Tensor, at: Layout) -> Tensor:
    """Back from `_queries`."""
    narrow = like.unflatten(1, (-1, at.shared))[:, :, 0]
    parts = [_unpadded(part.contiguous(), narrow, at) for part in long.chunk(at.shared, dim=1)]
    return torch.stack(parts, dim=2).flatten(1, 2)


def _windows(long: Tensor, at: Layout) -> Tensor:
    """(rows * blocks, c, d) -> overlapping (rows * blocks - r + 1, r c, d), a view: the keys of each query block."""
    c, d = long.shape[1:]
    return long.as_strided((len(long) - at.reach + 1, at.keys, d), (c * d, d, 1))


def _band(at: Layout, window: int, like: Tensor) -> Tensor:
    """(shared * c, r c): 0 where the query sees the key, MASKED elsewhere."""
    i = torch.arange(at.keys - at.block, at.keys, device=like.device)[:, None]
    j = torch.arange(at.keys, device=like.device)
    seen = (i - j >= 0) & (i - j < window)
    band = torch.where(seen, 0.0, MASKED).to(like.dtype)
    return band.repeat(at.shared, 1)


def _before_start(at: Layout, like: Tensor) -> Tensor:
    """(r - 1, 1, r c): for the first blocks of a row, MASKED at keys before its first token."""
    token = torch.arange(at.keys, device=like.device) - (at.keys - at.block)
    blocks = torch.arange(at.reach - 1, device=like.device)[:, None]
    return torch.where(token + blocks * at.block < 0, MASKED, 0.0).to(like.dtype)[:, None]


@torch.library.custom_op("mingpt::banded", mutates_args=())
def banded(
    q: Tensor, k: Tensor, v: Tensor, window: int, scale: float, dropout_p: float, seed: int
) -> tuple[Tensor, Tensor]:
    """softmax(scale q k^T + band) v and its log-sum-exp: position i sees j with 0 <= i - j < window.

    Args:
        q: (b, h, N, d)
        k: (b, g, N, d)
        v: (b, g, N, d)
        window: keys seen, the query's own included; 1 to N
        scale: of the products
        dropout_p: dropout on the weights
        seed: of that dropout

    Returns:
        (b, h, N, d) and (b, h, N).
    """
    at = _layout(q, k, window)
    qs, ks, vs = _queries(q, at), _padded(k, at), _padded(v, at)
    band, start = _band(at, window, q), _before_start(at, q)
    out, lse = torch.zeros_like(qs), torch.zeros_like(qs[..., 0])
    for number, tile in enumerate(_tiles(at)):
        weights = _logits(tile, qs, ks, band, start, scale, at)
        top = weights.amax(-1, keepdim=True)
        total = weights.sub_(top).exp_().sum(-1, keepdim=True)
        own = _own(tile, at)
        lse[own] = (top + total.log()).squeeze(-1)
        if dropout_p:
            weights *= _kept(weights, dropout_p, seed + number)
        torch.bmm(weights, _windows(vs, at)[tile], out=out[own]).div_(total)
    return _unqueries(out, q, at), _unqueries(lse, q[..., 0], at)


@torch.library.custom_op("mingpt::banded_backward", mutates_args=())
def _banded_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    result: Tensor,
    lse: Tensor,
    window: int,
    scale: float,
    dropout_p: float,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor]:
    at = _layout(q, k, window)
    qs, ks, vs, gs = _queries(q, at), _padded(k, at), _padded(v, at), _queries(grad, at)
    ls, ds = _queries(lse, at)[..., None], _queries((grad * result).sum(-1), at)[..., None]
    band, start = _band(at, window, q), _before_start(at, q)
    dq, dk, dv = torch.zeros_like(qs), torch.zeros_like(ks), torch.zeros_like(vs)
    for number, tile in enumerate(_tiles(at)):
        own = _own(tile, at)
        weights = _logits(tile, qs, ks, band, start, scale, at).sub_(ls[own]).exp_()
        inner = torch.bmm(gs[own], _windows(vs, at)[tile].mT)
        read = weights
        if dropout_p:
            kept = _kept(weights, dropout_p, seed + number)
            inner, read = inner.mul_(kept), weights * kept
        _scatter(dv, tile, read.mT @ gs[own], at)
        inner.sub_(ds[own]).mul_(weights).mul_(scale)
        torch.bmm(inner, _windows(ks, at)[tile], out=dq[own])
        _scatter(dk, tile, inner.mT @ qs[own], at)
    return _unqueries(dq, q, at), _unpadded(dk, k, at), _unpadded(dv, v, at)


@banded.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *settings: float) -> tuple[Tensor, Tensor]:
    return torch.empty_like(q, memory_format=torch.contiguous_format), q.new_empty(q.shape[:-1])


@_banded_backward.register_fake
def _(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, *ctx.settings = inputs
    ctx.save_for_backward(q, k, v, *output)


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Any, ...]:
    return (*_banded_backward(grad.contiguous(), *ctx.saved_tensors, *ctx.settings), None, None, None, None)


banded.register_autograd(_backward, setup_context=_remember)


def _own(tile: slice, at: Layout) -> slice:
    """The query blocks of the key blocks `tile`: each sees the r - 1 blocks before it."""
    return slice(tile.start + at.reach - 1, tile.stop + at.reach - 1)


def _tiles(at: Layout) -> list[slice]:
    """Runs of query blocks, by the number of their first key block."""
    count = at.rows * at.blocks - at.reach + 1
    step = max(TILE // (at.shared * at.block * at.keys), 1)
    return [slice(first, min(first + step, count)) for first in range(0, count, step)]


def _logits(tile: slice, qs: Tensor, ks: Tensor, band: Tensor, start: Tensor, scale: float, at: Layout) -> Tensor:
    logits = torch.baddbmm(band, qs[_own(tile, at)], _windows(ks, at)[tile].mT, alpha=scale)
    for row in range(tile.start // at.blocks, (tile.stop - 1) // at.blocks + 1):
        low, high = max(tile.start, row * at.blocks), min(tile.stop, row * at.blocks + at.reach - 1)
        if low < high:
            first = low - row * at.blocks
            logits[low - tile.start : high - tile.start] += start[first : first + high - low]
    return logits


def _kept(like: Tensor, p: float, seed: int) -> Tensor:
    """A dropout mask that the backward pass can draw again: 0, or 1/(1 - p)."""
    generator = torch.Generator(like.device).manual_seed(seed)
    return torch.empty_like(like).bernoulli_(1 - p, generator=generator).div_(1 - p)


def _scatter(total: Tensor, tile: slice, windows: Tensor, at: Layout) -> None:
    """Add (blocks, r c, d) products to the key blocks that each of them covers."""
    parts = windows.unflatten(1, (at.reach, at.block))
    for s in range(at.reach):
        total[tile.start + s : tile.stop + s] += parts[:, s]
