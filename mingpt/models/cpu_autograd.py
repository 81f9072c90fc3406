"""A few functions of single numbers in few passes over memory, for training on a CPU, which waits for memory there.

Autograd would make each gradient from those of single operations, every one a pass over tensors too large for the
caches: for an RMS norm a dozen.  Here it is written out.  Where nothing is trained, on other devices, in short types
and under a compiler, which fuses them, the plain definitions serve; tests hold the two to each other.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x over its root mean square along the last axis, times weight (Zhang & Sennrich 2019)."""
    return _apply(_RmsNorm, x, weight, eps) if _written_out(x) else F.rms_norm(x, weight.shape, weight, eps)


def relu_squared(x: Tensor) -> Tensor:
    """max(0, x)^2."""
    return _apply(_ReluSquared, x) if _written_out(x) else torch.relu(x).square()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(..., t, d) whose pair (i, i + d/2) at place t is turned by the angle of (t, d/2) cos and sin."""
    if _written_out(x):
        return _apply(_Rotated, x, cos, sin)
    low, high = x.chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


def convolved(x: Tensor, weight: Tensor) -> Tensor:
    """(b, t, e), to each position w[k - 1] times the one k before it added, for each of the (k, e) rows of w."""
    if _written_out(x):
        return _apply(_Convolved, x, weight)
    for_each = ((_delayed(x, lag), row) for lag, row in enumerate(weight.unbind(), start=1))
    return x + sum(before * row for before, row in for_each)


def _delayed(x: Tensor, lag: int) -> Tensor:
    """(b, t, e), each position the one `lag` before it, 0 before the first."""
    return F.pad(x, (0, 0, lag, 0))[:, : x.shape[1]]


def _written_out(x: Tensor) -> bool:
    wide = x.dtype in (torch.float32, torch.float64)
    return x.requires_grad and x.device.type == "cpu" and wide and not torch.compiler.is_compiling()


def _apply(function: Any, *inputs: Any) -> Tensor:
    return function.apply(*inputs)


def _refuse_second() -> None:
    """Nobody trains by gradients of gradients here, and what is written out has none: better no answer than a part."""
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
        _refuse_second()
        normed, scale, weight = ctx.saved_tensors
        products = grad * normed
        mean = (products @ weight).div_(len(weight)).unsqueeze(-1)
        of_x = (grad * weight).addcmul_(normed, mean, value=-1).mul_(scale)
        return of_x, products.flatten(0, -2).sum(0), None


class _ReluSquared(torch.autograd.Function):
    """y = r^2, r = max(0, x);  dx = 2 r g."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        kept = torch.relu(x)
        ctx.save_for_backward(kept)
        return kept * kept

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        _refuse_second()
        (kept,) = ctx.saved_tensors
        return (grad * kept).mul_(2)


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
        _refuse_second()
        x, weight = ctx.saved_tensors
        of_x, of_weight = grad.clone(memory_format=torch.contiguous_format), torch.empty_like(weight)
        for lag, row in enumerate(weight, start=1):
            of_x[:, :-lag].addcmul_(grad[:, lag:], row)
            torch.sum(grad[:, lag:] * x[:, :-lag], dim=(0, 1), out=of_weight[lag - 1])
        return of_x, of_weight


class _Rotated(torch.autograd.Function):
    """A rotation; its gradient is the rotation back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        _refuse_second()
        cos, sin = ctx.saved_tensors
        return _turn(grad, cos, sin, -1), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
    turned = torch.empty_like(x)
    (low, high), (turned_low, turned_high) = x.chunk(2, dim=-1), turned.chunk(2, dim=-1)
    torch.mul(low, cos, out=turned_low).addcmul_(high, sin, value=-sign)
    torch.mul(high, cos, out=turned_high).addcmul_(low, sin, value=sign)
    return turned
