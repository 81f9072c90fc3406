"""Attention by PyTorch's FlexAttention: the mask's own rule, compiled into a kernel that skips what nobody sees.

CUDA only: on the CPU it has no backward pass.  The block mask of a rule and a size is made once.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from mingpt.attention.kernels.base import KERNELS, Kernel, Need
from mingpt.attention.masks import Mask

try:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
except ImportError:  # a PyTorch without it
    create_block_mask = flex_attention = None  # type: ignore[assignment]


class Flex(Kernel):
    """For windows on CUDA, where whole blocks of keys are skipped."""

    name = "flex"
    serves_cache = False

    def refuses(self, need: Need) -> str | None:
        rules = (
            (flex_attention is None, "this PyTorch has no FlexAttention"),
            (need.device.type != "cuda", "FlexAttention trains on CUDA alone"),
            (not need.score.bilinear, "it takes scores that are a dot product"),
            (need.bias is not None, "it has no position bias here"),
            (need.dropout_p > 0, "it has no dropout"),
            (need.queries != need.keys or need.keys_at is not None, "it serves whole sequences, not a cache"),
        )
        return next((reason for broken, reason in rules if broken), None)

    def worth(self, need: Need) -> bool:
        return need.mask.band is not None and need.mask.band <= need.keys / 2

    def attend(self, q: Tensor, k: Tensor, v: Tensor, need: Need) -> tuple[Tensor, Tensor | None]:
        q, k = need.score.fold(q, k)
        blocks = _block_mask(need.mask, need.queries, need.keys, need.device)
        shared = k.shape[1] != q.shape[1]
        return _compiled()(q, k, v, block_mask=blocks, scale=need.score.scale, enable_gqa=shared), None


@lru_cache(maxsize=16)
def _block_mask(mask: Mask, queries: int, keys: int, device: torch.device) -> Any:
    def rule(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return mask.sees(i, j)

    return create_block_mask(rule, None, None, queries, keys, device=device)


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention)


KERNELS.add(Flex.name)(Flex())
