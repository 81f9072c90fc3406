"""How weights start: a layer says what it is for, a scheme says what that means.

Layers whose output is added to the residual stream are marked by `writes_residual` where they are made;
no scheme looks at a parameter's name.
"""

import math
from collections.abc import Callable

from torch import nn

from mingpt.registry import Registry

Scheme = Callable[[nn.Module, int], None]
INITS: Registry[Scheme] = Registry("model.init")


def writes_residual(layer: nn.Linear) -> nn.Linear:
    """Mark `layer` as one whose output is added to the residual stream."""
    layer.is_residual_writer = True  # type: ignore[assignment]
    return layer


def _normal(model: nn.Module, residual_std: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            std = residual_std if getattr(module, "is_residual_writer", False) else 0.02
            nn.init.normal_(module.weight, mean=0.0, std=std) if std else nn.init.zeros_(module.weight)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]


@INITS.add("gpt2")
def gpt2(model: nn.Module, n_layer: int) -> None:
    """Normal(0, 0.02); residual writers 0.02/sqrt(2 n_layer), one factor per addition (Radford et al. 2019, 2.3)."""
    _normal(model, 0.02 / math.sqrt(2 * n_layer))


@INITS.add("zero_residual")
def zero_residual(model: nn.Module, n_layer: int) -> None:
    """As gpt2, but residual writers start at zero: every block begins as the identity (Zhang et al. 2019, Fixup)."""
    _normal(model, 0.0)
