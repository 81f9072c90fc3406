"""Position-wise MLPs, each made by `mlp(width, bias, inner=None)`: (b, t, e) -> (b, t, e).

`inner` is the hidden width; None: each MLP's own default.
"""

from collections.abc import Callable
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from mingpt.core.registry import Registry
from mingpt.models import cpu_autograd
from mingpt.models.init import residual_projection


class MLPMaker(Protocol):
    """Constructor of an MLP."""

    def __call__(self, width: int, bias: bool, inner: int | None = None) -> nn.Module: ...


MLPS: Registry[MLPMaker] = Registry("model.mlp")


class TwoLayer(nn.Module):
    """Two-layer MLP, down(activation(up(x))), with hidden width 4e by default."""

    def __init__(self, width: int, bias: bool, inner: int | None, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        inner = inner or 4 * width
        self.up = nn.Linear(width, inner, bias=bias)
        self.down = residual_projection(nn.Linear(inner, width, bias=bias))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))  # (b, t, inner) inside


@MLPS.add("gelu")
def gelu(width: int, bias: bool, inner: int | None = None) -> nn.Module:
    """Two layers with the tanh approximation of GELU, as in GPT-2 (Hendrycks & Gimpel 2016)."""
    return TwoLayer(width, bias, inner, nn.GELU(approximate="tanh"))


@MLPS.add("gelu_erf")
def gelu_erf(width: int, bias: bool, inner: int | None = None) -> nn.Module:
    """Two layers with exact GELU, as in nanoGPT: on a CPU two to three times as fast as the tanh approximation."""
    return TwoLayer(width, bias, inner, nn.GELU())


@MLPS.add("relu2")
def relu_squared(width: int, bias: bool, inner: int | None = None) -> nn.Module:
    """Two layers with max(0, x)^2: as good at this size as GELU, and cheaper (So et al. 2021, Primer)."""
    return TwoLayer(width, bias, inner, cpu_autograd.relu_squared)


@MLPS.add("swiglu")
class SwiGLU(nn.Module):
    """SwiGLU, down(silu(gate(x)) * up(x)), with 8e/3 hidden units: as many parameters as two layers (Shazeer 2020)."""

    def __init__(self, width: int, bias: bool, inner: int | None = None) -> None:
        super().__init__()
        inner = inner or 8 * ((8 * width // 3 + 7) // 8)
        self.gate = nn.Linear(width, inner, bias=bias)
        self.up = nn.Linear(width, inner, bias=bias)
        self.down = residual_projection(nn.Linear(inner, width, bias=bias))

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))
