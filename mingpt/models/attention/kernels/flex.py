"""Attention by PyTorch's FlexAttention: the mask's predicate compiled into a kernel that skips masked blocks.

CUDA only: on the CPU it has no backward pass.  The block mask of a predicate and a size is cached outside of the
compiled graph; traced, it would be made again at every step.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from mingpt.models.attention.kernels.base import KERNELS, Kernel, Need, folded
from mingpt.models.attention.masks import Mask
from mingpt.utils import uncompiled

NARROWEST, DTYPES = 16, (torch.float32, torch.bfloat16, torch.float16)
# Tile sizes of the backward pass: queries and keys for the gradients of keys and values (1) and of queries (2).  A
# window is few tiles wide; on a Hopper GPU that pass takes a sixth longer with PyTorch's own sizes (LOG.md,
# 2026-11-27).
TILES = {
    "bwd_BLOCK_M1": 32,
    "bwd_BLOCK_N1": 128,
    "bwd_BLOCK_M2": 128,
    "bwd_BLOCK_N2": 32,
    "bwd_num_warps": 4,
    "bwd_num_stages": 3,
}
HOPPER, TUNED_WIDTH, TUNED_WINDOW, TUNED_BYTES = (9, 0), 64, 1024, 2  # where TILES were tuned
VARIANTS = 1000  # compiled variants per process; one more is an error
LIMITS = {"recompile_limit": VARIANTS, "accumulated_recompile_limit": VARIANTS, "fail_on_recompile_limit_hit": True}


class Flex(Kernel):
    """Sliding windows on CUDA, where blocks of keys outside the window are skipped."""

    name, rank = "flex", 0
    serves_cache = False

    def unsupported(self, need: Need) -> str | None:
        if need.device.type != "cuda":
            return "FlexAttention trains on CUDA only"
        rules = (
            (not need.score.bilinear, "it takes scores that are a dot product"),
            (need.bias is not None, "it has no position bias here"),
            (need.dropout_p > 0, "it has no dropout"),
            (not need.full_sequence, "it serves full sequences, not a KV cache"),
            (need.width < NARROWEST, f"its compiled kernels take heads of width {NARROWEST} or more"),
            (need.dtype not in DTYPES, "its compiled kernels take float32 and shorter"),
        )
        return next((reason for broken, reason in rules if broken), None)

    def slower(self, need: Need) -> str | None:
        skips = need.mask.band is not None and need.mask.band <= need.keys / 2
        return None if skips else "it skips too few keys here"

    def attend(self, q: Tensor, k: Tensor, v: Tensor, need: Need) -> tuple[Tensor, Tensor | None]:
        q, k, v = folded(q, k, v, need)
        blocks, tiles = _prepared(need)
        compute: Any = _flex_attention() if torch.compiler.is_compiling() else _compiled()
        how = {"scale": need.score.scale, "enable_gqa": k.shape[1] != q.shape[1], "kernel_options": tiles}
        return compute(q, k, v, block_mask=blocks, **how), None


@uncompiled
def _prepared(need: Need) -> tuple[Any, dict[str, int] | None]:
    """Return FlexAttention's block mask and the backward pass's tile sizes, or None for PyTorch's own."""
    capability = torch.cuda.get_device_capability(need.device) if need.device.type == "cuda" else None
    return _block_mask(need.mask, need.queries, need.keys, need.device), tiles(capability, need)


def tiles(capability: tuple[int, int] | None, need: Need) -> dict[str, int] | None:
    """Return TILES where they were tuned, given the GPU's compute capability; None: PyTorch's own sizes."""
    narrow = need.mask.band is not None and need.mask.band <= TUNED_WINDOW
    tuned = capability == HOPPER and need.width == TUNED_WIDTH and need.dtype.itemsize == TUNED_BYTES
    return TILES if tuned and narrow else None


def _flex_attention() -> Callable[..., Any]:
    """Import FlexAttention lazily, since it imports PyTorch's compiler."""
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention


@lru_cache(maxsize=16)
def _block_mask(mask: Mask, queries: int, keys: int, device: torch.device) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    def rule(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return mask.sees(i, j)

    return create_block_mask(rule, None, None, queries, keys, device=device)


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., Any]:
    """Return FlexAttention, compiled once per mask, size, type and scale.

    Past PyTorch's default limit of eight variants it would silently run uncompiled, with all scores in memory.
    """
    compiled: Callable[..., Any] = torch.compile(_flex_attention(), dynamic=False)

    def attend(*tensors: Tensor, **settings: Any) -> Any:
        with torch._dynamo.config.patch(LIMITS):
            return compiled(*tensors, **settings)

    return attend


KERNELS.add(Flex.name)(Flex())
