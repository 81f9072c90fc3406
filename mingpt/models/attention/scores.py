"""How well a key answers a query: a number for each pair, before mask and softmax.

A bilinear score is a dot product once q and k are prepared, so every kernel serves it:

    prepare(q)    before positions rotate it     (b, h, t, d) -> (b, h, t, d)
    fold(q, k)    after                          -> q, k whose product, times `scale`, is the score

Others override `logits(q, k)` as well and leave `bilinear` False.  k is (b, g, s, d): query head i reads key head
i // (h/g).
"""

import math
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mingpt.core.registry import Registry

CHUNK = 1 << 22  # numbers of the (queries, keys, width) tensor that additive scores hold at once


class ScoreSettings(Protocol):
    """What a score reads of a layer's settings."""

    @property
    def n_query_head(self) -> int: ...
    @property
    def head_width(self) -> int: ...


class Score(nn.Module):
    """A dot product.  Base of all scores."""

    bilinear: ClassVar[bool] = True
    least_width: ClassVar[int] = 1  # of a head

    def __init__(self, config: ScoreSettings) -> None:
        super().__init__()
        self.scale = 1.0

    def prepare(self, q: Tensor) -> Tensor:
        return q

    def fold(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return q, k

    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        """(b, h, t, d) and (b, g, s, d) -> (b, h, t, s)."""
        q, k = self.fold(q, k)
        return self.scale * q @ repeated(k, q.shape[1]).mT

    def flops(self, d: int) -> tuple[int, int]:
        """Per query head of width d: operations a token, and a pair of query and key."""
        return 0, 2 * d


SCORES: Registry[type[Score]] = Registry("model.score")
SCORES.add("dot")(Score)


@SCORES.add("scaled_dot")
class ScaledDot(Score):
    """k . q / sqrt(d) (Vaswani et al. 2017, eq. 1)."""

    def __init__(self, config: ScoreSettings) -> None:
        super().__init__(config)
        self.scale = 1 / math.sqrt(config.head_width)


@SCORES.add("multiplicative")
class Multiplicative(Score):
    """k^T W q, W per query head, starting as I/sqrt(d), the scaled dot product (Luong et al. 2015, eq. 8)."""

    def __init__(self, config: ScoreSettings) -> None:
        super().__init__(config)
        d = config.head_width
        self.weight = nn.Parameter((torch.eye(d) / math.sqrt(d)).repeat(config.n_query_head, 1, 1))

    def prepare(self, q: Tensor) -> Tensor:
        return q @ self.weight.mT

    def flops(self, d: int) -> tuple[int, int]:
        return 2 * d * d, 2 * d


class _Concatenated(Score):
    """v . act(W_q q + W_k k), per query head."""

    def __init__(self, config: ScoreSettings) -> None:
        super().__init__(config)
        h, d = config.n_query_head, config.head_width
        self.query, self.key = (nn.Parameter(torch.randn(h, d, d) / math.sqrt(d)) for _ in range(2))
        self.v = nn.Parameter(torch.randn(h, 1, d) / math.sqrt(d))


@SCORES.add("additive")
class Additive(_Concatenated):
    """v . tanh(W_q q + W_k k) (Bahdanau et al. 2015, appendix A.1.2).

    tanh needs a number per query, key and width; they are made for a few queries at a time, and again in the backward
    pass, so that no such tensor of all pairs ever exists.
    """

    bilinear = False

    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        q, k = q @ self.query.mT, repeated(k, q.shape[1]) @ self.key.mT
        rows = max(CHUNK // max(q[..., 0, :].numel() * k.shape[-2], 1), 1)
        parts = [
            checkpoint(_additive, part, k, self.v, use_reentrant=False, preserve_rng_state=False)
            for part in q.split(rows, dim=-2)
        ]
        return torch.cat(parts, dim=-2)

    def flops(self, d: int) -> tuple[int, int]:
        return 4 * d * d, 4 * d  # a sum, a tanh counted as one, and a product with v


def _additive(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return ((q[..., :, None, :] + k[..., None, :, :]).tanh() @ v[..., None]).squeeze(-1)


@SCORES.add("linear_concat")
class LinearConcat(_Concatenated):
    """v . (W_q q + W_k k): the additive score without its tanh.

    It exists to show that such weights can't depend on the query: softmax over keys cancels the query's term.
    """

    least_width = 2  # the folded pairs are two wide

    def flops(self, d: int) -> tuple[int, int]:
        return 4 * d, 2 * d

    def fold(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        of_query = q @ (self.v @ self.query).mT
        of_key = repeated(k, q.shape[1]) @ (self.v @ self.key).mT
        q_pair = torch.cat((of_query, torch.ones_like(of_query)), dim=-1)
        k_pair = torch.cat((torch.ones_like(of_key), of_key), dim=-1)
        width = q.shape[-1] - 2  # back to the width that values have, as fused kernels want it
        return F.pad(q_pair, (0, width)), F.pad(k_pair, (0, width))


def repeated(k: Tensor, heads: int) -> Tensor:
    """(b, g, s, d) -> (b, heads, s, d), each of the g repeated for the query heads that share it."""
    return k if k.shape[1] == heads else k.repeat_interleave(heads // k.shape[1], dim=1)
