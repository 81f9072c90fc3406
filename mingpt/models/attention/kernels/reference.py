"""Reference attention: scores, mask, softmax, weighted sum; it supports every need and returns the weights."""

import math

from torch import Tensor

from mingpt.models.attention.kernels.base import KERNELS, Kernel, Need
from mingpt.models.attention.scores import repeated
from mingpt.models.dropout import dropout


class Reference(Kernel):
    """Attention as defined: softmax(score(q, k) + bias + mask) v, with all (b, h, t, s) weights in memory."""

    name, rank = "reference", 4

    def attend(self, q: Tensor, k: Tensor, v: Tensor, need: Need) -> tuple[Tensor, Tensor | None]:
        i, j = need.positions()
        logits = need.score.logits(q, k)  # (b, h, t, s)
        if need.bias is not None:
            logits = logits + need.bias(i, j).to(logits.dtype)
        weights = logits.masked_fill(~need.mask.sees(i, j), -math.inf).softmax(dim=-1)
        return dropout(weights, need.dropout_p) @ repeated(v, q.shape[1]), weights


KERNELS.add(Reference.name)(Reference())
