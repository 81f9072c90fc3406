"""Attention by PyTorch's fused `scaled_dot_product_attention`, with `is_causal` in place of a mask if possible."""

import math
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from mingpt import utils
from mingpt.models.attention.kernels.base import KERNELS, Kernel, Need, folded
from mingpt.models.attention.masks import FULL
from mingpt.models.attention.scores import repeated


class Sdpa(Kernel):
    """Fused attention, softmax(scale q k^T + bias + mask) v for bilinear scores."""

    name, rank = "sdpa", 3

    def unsupported(self, need: Need) -> str | None:
        return None if need.score.bilinear else "it takes scores that are a dot product"

    def slower(self, need: Need) -> str | None:
        # PyTorch's fallback for dropout on the CPU is slower than the reference.
        return "on the CPU it has no fused dropout" if need.device.type == "cpu" and need.dropout_p else None

    def attend(self, q: Tensor, k: Tensor, v: Tensor, need: Need) -> tuple[Tensor, Tensor | None]:
        q, k, v = folded(q, k, v, need)
        if _needs_repeats(q, k):
            k, v = repeated(k, q.shape[1]), repeated(v, q.shape[1])
        causal = need.mask.band is not None and need.mask.band >= need.keys
        is_causal = causal and need.full_sequence and need.bias is None
        attention = F.scaled_dot_product_attention
        if need.dropout_p and need.device.type == "cpu":  # sdpa takes no generator
            attention = partial(utils.draw_with_generator, attention)
        output = attention(
            q,
            k,
            v,
            attn_mask=None if is_causal else _mask(need, q),
            dropout_p=need.dropout_p,
            is_causal=is_causal,
            scale=need.score.scale,
            enable_gqa=k.shape[1] != q.shape[1],
        )
        return output, None


def _mask(need: Need, q: Tensor) -> Tensor | None:
    if need.mask is FULL and need.bias is None:
        return None
    i, j = need.positions()
    seen = need.mask.sees(i, j)
    if need.bias is None:
        return seen
    return need.bias(i, j).to(q.dtype).masked_fill(~seen, -math.inf)


def _needs_repeats(q: Tensor, k: Tensor) -> bool:
    """Whether shared keys and values are faster when they are repeated first than with `enable_gqa`."""
    if q.shape[1] == k.shape[1]:
        return False
    if q.is_cuda:  # only half-precision kernels share heads without a copy; in float32 they fall back to the slow path
        return q.element_size() != 2
    # The CPU's backward pass is parallel over texts and key/value heads: with one of each it takes one thread.
    return q.requires_grad and q.shape[0] * k.shape[1] == 1


KERNELS.add(Sdpa.name)(Sdpa())
