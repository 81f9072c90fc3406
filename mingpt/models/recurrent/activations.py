"""Activation functions of a recurrence, each with an in-place forward and backward form.

A derivative is computed from the activation's output, so that only outputs are saved for the backward pass.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

aten = torch.ops.aten


@dataclass(frozen=True)
class Activation:
    """An elementwise function.

    Attributes:
        of: a -> f(a), differentiable
        into: a -> f(a), in place
        back: (g, f(a)) -> g f'(a), in place in g
        centre: the point around which f is closest to the identity; weights are initialised for inputs there
    """

    of: Callable[[Tensor], Tensor]
    into: Callable[[Tensor], Tensor]
    back: Callable[[Tensor, Tensor], Tensor]
    centre: float


def slide(a: Tensor) -> Tensor:
    """Return min(1, max(0, a)), with gradient 1 on the open interval (0, 1), else 0; clamp has 1 at the ends."""
    return F.hardtanh(a, 0.0, 1.0)


def _slide_back(g: Tensor, values: Tensor) -> Tensor:
    return aten.hardtanh_backward.grad_input(g, values, 0.0, 1.0, grad_input=g)


def _tanh_back(g: Tensor, values: Tensor) -> Tensor:
    return aten.tanh_backward.grad_input(g, values, grad_input=g)


def _relu_back(g: Tensor, values: Tensor) -> Tensor:
    return aten.threshold_backward.grad_input(g, values, 0.0, grad_input=g)


SLIDE = Activation(slide, lambda a: a.clamp_(0.0, 1.0), _slide_back, centre=0.5)
TANH = Activation(torch.tanh, torch.tanh_, _tanh_back, centre=0.0)
RELU = Activation(torch.relu, torch.relu_, _relu_back, centre=0.5)
