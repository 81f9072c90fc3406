"""Activations of a recurrence, each in the three forms that driving one over time needs.

An activation's slope is taken from its own value, so that nothing but the values need be kept for the way back.
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
        of: a -> its values; differentiable.
        into: the same, in place.
        back: (g, values) -> g times the slope that belongs to the values, in place in g.
        centre: the number around which it is nearest to the identity; weights start so that inputs lie there.
    """

    of: Callable[[Tensor], Tensor]
    into: Callable[[Tensor], Tensor]
    back: Callable[[Tensor, Tensor], Tensor]
    centre: float


def slide(a: Tensor) -> Tensor:
    """min(1, max(0, a)), with gradient 1 on the open interval (0, 1) and 0 elsewhere, at 0 and at 1 too.

    `clamp` has gradient 1 at both ends instead.
    """
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
