"""Normalisation layers, each `norm(width, bias)`: a module over the last axis of any tensor."""

from collections.abc import Callable

from torch import Tensor, nn

from mingpt import passes
from mingpt.registry import Registry

NORMS: Registry[Callable[[int, bool], nn.Module]] = Registry("model.norm")


@NORMS.add("layernorm")
def layer_norm(width: int, bias: bool) -> nn.Module:
    """Subtract the mean, divide by the standard deviation, scale and shift (Ba et al. 2016)."""
    return nn.LayerNorm(width, bias=bias)


@NORMS.add("rmsnorm")
def rms_norm(width: int, bias: bool) -> nn.Module:
    """Divide by the root mean square and scale; there is no shift to have (Zhang & Sennrich 2019)."""
    return RMSNorm(width, eps=1e-6)


class RMSNorm(nn.RMSNorm):
    """PyTorch's, with a gradient of fewer passes where it trains on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        return passes.rms_norm(x, self.weight, self.eps)  # type: ignore[arg-type]
