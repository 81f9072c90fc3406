"""Interface of attention kernels: what a layer needs (`Need`) and what computes it (`Kernel`)."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from mingpt.core.registry import Registry
from mingpt.models.attention.masks import Mask
from mingpt.models.attention.scores import Score, repeated

Bias = Callable[[Tensor, Tensor], Tensor]  # query and key positions -> (h, t, s), added to the scores


class Need(NamedTuple):
    """One call of attention, without its tensors.

    Attributes:
        mask: which keys a query attends to
        score: the score function
        queries, keys: numbers of queries and keys, t and s
        width: head width, d
        device, dtype: device and type of q, k and v
        bias: bias that the positional encoding adds to the scores, or None
        dropout_p: dropout probability of the weights
        keys_at: (s,) positions of the keys; None: 0 to s - 1
        query_at: position of the first query; None: s - t; above 0 only with fewer queries than keys, or with keys_at
    """

    mask: Mask
    score: Score
    queries: int
    keys: int
    width: int
    device: torch.device
    dtype: torch.dtype
    bias: Bias | None = None
    dropout_p: float = 0.0
    keys_at: Tensor | None = None
    query_at: int | None = None

    def positions(self) -> tuple[Tensor, Tensor]:
        """Return the (t, 1) positions of the queries and the (s,) positions of the keys."""
        first = self.keys - self.queries if self.query_at is None else self.query_at
        i = torch.arange(first, first + self.queries, device=self.device)[:, None]
        return i, torch.arange(self.keys, device=self.device) if self.keys_at is None else self.keys_at

    @property
    def full_sequence(self) -> bool:
        """True if queries and keys are the same, complete sequence."""
        return self.queries == self.keys and self.keys_at is None

    def described(self) -> str:
        """Return a description for messages: score, mask, sizes, device and type."""
        parts = [type(self.score).__name__, f"band {self.mask.band}", f"{self.queries} x {self.keys}"]
        parts += ["a position bias"] * (self.bias is not None) + ["dropout"] * (self.dropout_p > 0)
        return f"{', '.join(parts)} on {self.device.type} in {str(self.dtype).removeprefix('torch.')}"


class Kernel:
    """Base class of all kernels.

    Attributes:
        name: value of model.kernel
        rank: `auto` takes the supported kernel of the lowest rank that isn't `slower`
        serves_cache: False if it supports full sequences only
    """

    name: ClassVar[str]
    rank: ClassVar[int]
    serves_cache: ClassVar[bool] = True

    def unsupported(self, need: Need) -> str | None:
        """Return the reason why this kernel can't compute `need`; None if it can."""
        return None

    def slower(self, need: Need) -> str | None:
        """Return the reason why another kernel is faster for `need`, so that `auto` skips this one; None if none is."""
        return None

    def attend(self, q: Tensor, k: Tensor, v: Tensor, need: Need) -> tuple[Tensor, Tensor | None]:
        """Return (b, h, t, d) outputs, and (b, h, t, s) weights if the kernel computes them; None otherwise."""
        raise NotImplementedError


def folded(q: Tensor, k: Tensor, v: Tensor, need: Need) -> tuple[Tensor, Tensor, Tensor]:
    """Return q and k whose product, times the score's scale, is the score, and v with as many heads as k."""
    q, k = need.score.fold(q, k)
    return q, k, v if k.shape[1] == v.shape[1] else repeated(v, k.shape[1])


KERNELS: Registry[Kernel] = Registry("model.kernel")
