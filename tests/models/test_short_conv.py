"""model.conv_width: the sum that it says, of the positions before alone, and remembered exactly."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mingpt.model import GPT
from mingpt.models.base import ModelConfig
from mingpt.models.short_conv import ShortConvolution


def drawn(width: int, channels: int) -> ShortConvolution:
    layer = ShortConvolution(width, channels).double()
    torch.nn.init.normal_(layer.weight)
    return layer


@pytest.mark.parametrize("t", [1, 2, 3, 9])
@pytest.mark.parametrize("width", [2, 3, 6])
def test_sum_is_a_depth_wise_convolution_and_the_input(width: int, t: int) -> None:
    layer, x = drawn(width, 5), torch.randn(2, t, 5, dtype=torch.float64)
    kernel = torch.cat((layer.weight.flip(0), torch.ones(1, 5, dtype=torch.float64))).T[:, None]  # oldest first
    expected = F.conv1d(F.pad(x.mT, (width - 1, 0)), kernel, groups=5).mT
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cuts", [[9], [1] * 9, [4, 1, 1, 3], [2, 7]], ids=str)
def test_part_of_a_text_remembers_the_part_before(cuts: list[int]) -> None:
    layer, x = drawn(4, 5), torch.randn(2, 9, 5, dtype=torch.float64)
    recent = layer.new_state(2, x)
    parts = [layer(part, recent) for part in x.split(cuts, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), layer(x), rtol=0, atol=1e-12)
    assert recent.equal(x[:, -3:])


def logits_of(seed: int, **settings: Any) -> Callable[[Tensor], Tensor]:
    torch.manual_seed(seed)
    return GPT(ModelConfig(n_embd=8, n_layer=2, vocab_size=5, block_size=6, init="gpt2", **settings)).double()


def test_new_model_with_it_is_the_model_without_it() -> None:
    ids = torch.randint(5, (3, 6))
    plain, mixed = logits_of(1), logits_of(1, conv_width=3)
    assert mixed(ids).logits.equal(plain(ids).logits)  # type: ignore[attr-defined]
