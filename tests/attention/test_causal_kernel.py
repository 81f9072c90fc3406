"""The kernel against attention written out, and the cache that feeds it."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from mingpt.attention.cache import KeyValueCache
from mingpt.attention.kernels import sdpa


def written_out(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Query by query: the softmax over the keys that it may see, each head with its own key/value head."""
    (b, h, t, d), (_, g, s, _) = q.shape, k.shape
    rows = []
    for row, head, i in product(range(b), range(h), range(t)):
        keys, values = (x[row, head // (h // g), : i + s - t + 1] for x in (k, v))
        rows.append(torch.softmax(keys @ q[row, head, i] / math.sqrt(d), 0) @ values)
    return torch.stack(rows).reshape(b, h, t, d)


@pytest.mark.parametrize("heads", [(6, 6), (6, 3), (6, 2), (6, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("lengths", [(1, 1), (2, 2), (5, 5), (1, 5), (2, 5), (4, 5)], ids=str)
def test_kernel_equals_attention_written_out(heads: tuple[int, int], lengths: tuple[int, int]) -> None:
    (h, g), (t, s) = heads, lengths
    generator = torch.Generator().manual_seed(h * g + t)
    q, k, v = (
        torch.randn(3, heads, length, 7, dtype=torch.float64, generator=generator).requires_grad_()
        for heads, length in ((h, t), (g, s), (g, s))
    )
    y, expected = sdpa.attend(q, k, v), written_out(q, k, v)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    weights = torch.randn(y.shape, dtype=torch.float64, generator=generator)
    for found, right in zip(*(torch.autograd.grad((o * weights).sum(), (q, k, v)) for o in (y, expected)), strict=True):
        torch.testing.assert_close(found, right, rtol=0, atol=1e-10)


def test_dropout_drops_weights_and_keeps_their_mean() -> None:
    torch.manual_seed(3)
    q, k = torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 8, 2)
    v = torch.eye(8)[None, None]  # so that the output is the weights, each 1/8 kept as 1/4 or dropped
    draws = torch.cat([sdpa.attend(q, k, v, 0.5) for _ in range(2000)])
    assert set(draws.flatten().tolist()) == {0.0, 0.25}
    assert draws.mean().item() == pytest.approx(1 / 8, rel=0.05)


def test_cache_returns_all_that_was_put_in_and_refuses_what_has_no_room() -> None:
    k, v = torch.randn(2, 3, 2, 5, 7, dtype=torch.float64).unbind()
    cache = KeyValueCache((3, 2, 5, 7), torch.float64, torch.device("cpu"))
    for start, stop in ((0, 1), (1, 3), (3, 5)):
        keys, values = cache.extend(k[:, :, start:stop], v[:, :, start:stop])
        assert cache.length == stop
        assert torch.equal(keys, k[:, :, :stop])
        assert torch.equal(values, v[:, :, :stop])
    with pytest.raises(ValueError, match=r"6 tokens.*room for 5"):
        cache.extend(k[:, :, :1], v[:, :, :1])
    assert cache.length == 5
    assert torch.equal(cache.keys, k)
