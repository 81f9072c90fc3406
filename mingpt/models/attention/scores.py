"""Attention score functions: a logit per query and key, before mask and softmax.

A bilinear score is a dot product of prepared q and k, which every kernel supports:

    prepare(q)    before the rotary embedding    (b, h, t, d) -> (b, h, t, d)
    fold(q, k)    after it                       q, k whose product, times `scale`, is the score

Other scores set `bilinear` to False and override `logits(q, k)`.  k is (b, g, s, d): query head i uses key head
i // (h/g).
"""

import math
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mingpt.core.registry import Registry
from mingpt.models.cpu_autograd import additive_scores


class ScoreSettings(Protocol):
    """Settings of a layer that a score uses."""

    @property
    def n_query_head(self) -> int: ...
    @property
    def head_width(self) -> int: ...


class Score(nn.Module):
    """Dot-product score q . k; base class of all scores."""

    bilinear: ClassVar[bool] = True
    least_width: ClassVar[int] = 1  # smallest supported head width

    def __init__(self, config: ScoreSettings) -> None:
        super().__init__()
        self.scale = 1.0

    def prepare(self, q: Tensor) -> Tensor:
        """Transform (b, h, t, d) queries before the rotary embedding; the identity here."""
        return q

    def fold(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return q and k whose product, times `scale`, is the score; the identity here."""
        return q, k

    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        """Return (b, h, t, s) scores of (b, h, t, d) queries and (b, g, s, d) keys."""
        q, k = self.fold(q, k)
        return self.scale * q @ repeated(k, q.shape[1]).mT

    def flops(self, d: int) -> tuple[int, int]:
        """Return the FLOPs of a query head of width d: per token, and per pair of query and key."""
        return 0, 2 * d


SCORES: Registry[type[Score]] = Registry("model.score")
SCORES.add("dot")(Score)


@SCORES.add("scaled_dot")
class ScaledDot(Score):
    """Scaled dot-product score k . q / sqrt(d) (Vaswani et al. 2017, eq. 1)."""

    def __init__(self, config: ScoreSettings) -> None:
        super().__init__(config)
        self.scale = 1 / math.sqrt(config.head_width)


@SCORES.add("multiplicative")
class Multiplicative(Score):
    """Bilinear score k^T W q, W per query head, initially I/sqrt(d), as scaled_dot (Luong et al. 2015, eq. 8)."""

    def __init__(self, config: ScoreSettings) -> None:
        super().__init__(config)
        d = config.head_width
        self.weight = nn.Parameter((torch.eye(d) / math.sqrt(d)).repeat(config.n_query_head, 1, 1))

    def prepare(self, q: Tensor) -> Tensor:
        return q @ self.weight.mT

    def flops(self, d: int) -> tuple[int, int]:
        return 2 * d * d, 2 * d


class _Concatenated(Score):
    """Parameters of v . f(W_q q + W_k k), per query head; base class."""

    def __init__(self, config: ScoreSettings) -> None:
        super().__init__(config)
        h, d = config.n_query_head, config.head_width
        self.query, self.key = (nn.Parameter(torch.randn(h, d, d) / math.sqrt(d)) for _ in range(2))
        self.v = nn.Parameter(torch.randn(h, 1, d) / math.sqrt(d))


@SCORES.add("additive")
class Additive(_Concatenated):
    """Additive score v . tanh(W_q q + W_k k) (Bahdanau et al. 2015, appendix A.1.2)."""

    bilinear = False

    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        return additive_scores(q @ self.query.mT, repeated(k, q.shape[1]) @ self.key.mT, self.v)

    def flops(self, d: int) -> tuple[int, int]:
        return 4 * d * d, 4 * d  # an addition, a tanh (as 1 FLOP), a product with v


@SCORES.add("linear_concat")
class LinearConcat(_Concatenated):
    """Additive score without tanh, v . (W_q q + W_k k), as a counterexample.

    Its weights can't depend on the query: softmax over the keys cancels the query's term.
    """

    least_width = 2  # fold returns vectors of width 2

    def flops(self, d: int) -> tuple[int, int]:
        return 4 * d, 2 * d

    def fold(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        of_query = q @ (self.v @ self.query).mT
        of_key = repeated(k, q.shape[1]) @ (self.v @ self.key).mT
        q_pair = torch.cat((of_query, torch.ones_like(of_query)), dim=-1)
        k_pair = torch.cat((torch.ones_like(of_key), of_key), dim=-1)
        width = q.shape[-1] - 2  # fused kernels need the width of the values
        return F.pad(q_pair, (0, width)), F.pad(k_pair, (0, width))


def repeated(k: Tensor, heads: int) -> Tensor:
    """Repeat each of the g key/value heads for its query heads: (b, g, s, d) to (b, heads, s, d)."""
    return k if k.shape[1] == heads else k.repeat_interleave(heads // k.shape[1], dim=1)
