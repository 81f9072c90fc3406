"""Causal attention by PyTorch's fused `scaled_dot_product_attention`.

The mask is a flag wherever the fused kernels can take it as one; no (t x s) tensor is stored between calls.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mingpt.dropout import dropout


def attend(q: Tensor, k: Tensor, v: Tensor, dropout_p: float = 0.0) -> Tensor:
    """softmax(q k^T / sqrt(d) + causal mask) v (Vaswani et al. 2017, eq. 1); shapes as in this package's docstring."""
    if dropout_p and q.device.type == "cpu":
        return _written_out(q, k, v, dropout_p)
    k, v = _repeat_where_fused_kernels_cannot_share(q, k, v)
    t, s = q.shape[-2], k.shape[-2]
    shared = k.shape[1] != q.shape[1]
    mask = None if t in (1, s) else torch.ones(t, s, dtype=torch.bool, device=q.device).tril(s - t)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout_p, is_causal=t == s, enable_gqa=shared
    )


def _written_out(q: Tensor, k: Tensor, v: Tensor, dropout_p: float) -> Tensor:
    # The CPU's fused kernel has no dropout; what stands in for it is slower than these five lines.
    repeats, t, s = q.shape[1] // k.shape[1], q.shape[-2], k.shape[-2]
    k, v = (x.repeat_interleave(repeats, dim=1) if repeats > 1 else x for x in (k, v))
    unseen = torch.ones(t, s, dtype=torch.bool, device=q.device).triu(s - t + 1)
    weights = ((q * q.shape[-1] ** -0.5) @ k.mT).masked_fill(unseen, -math.inf).softmax(dim=-1)
    return dropout(weights, dropout_p) @ v


def _repeat_where_fused_kernels_cannot_share(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    # On CUDA only the half-precision kernels read a shared head in place; in float32 `enable_gqa` falls back,
    # without a word, to the slow path.
    repeats = q.shape[1] // k.shape[1]
    if repeats > 1 and q.is_cuda and q.dtype not in (torch.float16, torch.bfloat16):
        return k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
    return k, v
