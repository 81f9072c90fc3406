"""What a layer needs of a kernel, and what a kernel is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mingpt.attention.masks import Mask
from mingpt.attention.scores import Score
from mingpt.registry import Registry

Bias = Callable[[Tensor, Tensor], Tensor]  # query and key positions -> (h, t, s), added to the scores


@dataclass(frozen=True)
class Need:
    """One call of attention.

    Attributes:
        mask: who may read whom.
        score: gives `scale`, and `logits` where no dot product does.
        queries, keys: t and s.
        device, dtype: of q, k and v.
        bias: what the position code adds to the scores, or None.
        dropout_p: dropout on the weights, probability.
        keys_at: (s,) positions of the keys, where a cache holds them in another order; None: 0 to s - 1.
        query_at: position of the first query; None: s - t.
    """

    mask: Mask
    score: Score
    queries: int
    keys: int
    device: torch.device
    dtype: torch.dtype
    bias: Bias | None = None
    dropout_p: float = 0.0
    keys_at: Tensor | None = None
    query_at: int | None = None

    def positions(self) -> tuple[Tensor, Tensor]:
        """(t, 1) query and (s,) key positions."""
        first = self.keys - self.queries if self.query_at is None else self.query_at
        i = torch.arange(first, first + self.queries, device=self.device)[:, None]
        return i, torch.arange(self.keys, device=self.device) if self.keys_at is None else self.keys_at

    def described(self) -> str:
        """For messages: what makes this need hard to serve."""
        parts = [type(self.score).__name__, f"band {self.mask.band}", f"{self.queries} x {self.keys}"]
        parts += ["a position bias"] * (self.bias is not None) + ["dropout"] * (self.dropout_p > 0)
        return f"{', '.join(parts)} on {self.device.type} in {str(self.dtype).removeprefix('torch.')}"


class Kernel:
    """Base of all kernels."""

    name: ClassVar[str]
    serves_cache: ClassVar[bool] = True  # False: whole sequences alone

    def refuses(self, need: Need) -> str | None:
        """Why this kernel can't serve `need`; None: it can."""
        return None

    def worth(self, need: Need) -> bool:
        """Whether `auto` should take it where it can serve."""
        return True

    def attend(self, q: Tensor, k: Tensor, v: Tensor, need: Need) -> tuple[Tensor, Tensor | None]:
        """(b, h, t, d) output, and the (b, h, t, s) weights where they were made."""
        raise NotImplementedError


KERNELS: Registry[Kernel] = Registry("model.kernel")
