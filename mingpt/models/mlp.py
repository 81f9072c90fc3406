"""The position-wise half of a block, each `mlp(width, bias, inner=None)`: `(b, t, e) -> (b, t, e)`.

`inner` is the width inside; None: what each says of itself.
The last layer of each is marked as a residual writer (see initialise.py).
"""

from collections.abc import Callable
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from mingpt.core.registry import Registry
from mingpt.models import cpu_autograd
from mingpt.models.init import residual_projection


class MLPMaker(Protocol):
    """What makes the position-wise half of a block."""

    def __call__(self, width: int, bias: bool, inner: int | None = None) -> nn.Module: ...


MLPS: Registry[MLPMaker] = Registry("model.mlp")


class TwoLayer(nn.Module):
    """down(activation(up(x))), four times as wide inside unless told otherwise."""

    def __init__(self, width: int, bias: bool, inner: int | None, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        inner = inner or 4 * width
        self.up = nn.Linear(width, inner, bias=bias)
        self.down = residual_projection(nn.Linear(inner, width, bias=bias))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))


@MLPS.add("gelu")
def gelu(width: int, bias: bool, inner: int | None = None) -> nn.Module:
    """GELU in its tanh form, as GPT-2 has it (Hendrycks & Gimpel 2016)."""
    return TwoLayer(width, bias, inner, nn.GELU(approximate="tanh"))


@MLPS.add("gelu_erf")
def gelu_erf(width: int, bias: bool, inner: int | None = None) -> nn.Module:
    """GELU as it is defined, by erf, as nanoGPT has it: on a CPU in a half to a third of the tanh form's time."""
    return TwoLayer(width, bias, inner, nn.GELU())


@MLPS.add("relu2")
def relu_squared(width: int, bias: bool, inner: int | None = None) -> nn.Module:
    """max(0, x)^2: as good at this size and cheaper than GELU (So et al. 2021, Primer)."""
    return TwoLayer(width, bias, inner, cpu_autograd.relu_squared)


@MLPS.add("swiglu")
class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)), 8/3 as wide inside: the parameters of a two-layer MLP (Shazeer 2020)."""

    def __init__(self, width: int, bias: bool, inner: int | None = None) -> None:
        super().__init__()
        inner = inner or 8 * ((8 * width // 3 + 7) // 8)
        self.gate = nn.Linear(width, inner, bias=bias)
        self.up = nn.Linear(width, inner, bias=bias)
        self.down = residual_projection(nn.Linear(inner, width, bias=bias))

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))
