"""Who may read whom: predicates of a query's position i and a key's position j, combined with `&` and `|`.

A mask is a rule, never a stored table.  Beside the rule it says what others must know of it and can't find out: whether
it is causal, and the width of the causal band that it is exactly, if it is one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from mingpt.core.registry import Registry

ROWS = 256  # of a mask looked at together where no formula counts them


@dataclass(frozen=True)
class Mask:
    """May position i read position j?

    Attributes:
        sees: (i, j) -> bool, on integer tensors that broadcast.
        causal: no position reads a later one.
        band: the mask is exactly 0 <= i - j < band; inf: all up to the query's own; None: no such band.
    """

    sees: Callable[[Tensor, Tensor], Tensor]
    causal: bool
    band: float | None = None

    def pairs(self, length: int) -> int:
        """How many of the length x length pairs of positions it allows."""
        if self.band is not None:
            width = int(min(self.band, length))
            return width * (width + 1) // 2 + (length - width) * width
        positions = torch.arange(length)
        return sum(int(self.sees(part[:, None], positions).sum()) for part in positions.split(ROWS))

    def __and__(self, other: "Mask") -> "Mask":
        """Both allow it."""
        bands = (self.band, other.band)
        both = None if None in bands else min(b for b in bands if b is not None)
        return Mask(lambda i, j: self.sees(i, j) & other.sees(i, j), self.causal or other.causal, both)

    def __or__(self, other: "Mask") -> "Mask":
        """Either allows it."""
        bands = (self.band, other.band)
        either = None if None in bands else max(b for b in bands if b is not None)
        return Mask(lambda i, j: self.sees(i, j) | other.sees(i, j), self.causal and other.causal, either)


MASKS: Registry[Mask] = Registry("model.mask")
CAUSAL = MASKS.add("causal")(Mask(lambda i, j: i >= j, causal=True, band=math.inf))
# Each token reads the whole block, later ones too: for looking at, not for writing text.
FULL = MASKS.add("full")(Mask(lambda i, j: (i - j).abs() >= 0, causal=False))


@lru_cache
def sliding_window(width: int) -> Mask:
    """The query's own position and the width - 1 before it: 0 <= i - j < width (Beltagy et al. 2020).

    Raises:
        ValueError: a width below 1.
    """
    if width < 1:
        raise ValueError(f"width={width}: a window holds at least the query's own position")
    return Mask(lambda i, j: (i >= j) & (i - j < width), causal=True, band=width)


@lru_cache
def windowed(mask: Mask, width: int | None) -> Mask:
    """`mask` within a window; one object for the same two, so that what a kernel prepares serves all layers."""
    if width is None:
        return mask
    return sliding_window(width) if mask is CAUSAL else mask & sliding_window(width)
