"""The Elman recurrence h_t = f(W_hh h_{t-1} + W_hx x_t + b_h) over time, with a hand-written backward pass.

The input projection is one product for all steps; only W_hh h is computed step by step, in place in the output
buffer.  The backward pass is the same loop in reverse, then one product per weight.

Shapes: b batch, t steps, i input width, e hidden width.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mingpt.models.recurrent.activations import Activation
from mingpt.utils import uncompiled


@uncompiled  # traced, the loop would be unrolled, which takes minutes to compile
def scan(
    x: Tensor, hidden: Tensor, w_input: Tensor, bias: Tensor | None, w_hidden: Tensor, activation: Activation
) -> Tensor:
    """Return the (b, t, e) hidden states of (b, t, i) inputs, a view of a time-major buffer; differentiable once.

    Args:
        hidden: (b, e) hidden state before the first step
        w_input: (e, i) W_hx
        bias: (e,) b_h, or None
        w_hidden: (e, e) W_hh
        activation: f
    """
    device = x.device.type
    given = (x.transpose(0, 1), hidden, w_input, bias, w_hidden)
    if not torch.is_autocast_enabled(device):
        return _apply(*given, activation)
    dtype = torch.get_autocast_dtype(device)  # autocast doesn't cast products with out=
    cast = (None if each is None else each.to(dtype) for each in given)
    with torch.autocast(device, enabled=False):
        return _apply(*cast, activation)


def _apply(*given: Any) -> Tensor:
    return _Scan.apply(*given).transpose(0, 1)  # type: ignore[no-untyped-call]


class _Scan(torch.autograd.Function):
    """Time-major scan, (t, b, i) to (t, b, e); the buffer holds h_{-1}, h_0, ..., h_{t-1}."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        hidden: Tensor,
        w_input: Tensor,
        bias: Tensor | None,
        w_hidden: Tensor,
        activation: Activation,
    ) -> Tensor:
        steps, rows, _ = x.shape
        x = x.contiguous()
        buffer = x.new_empty(steps + 1, rows, len(w_hidden))
        buffer[0] = hidden
        products, inputs = buffer[1:].flatten(0, 1), x.flatten(0, 1)
        if bias is None:
            torch.mm(inputs, w_input.T, out=products)
        else:
            torch.addmm(bias, inputs, w_input.T, out=products)
        h, w_transposed, add_product = _split_rows(buffer, w_hidden.T)
        for before, here in itertools.pairwise(h):
            activation.into(add_product(here, before, w_transposed))
        ctx.save_for_backward(x, w_input, w_hidden, buffer)
        ctx.activation = activation
        return buffer[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, w_input, w_hidden, buffer = ctx.saved_tensors
        back = ctx.activation.back
        g = gradient.clone(memory_format=torch.contiguous_format)  # becomes the gradient of the pre-activations
        gradients, weight, add_product = _split_rows(g, w_hidden)
        h, later = _split_rows(buffer, w_hidden)[0][1:], None
        for here, value in zip(reversed(gradients), reversed(h), strict=True):
            later = back(here if later is None else add_product(here, later, weight), value)
        needed, rows = ctx.needs_input_grad, g.flatten(0, 1)
        return (
            (rows @ w_input).view_as(x) if needed[0] else None,
            g[0] @ w_hidden if needed[1] else None,
            rows.T @ x.flatten(0, 1) if needed[2] else None,
            rows.sum(0) if needed[3] else None,
            rows.T @ buffer[:-1].flatten(0, 1) if needed[4] else None,
            None,
        )


FEWEST_ROWS = 8  # rows per thread that outweigh its cost


def _split_rows(buffer: Tensor, weight: Tensor) -> tuple[Sequence[Tensor], Tensor, Callable[..., Tensor]]:
    """Return (t, b, e) by step, the (e, e) weight, and the product that adds into its first argument in place.

    On a CPU a product of few rows hardly gains from threads; a batch of products, one per thread, does.
    """
    shares = torch.get_num_threads() if buffer.device.type == "cpu" else 1
    rows = buffer.shape[1]
    if shares == 1 or rows % shares or rows // shares < FEWEST_ROWS:
        return buffer.unbind(), weight, Tensor.addmm_
    return buffer.unflatten(1, (shares, -1)).unbind(), weight.expand(shares, -1, -1), Tensor.baddbmm_
