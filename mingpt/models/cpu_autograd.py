"""Fused forward and backward passes of memory-bound functions, for training on a CPU.

Autograd composes a gradient from those of single operations, each a pass over tensors larger than the cache: a dozen
for RMSNorm.  These autograd functions are written by hand instead.  In inference, on other devices, in half precision
and under torch.compile, which fuses by itself, the plain definitions are used; tests compare the two.  Only additive
scores take theirs in inference, too, since it is faster there as well.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK = 1 << 22  # elements of the (queries, keys, width) tensor that additive scores hold in memory at once
CPU_CHUNK = 1 << 18  # the same on a CPU, where it then stays in the cache from one operation to the next


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Divide `x` by its root mean square along the last axis and multiply by weight (Zhang & Sennrich 2019)."""
    return _apply(_RmsNorm, x, weight, eps) if _use_fused(x) else F.rms_norm(x, weight.shape, weight, eps)


def relu_squared(x: Tensor) -> Tensor:
    """Return max(0, x)^2."""
    return _apply(_ReluSquared, x) if _use_fused(x) else torch.relu(x).square()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (i, i + d/2) of (..., t, d) by angles given as (t, d/2) cos and sin."""
    if _use_fused(x):
        return _apply(_Rotated, x, cos, sin)
    low, high = x.chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


def convolved(x: Tensor, weight: Tensor) -> Tensor:
    """Return x_t + sum over k of w[k - 1] x_(t-k) for (b, t, e) `x` and (k, e) `weight`, with x = 0 before the text."""
    if _use_fused(x):
        return _apply(_Convolved, x, weight)
    lags = enumerate(weight.unbind(), start=1)
    return x + sum(F.pad(x, (0, 0, lag, 0))[:, : x.shape[1]] * row for lag, row in lags)


def additive_scores(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return the (b, h, t, s) scores v . tanh(q_i + k_j) of (b, h, t, d) `q` and (b, h, s, d) `k` with (h, 1, d) `v`.

    tanh needs an element per query, key and width.  It is computed for a chunk of queries at a time, and again in the
    backward pass, so that this tensor never exists for all pairs.  On a CPU there is no gradient of the gradient.
    """
    if _full_precision_on_cpu(q):
        return _apply(_AdditiveScores, q, k, v)
    parts = [
        checkpoint(_additive, part, k, v, use_reentrant=False, preserve_rng_state=False)
        for part in q.split(_queries(CHUNK, q, k), dim=-2)
    ]
    return torch.cat(parts, dim=-2)


def _additive(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return ((q[..., :, None, :] + k[..., None, :, :]).tanh() @ v[..., None]).squeeze(-1)


def _queries(elements: int, q: Tensor, k: Tensor) -> int:
    """Return how many queries make a (b, h, queries, s, d) tensor of about so many elements; at least 1."""
    return max(elements // max(q[..., 0, :].numel() * k.shape[-2], 1), 1)


def _use_fused(x: Tensor) -> bool:
    return x.requires_grad and _full_precision_on_cpu(x)


def _full_precision_on_cpu(x: Tensor) -> bool:
    full_precision = x.dtype in (torch.float32, torch.float64)
    return x.device.type == "cpu" and full_precision and not torch.compiler.is_compiling()


def _apply(function: Any, *inputs: Any) -> Tensor:
    return function.apply(*inputs)


def _check_first_order() -> None:
    """Raise under create_graph=True: the hand-written backward passes have no derivative."""
    if torch.is_grad_enabled():
        raise RuntimeError("mingpt.models.cpu_autograd: no gradient of this gradient (create_graph=True)")


class _RmsNorm(torch.autograd.Function):
    """y = w n, n = x s, s = 1/sqrt(mean x^2 + eps);  dx = s (w g - n mean(w g n)), dw = sum g n."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        normed = x * scale
        ctx.save_for_backward(normed, scale, weight)
        return normed * weight

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        _check_first_order()
        normed, scale, weight = ctx.saved_tensors
        products = grad * normed
        mean = (products @ weight).div_(len(weight)).unsqueeze(-1)
        of_x = (grad * weight).addcmul_(normed, mean, value=-1).mul_(scale)
        return of_x, products.flatten(0, -2).sum(0), None


class _ReluSquared(torch.autograd.Function):
    """y = r^2, r = max(0, x);  dx = 2 r g."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        r = torch.relu(x)
        ctx.save_for_backward(r)
        return r * r

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        _check_first_order()
        (r,) = ctx.saved_tensors
        return (grad * r).mul_(2)


class _Convolved(torch.autograd.Function):
    """y_t = x_t + sum_k w_k x_(t-k);  dx_t = g_t + sum_k w_k g_(t+k), dw_k = sum_t g_t x_(t-k)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        mixed = x.clone(memory_format=torch.contiguous_format)
        for lag, row in enumerate(weight, start=1):
            mixed[:, lag:].addcmul_(x[:, :-lag], row)
        return mixed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        _check_first_order()
        x, weight = ctx.saved_tensors
        of_x, of_weight = grad.clone(memory_format=torch.contiguous_format), torch.empty_like(weight)
        for lag, row in enumerate(weight, start=1):
            of_x[:, :-lag].addcmul_(grad[:, lag:], row)
            torch.sum(grad[:, lag:] * x[:, :-lag], dim=(0, 1), out=of_weight[lag - 1])
        return of_x, of_weight


class _Rotated(torch.autograd.Function):
    """Rotation of pairs; its gradient is the inverse rotation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        _check_first_order()
        cos, sin = ctx.saved_tensors
        return _rotate(grad, cos, sin, -1), None, None


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
    out = torch.empty_like(x)
    (low, high), (out_low, out_high) = x.chunk(2, dim=-1), out.chunk(2, dim=-1)
    torch.mul(low, cos, out=out_low).addcmul_(high, sin, value=-sign)
    torch.mul(high, cos, out=out_high).addcmul_(low, sin, value=sign)
    return out


class _AdditiveScores(torch.autograd.Function):
    """y_ij = v . tanh(x_ij) with x_ij = q_i + k_j, a chunk of queries at a time.

    tanh(x) = 2 s - 1 with s = sigmoid(2 x), which takes half as long, so tanh'(x) = 4 s (1 - s), and
    dq_i = 4 v sum_j g_ij s_ij (1 - s_ij), dk_j the same summed over i, dv = sum_ij g_ij (2 s_ij - 1).
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        twice, total = 2 * v[..., None], v.sum(dim=-1, keepdim=True)
        rows = q.split(_queries(CPU_CHUNK, q, k), dim=-2)
        return torch.cat([(_sigmoid_of_twice(part, k) @ twice).squeeze(-1) - total for part in rows], dim=-2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _check_first_order()
        q, k, v = ctx.saved_tensors
        of_q, of_k, of_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        rows = _queries(CPU_CHUNK, q, k)
        for part, g, out in zip(*(each.split(rows, dim=-2) for each in (q, grad, of_q)), strict=True):
            s = _sigmoid_of_twice(part, k)
            of_v += (g.flatten(-2)[..., None, :] @ s.flatten(-3, -2)).sum(dim=0)
            slope = s.addcmul_(s, s, value=-1).mul_(g[..., None])
            torch.sum(slope, dim=-2, out=out)
            of_k += slope.sum(dim=-3)
        return of_q.mul_(4 * v), of_k.mul_(4 * v), 2 * of_v - grad.sum(dim=(0, 2, 3))[:, None, None]


def _sigmoid_of_twice(q: Tensor, k: Tensor) -> Tensor:
    """Return sigmoid(2 (q_i + k_j)), (b, h, t, s, d)."""
    return torch.add(q[..., :, None, :], k[..., None, :, :]).mul_(2).sigmoid_()
