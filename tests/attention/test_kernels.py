"""Every kernel against attention as it is defined, and the choice among kernels.

A kernel either gives the reference's output and gradients or refuses and says why; each test below asks for one or the
other, so that a new kernel is tested with no edit.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mingpt.attention import kernels
from mingpt.attention.kernels import AUTO, KERNELS, Kernel, Need, choose, explain, flex
from mingpt.attention.masks import CAUSAL, FULL, MASKS, Mask, sliding_window
from mingpt.attention.positions import POSITIONS
from mingpt.attention.scores import SCORES, Score
from mingpt.errors import UsageError
from mingpt.model import GPT

CPU = torch.device("cpu")
HEADS = [(1, 1), (3, 3), (4, 2), (3, 1)]
WINDOWS: list[int | str] = [1, 2, 3, 16, "N", "N+5"]
BIASES = ["none", *(name for name in POSITIONS if POSITIONS[name].has_bias)]
every_kernel = pytest.mark.parametrize("name", KERNELS)
every_other = pytest.mark.parametrize("name", [name for name in KERNELS if name != "reference"])


def score_of(name: str, heads: int, width: int) -> Score:
    torch.manual_seed(1)
    score = SCORES[name](SimpleNamespace(n_query_head=heads, head_width=width)).double()
    for parameter in score.parameters():
        nn.init.normal_(parameter)
    return score


def bias_of(position: str, heads: int) -> Any:
    code = POSITIONS[position](SimpleNamespace(n_embd=2 * heads, n_query_head=heads, block_size=9))
    return code.bias if code.has_bias else None


def need_of(q: Tensor, k: Tensor, mask: Mask = CAUSAL, score: str = "scaled_dot", **more: Any) -> Need:
    sizes = {"queries": q.shape[-2], "keys": k.shape[-2], "width": q.shape[-1], "device": q.device, "dtype": q.dtype}
    return Need(mask=mask, score=score_of(score, q.shape[1], q.shape[-1]), **sizes | more)


def drawn(b: int, h: int, g: int, t: int, s: int, d: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(b + h + g + t + s + d)
    shapes = ((b, h, t, d), (b, g, s, d), (b, g, s, d))
    q, k, v = (torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes)
    return q, k, v


def refuses_by_name(name: str, need: Need) -> bool:
    """Whether kernel `name` refuses; it must then say so of both itself and the need, and not serve by accident."""
    if reason := KERNELS[name].refuses(need):
        with pytest.raises(UsageError, match=f"model.kernel={name}: can't serve ") as refused:
            choose(name, need)
        assert need.described() in str(refused.value)
        assert reason in str(refused.value)
    return bool(reason)


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


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("heads", HEADS, ids=str)
@every_other
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
def test_a_window_of_the_whole_length_is_causal(name: str, n: int, beyond: int) -> None:
    inputs = drawn(3, 6, 2, n, n)
    windowed = need_of(*inputs[:2], sliding_window(n + beyond))
    assert_same(name, inputs, windowed, (KERNELS["reference"], replace(windowed, mask=CAUSAL)))


@pytest.mark.parametrize("position", BIASES)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("mask", [*MASKS, "window=3"])
@every_other
def test_kernel_serves_score_mask_position_and_heads_as_the_reference_or_refuses(
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
def test_keys_from_a_ring_give_the_same_in_any_order(name: str, window: int | None, score: str, position: str) -> None:
    q, k, v = drawn(3, 6, 2, 2, 7)
    mask, bias = sliding_window(window) if window else CAUSAL, bias_of(position, 6)
    order = torch.tensor([4, 5, 6, 0, 1, 2, 3])
    straight = need_of(q, k, mask, score, bias=bias)
    turned = replace(straight, keys_at=order, query_at=5)
    reference = KERNELS["reference"].attend(q, k, v, straight)[0]
    if not refuses_by_name(name, turned):
        found = KERNELS[name].attend(q, k[:, :, order], v[:, :, order], turned)[0]
        torch.testing.assert_close(found, reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sees", [lambda i, j: (i - j) % 2 == 0, lambda i, j: (i >= j) & (i // 3 == j // 3)])
@every_other
def test_a_mask_of_ones_own_is_kept_or_refused(name: str, sees: Callable[[Tensor, Tensor], Tensor]) -> None:
    inputs = drawn(3, 6, 2, 7, 7)
    assert_same(name, inputs, need_of(*inputs[:2], Mask(sees, causal=False)))
    assert_same(name, inputs, need_of(*inputs[:2], Mask(sees, causal=False) & sliding_window(3)))


@pytest.mark.parametrize("mask", [CAUSAL, sliding_window(8)], ids=["causal", "window"])
@every_kernel
def test_dropout_drops_weights_and_keeps_their_mean_or_is_refused(name: str, mask: Mask) -> None:
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
def test_short_numbers_cost_their_rounding_and_no_more(name: str, window: int | None, dtype: torch.dtype) -> None:
    inputs = drawn(2, 4, 2, 70, 70, 8)
    short = tuple(x.detach().to(dtype).requires_grad_() for x in inputs)
    need = need_of(*short[:2], sliding_window(window) if window else CAUSAL)
    if refuses_by_name(name, need):
        return
    asked = replace(need, dtype=torch.float64)
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
def test_flex_without_its_compiler_equals_the_reference(monkeypatch: pytest.MonkeyPatch, mask: str, score: str) -> None:
    """Its rule, scale and heads, on any machine; the kernel that is made of them needs CUDA."""
    monkeypatch.setattr(flex, "_compiled", lambda: torch.nn.attention.flex_attention.flex_attention)
    rule = MASKS[mask] if mask in MASKS else sliding_window(3)
    for heads in HEADS:
        q, k, v = (x.detach() for x in drawn(3, *heads, 7, 7))
        need = need_of(q, k, rule, score)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
            found, right = (KERNELS[name].attend(q, k, v, need)[0] for name in ("flex", "reference"))
        torch.testing.assert_close(found, right, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in KERNELS if name != "flex"])
def test_kernel_serves_nothing_here(name: str) -> None:
    inputs = drawn(2, 4, 2, 9, 9)
    assert assert_same(name, inputs, need_of(*inputs[:2], sliding_window(3)))


# -- the choice


def asked(n: int, mask: Mask, score: str = "scaled_dot", device: str = "cpu", **more: Any) -> Need:
    sizes = {"queries": n, "keys": n, "width": 16, "device": torch.device(device), "dtype": torch.float32}
    return Need(mask=mask, score=score_of(score, 2, 16), **sizes | more)


@pytest.mark.parametrize(
    ("need", "chosen"),
    [
        (asked(4096, sliding_window(256)), "banded"),
        (asked(4096, sliding_window(256), dropout_p=0.1), "banded"),
        (asked(4096, sliding_window(2048)), "sdpa"),
        (asked(128, sliding_window(16)), "sdpa"),
        (asked(4096, CAUSAL), "sdpa"),
        (asked(4096, FULL), "sdpa"),
        (asked(4096, sliding_window(256), bias=bias_of("alibi", 2)), "sdpa"),
        (asked(4096, sliding_window(256), queries=1), "sdpa"),
        (asked(4096, sliding_window(256), "additive"), "reference"),
        (asked(4096, sliding_window(256), "linear_concat"), "banded"),
        (asked(4096, sliding_window(256), device="cuda"), "flex"),
        (asked(4096, sliding_window(256), device="cuda", dropout_p=0.1), "sdpa"),
        (asked(4096, sliding_window(256), device="cuda", width=8), "sdpa"),
        (asked(4096, sliding_window(256), device="cuda", dtype=torch.float64), "sdpa"),
        (asked(128, CAUSAL, dropout_p=0.1), "reference"),
        (asked(4096, CAUSAL, device="cuda"), "sdpa"),
    ],
    ids=lambda value: value.described() if isinstance(value, Need) else value,
)
def test_auto_takes_the_first_that_serves_and_is_worth_it_and_says_why_not_the_others(need: Need, chosen: str) -> None:
    assert choose(AUTO, need) is KERNELS[chosen]
    told = explain(AUTO, need)
    assert told.pop("chosen") == chosen
    assert told.pop("for") == need.described()
    order = [kernel.name for kernel in kernels.preferred()]
    assert list(told) == order[: order.index(chosen)]
    for name, reason in told.items():
        assert reason
        assert reason == (KERNELS[name].refuses(need) or KERNELS[name].not_worth(need))


def test_auto_knows_every_kernel_and_ends_with_one_that_serves_all() -> None:
    assert len({KERNELS[name].rank for name in KERNELS}) == len(KERNELS) == len(kernels.preferred())
    last = kernels.preferred()[-1]
    for score, position, mask in product(SCORES, POSITIONS, (*(MASKS[name] for name in MASKS), sliding_window(3))):
        need = asked(9, mask, score, bias=bias_of(position, 2), dropout_p=0.1, queries=2)
        assert last.refuses(need) is None
        assert last.not_worth(need) is None


@every_kernel
def test_one_asked_for_by_name_is_taken_or_refused_never_replaced(name: str) -> None:
    for mask, n in product((CAUSAL, FULL, sliding_window(3)), (7, 4096)):
        need = asked(n, mask)
        if not refuses_by_name(name, need):
            assert choose(name, need) is KERNELS[name]
            assert explain(name, need) == {"chosen": name, "for": need.described()}


@pytest.mark.parametrize(
    ("name", "need", "reason"),
    [
        ("banded", asked(9, CAUSAL), "causal masks with a window"),
        ("banded", asked(9, FULL), "causal masks with a window"),
        ("banded", asked(9, sliding_window(3), "additive"), "scores that are a dot product"),
        ("banded", asked(9, sliding_window(3), bias=bias_of("alibi", 2)), "no position bias"),
        ("banded", asked(9, sliding_window(3), queries=1), "whole sequences, not a cache"),
        ("sdpa", asked(9, CAUSAL, "additive"), "scores that are a dot product"),
        ("flex", asked(9, CAUSAL), "CUDA alone"),
        ("flex", asked(9, CAUSAL, device="cuda", dropout_p=0.1), "no dropout"),
        ("flex", asked(9, CAUSAL, device="cuda", width=8), "heads of width 16 or more"),
        ("flex", asked(9, CAUSAL, device="cuda", dtype=torch.float64), "float32 and shorter"),
        ("sdpa", asked(9, sliding_window(3), "additive", queries=1), "scores that are a dot product"),
    ],
)
def test_a_refusal_names_kernel_need_and_reason(name: str, need: Need, reason: str) -> None:
    assert refuses_by_name(name, need)
    assert reason in (KERNELS[name].refuses(need) or "")


def test_a_name_that_is_no_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model.kernel=flax: must be one of .*did you mean 'flex'"):
        choose("flax", asked(7, CAUSAL))


# -- inside a model


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("position", POSITIONS)
@every_other
def test_a_model_is_the_same_function_with_every_kernel_that_serves_it(
    gpt: Callable[..., GPT], name: str, position: str, score: str, window: int | None
) -> None:
    ids = torch.randint(11, (3, 7), generator=torch.Generator().manual_seed(0))
    settings: dict[str, Any] = {"position": position, "score": score, "window": window, "n_kv_head": 2}
    models = [gpt(**settings, kernel=kernel) for kernel in (name, "reference")]
    try:
        outputs = [model(ids, ids) for model in models]
    except UsageError as refused:
        assert f"model.kernel={name}: can't serve" in str(refused)  # noqa: PT017
        return
    torch.testing.assert_close(outputs[0].logits, outputs[1].logits, rtol=0, atol=1e-11)
    for output in outputs:
        output.loss.backward()
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-9)
