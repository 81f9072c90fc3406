"""Every kernel against attention as it is defined, and the choice among kernels.

A kernel either gives the reference's output and gradients or refuses and says why; each test below asks for one or the
other, so that a new kernel is tested with no edit.
"""

import math
import warnings
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from needs import bias_of, every_kernel, every_other, refuses_by_name, score_of
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mingpt.models.attention.kernels import KERNELS, Kernel, Need, choose
from mingpt.models.attention.masks import CAUSAL, MASKS, Mask, sliding_window
from mingpt.models.attention.positions import POSITIONS
from mingpt.models.attention.scores import SCORES

CPU = torch.device("cpu")
HEADS = [(1, 1), (3, 3), (4, 2), (3, 1)]
WINDOWS: list[int | str] = [1, 2, 3, 16, "N", "N+5"]
BIASES = ["none", *(name for name in POSITIONS if POSITIONS[name].has_bias)]


def need_of(q: Tensor, k: Tensor, mask: Mask = CAUSAL, score: str = "scaled_dot", **more: Any) -> Need:
    sizes = {"queries": q.shape[-2], "keys": k.shape[-2], "width": q.shape[-1], "device": q.device, "dtype": q.dtype}
    return Need(mask=mask, score=score_of(score, q.shape[1], q.shape[-1]), **sizes | more)


def drawn(b: int, h: int, g: int, t: int, s: int, d: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(b + h + g + t + s + d)
    shapes = ((b, h, t, d), (b, g, s, d), (b, g, s, d))
    q, k, v = (torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes)
    return q, k, v


def assert_same(name: str, inputs: tuple[Tensor, ...], need: Need, other: tuple[Kernel, Need] | None = None) -> bool:
    """That kernel `name` gives the reference's output and gradients, or refuses; whether it served."""
    if refuses_by_name(name, need):
        return False
    reference, asked = other or (KERNELS["reference"], need)
    found, right = choose(name, need).attend(*inputs, need)[0], reference.attend(*inputs, asked)[0]
    assert found.isfinite().all()
    assert right.isfinite().all()
    torch.testing.assert_close(found, right, rtol=0, atol=1e-12)
    weights = torch.randn(right.shape, dtype=right.dtype, generator=torch.Generator().manual_seed(0))
    leaves = (*inputs, *need.score.parameters())
    gradients = [torch.autograd.grad((y * weights).sum(), leaves, allow_unused=True) for y in (found, right)]
    for one, two in zip(*gradients, strict=True):
        assert (one is None) == (two is None)
        if one is not None and two is not None:
            torch.testing.assert_close(one, two, rtol=0, atol=1e-10)
    return True


def written_out(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Query by query: the softmax over the keys that it may see, each head with its own key/value head."""
    (b, h, t, d), (_, g, s, _) = q.shape, k.shape
    rows = []
    for row, head, i in product(range(b), range(h), range(t)):
        visible = [j for j in range(s) if 0 <= i + s - t - j < window]
        keys, values = (x[row, head // (h // g), visible] for x in (k, v))
        rows.append(torch.softmax(keys @ q[row, head, i] / math.sqrt(d), 0) @ values)
    return torch.stack(rows).reshape(b, h, t, d)


@pytest.mark.parametrize("heads", [(6, 6), (6, 3), (6, 2), (6, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("lengths", [(1, 1), (2, 2), (5, 5), (1, 5), (2, 5), (4, 5)], ids=str)
@every_kernel
@pytest.mark.thin
def test_kernel_equals_attention_written_out(name: str, heads: tuple[int, int], lengths: tuple[int, int]) -> None:
    (h, g), (t, s) = heads, lengths
    inputs = drawn(3, h, g, t, s, 7)
    for window in (None, 2):
        need = need_of(*inputs[:2], sliding_window(window) if window else CAUSAL)
        if refuses_by_name(name, need):
            continue
        y, expected = KERNELS[name].attend(*inputs, need)[0], written_out(*inputs, window or s)
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
        weights = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        gradients = [torch.autograd.grad((output * weights).sum(), inputs) for output in (y, expected)]
        for found, right in zip(*gradients, strict=True):
            torch.testing.assert_close(found, right, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("texts", "heads", "shown"), [(1, 1, 6), (2, 1, 1), (1, 2, 2), (1, 6, 6)])
def test_lone_shared_head_is_repeated_before_fused_attention_on_the_cpu(texts: int, heads: int, shown: int) -> None:
    """PyTorch's backward pass of one text with one key/value head takes one thread; outputs and gradients stay."""
    inputs, seen = drawn(texts, 6, heads, 5, 5, 8), []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if "flash_attention" in str(func) and "backward" not in str(func):
                seen.append(args[1].shape[1])
            return func(*args, **(kwargs or {}))

    with Watch():
        assert assert_same("sdpa", inputs, need_of(*inputs[:2]))
    assert seen == [shown]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("heads", HEADS, ids=str)
@every_other
@pytest.mark.thin
def test_kernel_equals_the_reference_at_every_edge_of_a_window(
    name: str, heads: tuple[int, int], window: int | str
) -> None:
    beside = {window - 1, window, window + 1} if isinstance(window, int) else set()
    for n, b in product(sorted({1, 2, 257} | beside - {0}), (1, 3)):
        w = window if isinstance(window, int) else n + (5 if window == "N+5" else 0)
        inputs = drawn(b, *heads, n, n)
        assert_same(name, inputs, need_of(*inputs[:2], sliding_window(w)))


@pytest.mark.parametrize("n", [1, 2, 17, 65])
@pytest.mark.parametrize("beyond", [0, 1, 5, 1000])
@every_kernel
@pytest.mark.thin
def test_a_window_of_the_whole_length_is_causal(name: str, n: int, beyond: int) -> None:
    inputs = drawn(3, 6, 2, n, n)
    windowed = need_of(*inputs[:2], sliding_window(n + beyond))
    assert_same(name, inputs, windowed, (KERNELS["reference"], windowed._replace(mask=CAUSAL)))


@pytest.mark.parametrize("position", BIASES)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("mask", [*MASKS, "window=3"])
@every_other
@pytest.mark.thin
def test_kernel_serves_score_mask_position_and_heads_as_the_reference_or_rejects(
    name: str, mask: str, score: str, position: str
) -> None:
    rule = MASKS[mask] if mask in MASKS else sliding_window(3)
    for heads in HEADS:
        inputs = drawn(3, *heads, 7, 7)
        assert_same(name, inputs, need_of(*inputs[:2], rule, score, bias=bias_of(position, heads[0])))


@pytest.mark.parametrize("position", BIASES)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("window", [None, 3])
@every_kernel
@pytest.mark.thin
def test_keys_from_a_ring_give_the_same_in_any_order(name: str, window: int | None, score: str, position: str) -> None:
    q, k, v = drawn(3, 6, 2, 2, 7)
    mask, bias = sliding_window(window) if window else CAUSAL, bias_of(position, 6)
    order = torch.tensor([4, 5, 6, 0, 1, 2, 3])
    straight = need_of(q, k, mask, score, bias=bias)
    turned = straight._replace(keys_at=order, query_at=5)
    reference = KERNELS["reference"].attend(q, k, v, straight)[0]
    if not refuses_by_name(name, turned):
        found = KERNELS[name].attend(q, k[:, :, order], v[:, :, order], turned)[0]
        torch.testing.assert_close(found, reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sees", [lambda i, j: (i - j) % 2 == 0, lambda i, j: (i >= j) & (i // 3 == j // 3)])
@every_other
def test_a_mask_of_ones_own_is_kept_or_rejected(name: str, sees: Callable[[Tensor, Tensor], Tensor]) -> None:
    inputs = drawn(3, 6, 2, 7, 7)
    assert_same(name, inputs, need_of(*inputs[:2], Mask(sees, causal=False)))
    assert_same(name, inputs, need_of(*inputs[:2], Mask(sees, causal=False) & sliding_window(3)))


@pytest.mark.parametrize("mask", [CAUSAL, sliding_window(8)], ids=["causal", "window"])
@every_kernel
def test_dropout_drops_weights_and_keeps_their_mean_or_is_rejected(name: str, mask: Mask) -> None:
    torch.manual_seed(3)
    q, k = torch.zeros(500, 1, 8, 8), torch.zeros(500, 1, 8, 8)
    v = torch.eye(8).expand(500, 1, 8, 8)  # so that the output is the weights; the last row's 1/8 kept as 1/4, or not
    need = need_of(q, k, mask, "dot", dropout_p=0.5)
    if not refuses_by_name(name, need):
        draws = torch.cat([KERNELS[name].attend(q, k, v, need)[0][:, 0, -1] for _ in range(4)])
        assert set(draws.flatten().tolist()) == {0.0, 0.25}
        assert draws.mean().item() == pytest.approx(1 / 8, rel=0.05)
        assert len(draws.unique(dim=0)) > 200  # of 256 patterns: draws differ between rows and calls


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("window", [None, 3, 40])
@every_kernel
@pytest.mark.thin
def test_short_numbers_cost_their_rounding_and_no_more(name: str, window: int | None, dtype: torch.dtype) -> None:
    inputs = drawn(2, 4, 2, 70, 70, 8)
    short = tuple(x.detach().to(dtype).requires_grad_() for x in inputs)
    need = need_of(*short[:2], sliding_window(window) if window else CAUSAL)
    if refuses_by_name(name, need):
        return
    asked = need._replace(dtype=torch.float64)
    outputs = [
        (KERNELS[name].attend(*short, need)[0], short),
        (KERNELS["reference"].attend(*inputs, asked)[0], inputs),
    ]
    rounding = torch.finfo(dtype).eps
    assert outputs[0][0].dtype == dtype
    assert (outputs[0][0].double() - outputs[1][0]).abs().max() < 8 * rounding
    gradients = [torch.autograd.grad(y.double().square().sum(), leaves) for y, leaves in outputs]
    for one, other in zip(*gradients, strict=True):
        assert (one.double() - other).abs().max() < 8 * rounding * other.abs().max()


def test_the_reference_gives_its_weights_rows_that_sum_to_one_over_what_is_seen() -> None:
    inputs = drawn(3, 6, 2, 7, 7)
    y, weights = KERNELS["reference"].attend(*inputs, need_of(*inputs[:2], sliding_window(3)))
    assert weights.shape == (3, 6, 7, 7)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 6, 7, dtype=torch.float64), rtol=0, atol=1e-12)
    lags = torch.arange(7)[:, None] - torch.arange(7)
    assert torch.equal(weights > 0, ((lags >= 0) & (lags < 3)).expand_as(weights))
    torch.testing.assert_close(weights @ inputs[2].repeat_interleave(3, 1), y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("score", [name for name in SCORES if SCORES[name].bilinear])
@pytest.mark.parametrize("mask", [*MASKS, "window=3"])
@pytest.mark.thin
@pytest.mark.usefixtures("compiler_set_up")
def test_flex_without_its_compiler_equals_the_reference(monkeypatch: pytest.MonkeyPatch, mask: str, score: str) -> None:
    """Its rule, scale and heads, on any machine; the kernel that is made of them needs CUDA."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # so that it leaves compiling to others
    rule = MASKS[mask] if mask in MASKS else sliding_window(3)
    for heads in HEADS:
        q, k, v = (x.detach() for x in drawn(3, *heads, 7, 7))
        need = need_of(q, k, rule, score)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
            found, right = (KERNELS[name].attend(q, k, v, need)[0] for name in ("flex", "reference"))
        torch.testing.assert_close(found, right, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in KERNELS if name != "flex"])
def test_every_kernel_listed_serves_here(name: str) -> None:
    inputs = drawn(2, 4, 2, 9, 9)
    assert assert_same(name, inputs, need_of(*inputs[:2], sliding_window(3)))
