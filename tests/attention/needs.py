"""What tests of kernels ask for: scores and position biases whose every number matters, and refusals that say why."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from mingpt.attention.kernels import KERNELS, Need, choose
from mingpt.attention.positions import POSITIONS
from mingpt.attention.scores import SCORES, Score
from mingpt.errors import UsageError

every_kernel = pytest.mark.parametrize("name", KERNELS)
every_other = pytest.mark.parametrize("name", [name for name in KERNELS if name != "reference"])


def score_of(name: str, heads: int, width: int) -> Score:
    torch.manual_seed(1)
    score = SCORES[name](SimpleNamespace(n_query_head=heads, head_width=width)).double()
    for parameter in score.parameters():
        nn.init.normal_(parameter)
    return score


def bias_of(position: str, heads: int) -> Any:
    code = POSITIONS[position](
        SimpleNamespace(n_embd=2 * heads, n_query_head=heads, head_width=2, rope_base=100.0, block_size=9)
    )
    return code.bias if code.has_bias else None


def refuses_by_name(name: str, need: Need) -> bool:
    """Whether kernel `name` refuses; it must then say so of both itself and the need, and not serve by accident."""
    if reason := KERNELS[name].refuses(need):
        with pytest.raises(UsageError, match=f"model.kernel={name}: can't serve ") as refused:
            choose(name, need)
        assert need.described() in str(refused.value)
        assert reason in str(refused.value)
    return bool(reason)
