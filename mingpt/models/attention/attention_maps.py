"""Attention maps: the weights of every layer of a model, whichever kernel computes its output."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mingpt.models.attention.kernels import Reference
from mingpt.models.attention.layers import AttentionOutput, GroupedQueryAttention


@torch.no_grad()
def attention_weights(model: nn.Module, idx: Tensor) -> list[Tensor]:
    """Return the (b, h, t, t) attention weights of each layer, in order, on the CPU; the model is left as it was.

    They are computed by the reference kernel with dropout off; rows sum to 1.

    Args:
        model: a model of any family
        idx: (b, t) token ids
    """
    weights: list[Tensor] = []

    def keep(layer: nn.Module, inputs: object, output: AttentionOutput) -> None:
        assert output.weights is not None
        weights.append(output.weights.cpu())

    layers = [module for module in model.modules() if isinstance(module, GroupedQueryAttention)]
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        with _reference_kernel(model, layers):
            model(idx)
    finally:
        for hook in hooks:
            hook.remove()
    return weights


@contextmanager
def _reference_kernel(model: nn.Module, layers: list[GroupedQueryAttention]) -> Iterator[None]:
    """Use the reference kernel in `layers` and switch dropout off; undo both at the end."""
    kernels, training = [layer.kernel for layer in layers], {module: module.training for module in model.modules()}
    try:
        model.eval()
        for layer in layers:
            layer.kernel = Reference.name
        yield
    finally:
        for layer, kernel in zip(layers, kernels, strict=True):
            layer.kernel = kernel
        for module, was in training.items():
            module.training = was
