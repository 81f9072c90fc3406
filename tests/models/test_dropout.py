"""Dropout of sixteen bits a number: how many it drops, what it leaves, what it costs the gradient."""

import pytest
import torch

from mingpt.models.dropout import Dropout, dropout


@pytest.mark.parametrize("p", [1 / 65536, 0.1, 0.5, 0.9, 0.99999])
def test_share_of_zeros_and_scale_are_those_of_p(p: float) -> None:
    torch.manual_seed(3)
    y = dropout(torch.ones(400_003, dtype=torch.float64), p)
    dropped = min(round(p * 65536), 65535) / 65536
    spread = (dropped * (1 - dropped) / y.numel()) ** 0.5
    assert abs((y == 0).double().mean().item() - dropped) < 5 * spread
    kept = y[y != 0]
    assert kept.numel() == 0 or (kept - 1 / (1 - dropped)).abs().max() < 1e-12


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(4)
    zero = (dropout(torch.ones(1_000_000), 0.5) == 0).float() - 0.5
    for apart in (1, 2, 3, 4, 5, 8):
        assert abs((zero[apart:] * zero[:-apart]).mean().item()) < 0.002  # 8 standard deviations


def test_gradient_sees_the_same_mask() -> None:
    torch.manual_seed(5)
    x = torch.randn(7, 11, 3, dtype=torch.float64, requires_grad=True)
    y = dropout(x, 0.3)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x.detach(), y.detach(), rtol=0, atol=0)


def test_nothing_is_dropped_in_evaluation_or_at_zero() -> None:
    x = torch.randn(5, 3)
    assert Dropout(0.5).eval()(x) is x
    assert dropout(x, 0.0) is x


def test_same_seed_drops_the_same() -> None:
    masks = []
    for _ in range(2):
        torch.manual_seed(6)
        masks.append(dropout(torch.ones(5, 13), 0.4))
    assert torch.equal(*masks)
