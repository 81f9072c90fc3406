"""How weights start: a layer says what it is for, a scheme says what that means.

A layer whose output is added to the residual stream, that reads out tokens, or that holds one row per position, is
marked where it is made; no scheme and no optimizer looks at a parameter's name.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mingpt.core.registry import Registry

Scheme = Callable[[nn.Module, int], None]
INITS: Registry[Scheme] = Registry("model.init")


def residual_projection(layer: nn.Linear) -> nn.Linear:
    """Mark `layer` as one whose output is added to the residual stream."""
    layer.is_residual_projection = True  # type: ignore[assignment]
    return layer


def position_table(table: nn.Embedding) -> nn.Embedding:
    """Mark `table` as one that a longer block needs more rows of."""
    table.is_position_table = True  # type: ignore[assignment]
    return table


def output_head(layer: nn.Linear) -> nn.Linear:
    """Mark `layer` as the one that ends in a number per token, not in another hidden vector."""
    layer.is_readout = True  # type: ignore[assignment]
    return layer


def hidden_matrices(model: nn.Module) -> dict[str, Tensor]:
    """Weights, by name, of the linear maps from one hidden vector to another; gates side by side are one map."""
    linears = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear))
    found = {f"{name}.weight": layer.weight for name, layer in linears if not getattr(layer, "is_readout", False)}
    gated = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.RNNBase))
    of_gates = ((f"{name}.{own}", p) for name, module in gated for own, p in module.named_parameters())
    return found | {name: p for name, p in of_gates if p.ndim == 2}


def position_tables(model: nn.Module) -> dict[str, nn.Embedding]:
    """The tables marked so, by name."""
    embeddings = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Embedding))
    return {name: table for name, table in embeddings if getattr(table, "is_position_table", False)}


def _normal(model: nn.Module, residual_std: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            std = residual_std if getattr(module, "is_residual_projection", False) else 0.02
            nn.init.normal_(module.weight, mean=0.0, std=std) if std else nn.init.zeros_(module.weight)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]


@INITS.add("gpt2")
def gpt2(model: nn.Module, n_layer: int) -> None:
    """Normal(0, 0.02); residual writers 0.02/sqrt(2 n_layer), one factor per addition (Radford et al. 2019, 2.3)."""
    _normal(model, 0.02 / math.sqrt(2 * n_layer))


@INITS.add("waves")
def waves(model: nn.Module, n_layer: int) -> None:
    """As gpt2, but learned positions start as sinusoids (Vaswani et al. 2017, 3.5), so that near ones start alike.

    LOG.md, 2026-11-22, has what this is worth: a short training spends much of its time on learning just that.
    """
    gpt2(model, n_layer)
    for table in position_tables(model).values():
        with torch.no_grad():
            table.weight.copy_(_sinusoids(*table.weight.shape))


def _sinusoids(rows: int, width: int, amplitude: float = 0.5, base: float = 1000.0) -> Tensor:
    """(rows, width): sin and cos of m * base^(-i/width) in columns i and i + 1, i even."""
    slow = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = torch.arange(rows, dtype=torch.float64)[:, None] * slow
    return amplitude * torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :width]


@INITS.add("zero_residual")
def zero_residual(model: nn.Module, n_layer: int) -> None:
    """As gpt2, but residual writers start at zero: every block begins as the identity (Zhang et al. 2019, Fixup)."""
    _normal(model, 0.0)
