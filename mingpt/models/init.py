"""Weight initialisation: a layer is marked with its role where it is made, and a scheme initialises by role.

Roles: a projection into the residual stream, the output head, a table of positions.  Neither schemes nor optimizers
look at a parameter's name.
"""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from mingpt.core.registry import Registry
from mingpt.utils import draw_with_generator, seeded_generator

T = TypeVar("T")
Scheme = Callable[[nn.Module, int], None]
INITS: Registry[Scheme] = Registry("model.init")


def residual_projection(layer: nn.Linear) -> nn.Linear:
    """Mark `layer` as a projection whose output is added to the residual stream; return it."""
    layer.is_residual_projection = True  # type: ignore[assignment]
    return layer


def position_table(table: nn.Embedding) -> nn.Embedding:
    """Mark `table` as one with a row per position, which grows with block_size; return it."""
    table.is_position_table = True  # type: ignore[assignment]
    return table


def output_head(layer: nn.Linear) -> nn.Linear:
    """Mark `layer` as one that maps features to logits, not to another hidden vector; return it."""
    layer.is_output_head = True  # type: ignore[assignment]
    return layer


def hidden_matrices(model: nn.Module) -> dict[str, Tensor]:
    """Return, by name, the weights of linear maps from one hidden vector to another; an RNN's stacked gates are one."""
    linears = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear))
    found = {f"{name}.weight": layer.weight for name, layer in linears if not getattr(layer, "is_output_head", False)}
    gated = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.RNNBase))
    of_gates = ((f"{name}.{own}", p) for name, module in gated for own, p in module.named_parameters())
    return found | {name: p for name, p in of_gates if p.ndim == 2}


def position_tables(model: nn.Module) -> dict[str, nn.Embedding]:
    """Return, by name, the embeddings marked by `position_table`."""
    embeddings = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Embedding))
    return {name: table for name, table in embeddings if getattr(table, "is_position_table", False)}


def seeded(make: Callable[..., T], seed: int, *args: object) -> T:
    """Return make(*args), whose initial weights follow from `seed`; PyTorch's global generator is left as it was."""
    with seeded_generator(seed):
        return draw_with_generator(make, *args)


def _normal(model: nn.Module, residual_std: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            std = residual_std if getattr(module, "is_residual_projection", False) else 0.02
            nn.init.normal_(module.weight, mean=0.0, std=std) if std else nn.init.zeros_(module.weight)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]


@INITS.add("gpt2")
def gpt2(model: nn.Module, n_layer: int) -> None:
    """Normal(0, 0.02), residual projections Normal(0, 0.02/sqrt(2 n_layer)) (Radford et al. 2019, 2.3)."""
    _normal(model, 0.02 / math.sqrt(2 * n_layer))


@INITS.add("waves")
def waves(model: nn.Module, n_layer: int) -> None:
    """As gpt2, with learned positions initialised to sinusoids (Vaswani et al. 2017, 3.5), similar for near positions.

    LOG.md, 2026-11-22, measures the gain: a short training otherwise spends much of its time on learning this.
    """
    gpt2(model, n_layer)
    for table in position_tables(model).values():
        with torch.no_grad():
            table.weight.copy_(_sinusoids(*table.weight.shape))


def _sinusoids(rows: int, width: int, amplitude: float = 0.5, base: float = 1000.0) -> Tensor:
    """Return (rows, width) sines and cosines of m * base^(-i/width) in columns i and i + 1, i even."""
    frequency = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = torch.arange(rows, dtype=torch.float64)[:, None] * frequency
    return amplitude * torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :width]


@INITS.add("zero_residual")
def zero_residual(model: nn.Module, n_layer: int) -> None:
    """As gpt2, with residual projections at zero: every block starts as the identity (Zhang et al. 2019, Fixup)."""
    _normal(model, 0.0)
