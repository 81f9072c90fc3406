"""A compiled decoding step, for long texts, since compilation takes half a minute the first time.

Eager decoding of a small model is dominated by Python overhead and, on a CPU, by matrix-vector products and attention
of a single query, for which PyTorch's kernels are far from memory bandwidth.
"""

import functools
import subprocess
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mingpt.core.errors import UsageError
from mingpt.models.base import LanguageModel, State

Step = Callable[[LanguageModel, Tensor, State], Tensor]


class SingleRowOps(TorchFunctionMode):
    """Compute single-row `F.linear` as multiply-and-sum and single-query attention as matmul-softmax-matmul (CPU only).

    Inductor fuses these into loops that read the weights once, at memory bandwidth.  For compiled code only: eagerly,
    multiply-and-sum makes a copy of the weights.
    """

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.linear and args[0].numel() == args[0].shape[-1] and args[0].device.type == "cpu":
            return _single_row_linear(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            func = _single_query_attention
        return func(*args, **kwargs)


def _single_row_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return F.linear of (..., i) with a single row and (o, i) weights, (..., o), as multiply-and-sum."""
    row = (weight * x.reshape(-1)).sum(-1)
    return (row if bias is None else row + bias).view(*x.shape[:-1], -1)


def _single_query_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **how: Any,
) -> Tensor:
    """Return F.scaled_dot_product_attention, as matmul-softmax-matmul if there is a single query without a mask."""
    half_precision = q.element_size() < 4  # the fused kernel accumulates in float32
    if q.shape[-2] > 1 or q.device.type != "cpu" or half_precision or attn_mask is not None or dropout_p or is_causal:
        return F.scaled_dot_product_attention(q, k, v, attn_mask, dropout_p, is_causal, **how)
    scale = how.get("scale")
    scale = k.shape[-1] ** -0.5 if scale is None else scale
    grouped = scale * q.reshape(*k.shape[:2], -1, k.shape[-1])  # (b, g, h/g, d)
    return ((grouped @ k.mT).softmax(-1) @ v).view(*q.shape[:-1], v.shape[-1])


def step(model: LanguageModel, ids: Tensor, state: State) -> Tensor:
    """Return (b, v) logits after `state` and (b, 1) ids, which are appended to it."""
    with SingleRowOps():
        return model(ids, state=state).logits[:, -1]


@functools.cache
def compiled_step() -> Step:
    """Return `step`, compiled at its first call for a kind of model and batch, and once more as the state grows.

    Compilation takes about half a minute on two cores, and seconds the next time by PyTorch's cache on disk.
    """
    compiled = torch.compile(step)

    def guarded(model: LanguageModel, ids: Tensor, state: State) -> Tensor:
        try:
            return compiled(model, ids, state)
        except (torch._dynamo.exc.TorchDynamoException, subprocess.SubprocessError, OSError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UsageError(f"compile=True: torch.compile failed ({reason}); generate without it") from None

    return guarded
