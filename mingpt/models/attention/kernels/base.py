"""What a layer needs of a kernel, and what a kernel is."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from mingpt.core.registry import Registry
from mingpt.models.attention.masks import Mask
from mingpt.models.attention.scores import Score, repeated

Bias = Callable[[Tensor, Tensor], Tensor]  # query and key positions -> (h, t, s), added to the scores


class Need(NamedTuple):
    """One call of attention.

    Attributes:
        mask: who may read whom.
        score: gives `scale`, and `logits` where no dot product does.
        queries, keys: t and s.
        width: d.
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
    width: int
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

    @property
    def whole(self) -> bool:
        """Whether the queries are a whole sequence and the keys the same one."""
        return self.queries == self.keys and self.keys_at is None and self.query_at in (None, 0)

    def described(self) -> str:
        """For messages: what makes this need hard to serve."""
        parts = [type(self.score).__name__, f"band {self.mask.band}", f"{self.queries} x {self.keys}"]
        parts += ["a position bias"] * (self.bias is not None) + ["dropout"] * (self.dropout_p > 0)
        return f"{', '.join(parts)} on {self.device.type} in {str(self.dtype).removeprefix('torch.')}"


class Kernel:
    """Base of all kernels."""

    name: ClassVar[str]
    rank: ClassVar[int]  # `auto` takes the serving kernel of lowest rank that has nothing against it
    serves_cache: ClassVar[bool] = True  # False: whole sequences alone

    def refuses(self, need: Need) -> str | None:
        """Why this kernel can't serve `need`; None: it can."""
        return None

    def not_worth(self, need: Need) -> str | None:
        """Why `auto` should pass it over, where it could serve; None: it should not."""
        return None

    def attend(self, q: Tensor, k: Tensor, v: Tensor, need: Need) -> tuple[Tensor, Tensor | None]:
        """(b, h, t, d) output, and the (b, h, t, s) weights where they were made."""
        raise NotImplementedError


def folded(q: Tensor, k: Tensor, v: Tensor, need: Need) -> tuple[Tensor, Tensor, Tensor]:
    """q and k whose product, times the score's scale, is the score; v with as many heads as k."""
    q, k = need.score.fold(q, k)
    return q, k, v if k.shape[1] == v.shape[1] else repeated(v, k.shape[1])


KERNELS: Registry[Kernel] = Registry("model.kernel")
