"""Positions: what rotary ones keep and depend on, what ALiBi adds, and the numbers of the papers."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from mingpt.models.attention.positions import POSITIONS, RotaryPositionalEmbeddings

WIDTHS = (2, 4, 32, 64)


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(sum(shape)))


def test_first_two_tokens_are_turned_by_m_1_and_2_in_half_split_pairs() -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64).expand(1, 1, 2, 4)
    expected = []
    for m in (1, 2):
        fast, slow = m, m / 100  # m * 10000^(-2i/4) for i = 0, 1; i is paired with i + 2
        expected.append(
            [
                1 * math.cos(fast) - 3 * math.sin(fast),
                2 * math.cos(slow) - 4 * math.sin(slow),
                3 * math.cos(fast) + 1 * math.sin(fast),
                4 * math.cos(slow) + 2 * math.sin(slow),
            ]
        )
    y = RotaryPositionalEmbeddings(4)(x)
    torch.testing.assert_close(y, torch.tensor([[expected]], dtype=torch.float64), rtol=0, atol=1e-15)


def test_base_sets_the_speed_of_the_slow_pair() -> None:
    x = torch.tensor([[[[0.0, 1.0, 0.0, 0.0]]]], dtype=torch.float64)
    y = RotaryPositionalEmbeddings(4, base=16)(x).flatten()
    assert y.tolist() == pytest.approx([0, math.cos(0.25), 0, math.sin(0.25)], abs=1e-15)


@pytest.mark.parametrize("d", WIDTHS)
def test_norm_is_kept(d: int) -> None:
    x = drawn(2, 3, 11, d)
    y = RotaryPositionalEmbeddings(d)(x, 9_990)
    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.parametrize("shift", [1, 17, 10_000])
def test_scores_depend_on_differences_of_position_only(d: int, shift: int) -> None:
    rope = RotaryPositionalEmbeddings(d, rows=13)
    q, k = (torch.nn.functional.normalize(drawn(2, 3, t, d), dim=-1) for t in (5, 7))

    def scores(q_start: int, k_start: int) -> Tensor:
        return rope(q, q_start) @ rope(k, k_start).mT

    torch.testing.assert_close(scores(3 + shift, shift), scores(3, 0), rtol=0, atol=1e-12)
    assert (scores(4, 0) - scores(3, 0)).abs().min() > 1e-9  # and do depend on those


def test_zero_based_positions_would_give_the_same_scores() -> None:
    q, k = drawn(1, 2, 1, 8), drawn(1, 2, 1, 8)
    rope = RotaryPositionalEmbeddings(8)
    torch.testing.assert_close(rope(q) @ rope(k).mT, q @ k.mT, rtol=0, atol=1e-12)
    assert not torch.equal(rope(q), q)  # though the first token is turned


@pytest.mark.parametrize("start", [0, 1, 4, 5, 6, 12])
def test_offset_start_equals_slice_on_both_sides_of_the_kept_table(start: int) -> None:
    x = drawn(2, 3, 13, 4)
    rope = RotaryPositionalEmbeddings(4, rows=5)
    assert torch.equal(rope(x[:, :, start:], start), RotaryPositionalEmbeddings(4)(x)[:, :, start:])
    assert torch.equal(
        rope(x[:, :, start : start + 1], start), RotaryPositionalEmbeddings(4)(x)[:, :, start : start + 1]
    )


def test_longer_call_after_a_shorter_one_and_back() -> None:
    x = drawn(2, 3, 11, 4)
    rope = RotaryPositionalEmbeddings(4, rows=5)
    for t in (3, 11, 5, 1, 6):
        assert torch.equal(rope(x[:, :, :t]), RotaryPositionalEmbeddings(4)(x)[:, :, :t])


def test_batch_equal_to_length_is_not_taken_for_positions() -> None:
    x = drawn(5, 5, 5, 4)
    rope = RotaryPositionalEmbeddings(4, rows=5)
    assert torch.equal(rope(x), torch.cat([rope(row[None]) for row in x]))
    assert torch.equal(rope(x), torch.cat([rope(head[:, None]) for head in x.unbind(1)], dim=1).reshape(5, 5, 5, 4))


def test_nothing_is_saved() -> None:
    rope = RotaryPositionalEmbeddings(4, rows=7)
    rope(drawn(1, 1, 7, 4))
    assert not rope.state_dict()
    assert not list(rope.parameters())
    assert not list(rope.buffers())


def test_a_trip_through_bfloat16_leaves_no_trace() -> None:
    x = drawn(1, 2, 1009, 4)
    rope = RotaryPositionalEmbeddings(4, rows=1009).to(torch.bfloat16)
    in_bfloat16 = rope(x.bfloat16())
    assert in_bfloat16.dtype == torch.bfloat16
    assert torch.equal(rope.double()(x), RotaryPositionalEmbeddings(4)(x))
    # The angles themselves were exact: 1009 in bfloat16 is 1008, one radian off.
    assert (in_bfloat16.double() - rope(x)).abs().max() < 0.02 * x.abs().max()


def test_float32_is_the_rounding_of_float64_far_out() -> None:
    x = drawn(1, 1, 3, 64)
    rope = RotaryPositionalEmbeddings(64)
    torch.testing.assert_close(rope(x.float(), 100_000).double(), rope(x, 100_000), rtol=0, atol=1e-6)


def test_a_table_first_made_without_gradients_serves_training() -> None:
    rope = RotaryPositionalEmbeddings(4, rows=5)
    x = drawn(1, 1, 5, 4)
    with torch.inference_mode():
        rope(x)
    x.requires_grad_()
    rope(x).square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach(), rtol=0, atol=1e-12)  # a rotation keeps the square


@pytest.mark.parametrize("d", [1, 3, 63])
def test_odd_width_is_rejected(d: int) -> None:
    with pytest.raises(ValueError, match=f"d={d}.*even"):
        RotaryPositionalEmbeddings(d)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.thin(3)
def test_gradient(seed: int) -> None:
    b, h, t, half, rows = torch.randint(1, 6, (5,), generator=torch.Generator().manual_seed(seed)).tolist()
    rope = RotaryPositionalEmbeddings(2 * half, rows=rows)
    assert torch.autograd.gradcheck(lambda x: rope(x, seed), drawn(b, h, t, 2 * half).requires_grad_())


# -- ALiBi (Press et al. 2022, section 3)


@pytest.mark.parametrize(
    ("heads", "exponents"),
    [
        (1, [8]),
        (2, [4, 8]),
        (8, [1, 2, 3, 4, 5, 6, 7, 8]),
        (6, [2, 4, 6, 8, 1, 3]),  # those of 4 heads, then every other one of 8
        (3, [4, 8, 2]),
    ],
)
def test_alibi_lowers_scores_by_each_heads_slope_times_the_distance(heads: int, exponents: list[int]) -> None:
    alibi = POSITIONS["alibi"](SimpleNamespace(n_query_head=heads))
    i, j = torch.tensor([[4], [9]]), torch.arange(5)
    expected = [[[-(2.0**-n) * (query - key) for key in range(5)] for query in (4, 9)] for n in exponents]
    assert torch.equal(alibi.bias(i, j), torch.tensor(expected, dtype=torch.float64))
