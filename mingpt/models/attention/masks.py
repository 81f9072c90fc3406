"""Attention masks: predicates of a query's position i and a key's position j, combined with `&` and `|`.

A mask is a rule, not a stored tensor.  It also states what kernels must know and can't derive: whether it is causal,
and the width of the band if it is exactly a causal band.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from mingpt.core.registry import Registry

ROWS = 256  # rows of a mask evaluated at once where `pairs` has no formula


@dataclass(frozen=True)
class Mask:
    """Attention mask as a predicate: may the query at position i attend to the key at position j?

    Attributes:
        sees: (i, j) -> bool, on integer tensors that broadcast
        causal: True if no query attends to a later key
        band: the mask is exactly 0 <= i - j < band; inf: every key up to the query's own; None: not a causal band
    """

    sees: Callable[[Tensor, Tensor], Tensor]
    causal: bool
    band: float | None = None

    def pairs(self, length: int) -> int:
        """Return how many of the length x length pairs of positions it allows."""
        if self.band is not None:
            width = int(min(self.band, length))
            return width * (width + 1) // 2 + (length - width) * width
        positions = torch.arange(length)
        return sum(int(self.sees(part[:, None], positions).sum()) for part in positions.split(ROWS))

    def __and__(self, other: "Mask") -> "Mask":
        """Return the mask of pairs that both masks allow."""
        bands = (self.band, other.band)
        both = None if None in bands else min(b for b in bands if b is not None)
        return Mask(lambda i, j: self.sees(i, j) & other.sees(i, j), self.causal or other.causal, both)

    def __or__(self, other: "Mask") -> "Mask":
        """Return the mask of pairs that either mask allows."""
        bands = (self.band, other.band)
        either = None if None in bands else max(b for b in bands if b is not None)
        return Mask(lambda i, j: self.sees(i, j) | other.sees(i, j), self.causal and other.causal, either)


MASKS: Registry[Mask] = Registry("model.mask")
CAUSAL = MASKS.add("causal")(Mask(lambda i, j: i >= j, causal=True, band=math.inf))
# Bidirectional attention: for comparison, not for generation.
FULL = MASKS.add("full")(Mask(lambda i, j: (i - j).abs() >= 0, causal=False))


@lru_cache
def sliding_window(width: int) -> Mask:
    """Return the mask 0 <= i - j < width: the query's own position and the width - 1 before it (Beltagy et al. 2020).

    Raises:
        ValueError: width is below 1.
    """
    if width < 1:
        raise ValueError(f"width={width}: a window holds at least the query's own position")
    return Mask(lambda i, j: (i >= j) & (i - j < width), causal=True, band=width)


@lru_cache
def windowed(mask: Mask, width: int | None) -> Mask:
    """Return `mask` within a sliding window; the same object for the same arguments, since kernels cache by mask."""
    if width is None:
        return mask
    return sliding_window(width) if mask is CAUSAL else mask & sliding_window(width)
