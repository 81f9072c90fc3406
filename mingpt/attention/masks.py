"""Who may read whom: predicates of a query's position i and a key's position j, combined with `&` and `|`.

A mask is a rule, never a stored table.  Beside the rule it carries the one thing that fast kernels must know: the
width of the causal band that it is exactly, if it is one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mingpt.registry import Registry

ROWS = 256  # of a mask looked at together where no formula counts them


@dataclass(frozen=True)
class Mask:
    """May position i read position j?

    Attributes:
        sees: (i, j) -> bool, on integer tensors that broadcast.
        band: the mask is exactly 0 <= i - j < band; inf: causal; None: anything else.
    """

    sees: Callable[[Tensor, Tensor], Tensor]
    band: float | None = None

    @property
    def causal(self) -> bool:
        """Whether it is known that no position reads a later one."""
        return self.band is not None

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
        return Mask(lambda i, j: self.sees(i, j) & other.sees(i, j), both)

    def __or__(self, other: "Mask") -> "Mask":
        """Either allows it."""
        bands = (self.band, other.band)
        either = None if None in bands else max(b for b in bands if b is not None)
        return Mask(lambda i, j: self.sees(i, j) | other.sees(i, j), either)


MASKS: Registry[Mask] = Registry("model.mask")
CAUSAL = MASKS.add("causal")(Mask(lambda i, j: i >= j, math.inf))
# Each token reads the whole block, later ones too: for looking at, not for writing text.
FULL = MASKS.add("full")(Mask(lambda i, j: (i - j).abs() >= 0))


def sliding_window(width: int) -> Mask:
    """The query's own position and the width - 1 before it: 0 <= i - j < width (Beltagy et al. 2020).

    Raises:
        ValueError: a width below 1.
    """
    if width < 1:
        raise ValueError(f"width={width}: a window holds at least the query's own position")
    return Mask(lambda i, j: (i >= j) & (i - j < width), width)
