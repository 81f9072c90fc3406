"""Normalisation layers, each made by `norm(width, bias, eps=None)`, over the last axis of any tensor.

eps is added to the variance or mean square; None: the default of the reference implementation.
"""

from typing import Protocol

from torch import Tensor, nn

from mingpt.core.registry import Registry
from mingpt.models import cpu_autograd


class NormMaker(Protocol):
    """Constructor of a norm over a last axis of `width`."""

    def __call__(self, width: int, bias: bool, eps: float | None = None) -> nn.Module: ...


NORMS: Registry[NormMaker] = Registry("model.norm")


@NORMS.add("layernorm")
def layer_norm(width: int, bias: bool, eps: float | None = None) -> nn.Module:
    """LayerNorm: subtract the mean, divide by the standard deviation, scale and shift (Ba et al. 2016)."""
    return nn.LayerNorm(width, eps=1e-5 if eps is None else eps, bias=bias)


@NORMS.add("rmsnorm")
def rms_norm(width: int, bias: bool, eps: float | None = None) -> nn.Module:
    """RMSNorm: divide by the root mean square and scale; it has no bias (Zhang & Sennrich 2019)."""
    return RMSNorm(width, eps=1e-6 if eps is None else eps)


class RMSNorm(nn.RMSNorm):
    """PyTorch's RMSNorm, with a fused backward pass for training on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        return cpu_autograd.rms_norm(x, self.weight, self.eps)  # type: ignore[arg-type]
