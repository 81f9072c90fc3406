"""Dropout whose draws cost a sixth on a CPU: sixteen bits a number instead of a float each (Srivastava et al. 2014)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mingpt import utils

LEVELS = 1 << 16


class Dropout(nn.Module):
    """`dropout` while training, the identity otherwise.

    Args:
        p: probability of a zero.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training else x


def dropout(x: Tensor, p: float) -> Tensor:
    """Zero each number with probability p, scale the others so that the mean stays.

    On a CPU p is rounded to a multiple of 2^-16, and the scale is that probability's own; the draws are those of
    `utils.generator()`.
    """
    if p == 0:
        return x
    return x * _kept(x, p) if x.device.type == "cpu" else F.dropout(x, p)


def _kept(like: Tensor, p: float) -> Tensor:
    """0 or 1/(1 - p), in the shape and type of `like`."""
    dropped = min(round(p * LEVELS), LEVELS - 1)
    words = torch.empty(-(-like.numel() // 4), dtype=torch.int64)
    words.random_(-(2**63), None, generator=utils.generator())
    draws = words.view(torch.int16)[: like.numel()].view(like.shape)
    kept = torch.empty(like.shape, dtype=like.dtype)
    torch.ge(draws, dropped - LEVELS // 2, out=kept)  # straight into a float: a bool on the way costs four times that
    return kept.mul_(LEVELS / (LEVELS - dropped))
