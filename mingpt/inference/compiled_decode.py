"""The step of one token, compiled: for long texts, as compiling takes half a minute the first time.

Uncompiled, such a step of a small model is mostly Python between operations, and on the CPU products of one row with
a matrix and attention of one query, for which the usual kernels are far from the rate at which memory can be read.
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


class WrittenOut(TorchFunctionMode):
    """Inside it, on the CPU, a linear layer of a single row is the sum that it is, and attention of a single query two
    products around a softmax.

    A compiler makes one loop of such a sum, which reads the weights once at the rate of the memory.  Not meant for
    anything else: uncompiled, the sum makes a copy of the weights.
    """

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.linear and args[0].numel() == args[0].shape[-1] and args[0].device.type == "cpu":
            return _row_times(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            func = _attention
        return func(*args, **kwargs)


def _row_times(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., i) of a single row, (o, i) -> (..., o)."""
    row = (weight * x.reshape(-1)).sum(-1)
    return (row if bias is None else row + bias).view(*x.shape[:-1], -1)


def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **how: Any,
) -> Tensor:
    """(b, h, t, d) from (b, h, t, d), (b, g, s, d) twice, as PyTorch's own, whose arguments these are.

    Written out where t is 1 and that one query reads every key.
    """
    short = q.element_size() < 4  # the fused kernel adds these in float32
    if q.shape[-2] > 1 or q.device.type != "cpu" or short or attn_mask is not None or dropout_p or is_causal:
        return F.scaled_dot_product_attention(q, k, v, attn_mask, dropout_p, is_causal, **how)
    scale = how.get("scale")
    scale = k.shape[-1] ** -0.5 if scale is None else scale
    grouped = scale * q.reshape(*k.shape[:2], -1, k.shape[-1])  # (b, g, h/g, d): heads that share keys are rows
    return ((grouped @ k.mT).softmax(-1) @ v).view(*q.shape[:-1], v.shape[-1])


def step(model: LanguageModel, ids: Tensor, state: State) -> Tensor:
    """(b, v) logits after (b, 1) ids and what `state` has read, which they extend."""
    with WrittenOut():
        return model(ids, state=state).logits[:, -1]


@functools.cache
def compiled_step() -> Step:
    """`step`, compiled at its first call for a kind of model and batch, and once more as the state grows.

    Compiling takes half a minute or so on two cores; what PyTorch keeps on disk makes it seconds the next time.
    """
    compiled = torch.compile(step)

    def guarded(model: LanguageModel, ids: Tensor, state: State) -> Tensor:
        try:
            return compiled(model, ids, state)
        except (torch._dynamo.exc.TorchDynamoException, subprocess.SubprocessError, OSError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UsageError(f"compile=True: torch.compile fails here ({reason}); write without it") from None

    return guarded
