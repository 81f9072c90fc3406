"""Which kernel serves a need: the fastest that can, the one that was asked for, or a refusal with its reason."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from needs import SERVING, bias_of, every_other, refuses_by_name, score_of

from mingpt.core.errors import UsageError
from mingpt.model import GPT
from mingpt.models.attention import kernels
from mingpt.models.attention.kernels import AUTO, KERNELS, Need, choose, explain, flex
from mingpt.models.attention.masks import CAUSAL, FULL, MASKS, Mask, sliding_window
from mingpt.models.attention.positions import POSITIONS
from mingpt.models.attention.scores import SCORES

# -- the choice


def asked(n: int, mask: Mask, score: str = "scaled_dot", device: str = "cpu", **more: Any) -> Need:
    sizes = {"queries": n, "keys": n, "width": 16, "device": torch.device(device), "dtype": torch.float32}
    return Need(mask=mask, score=score_of(score, 2, 16), **sizes | more)


@pytest.mark.parametrize(
    ("need", "chosen"),
    [
        (asked(4096, sliding_window(256)), "banded"),
        (asked(4096, sliding_window(256), dropout_p=0.1), "banded"),
        (asked(4096, sliding_window(256), dtype=torch.float64), "banded"),
        (asked(4096, sliding_window(512)), "banded"),
        (asked(4096, sliding_window(513)), "chunked_sdpa"),
        (asked(4096, sliding_window(2048)), "chunked_sdpa"),
        (asked(4096, sliding_window(2048), "linear_concat"), "chunked_sdpa"),
        (asked(4096, sliding_window(1024), dropout_p=0.1), "banded"),
        (asked(4096, sliding_window(2048), dropout_p=0.1), "reference"),
        (asked(4096, sliding_window(2048), bias=bias_of("alibi", 2)), "sdpa"),
        (asked(4096, sliding_window(2048), device="cuda", dropout_p=0.1), "sdpa"),
        (asked(1024, sliding_window(256)), "banded"),
        (asked(1024, sliding_window(257)), "chunked_sdpa"),
        (asked(1023, sliding_window(512)), "sdpa"),
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
        assert reason == (KERNELS[name].unsupported(need) or KERNELS[name].slower(need))


def test_auto_knows_every_kernel_and_ends_with_one_that_serves_all() -> None:
    assert len({KERNELS[name].rank for name in KERNELS}) == len(KERNELS) == len(kernels.preferred())
    last = kernels.preferred()[-1]
    for score, position, mask in product(SCORES, POSITIONS, (*(MASKS[name] for name in MASKS), sliding_window(3))):
        need = asked(9, mask, score, bias=bias_of(position, 2), dropout_p=0.1, queries=2)
        assert last.unsupported(need) is None
        assert last.slower(need) is None


def test_kernels_that_serve_nothing_on_the_cpu_say_so_and_serve_a_gpu() -> None:
    for name in set(KERNELS) - set(SERVING):
        assert refuses_by_name(name, asked(4096, sliding_window(256)))
        assert "CUDA" in (KERNELS[name].unsupported(asked(4096, sliding_window(256))) or "")
        assert KERNELS[name].unsupported(asked(4096, sliding_window(256), device="cuda")) is None


@pytest.mark.parametrize("name", KERNELS)
def test_one_asked_for_by_name_is_taken_or_rejected_never_replaced(name: str) -> None:
    for mask, n in product((CAUSAL, FULL, sliding_window(3)), (7, 4096)):
        need = asked(n, mask)
        if not refuses_by_name(name, need):
            assert choose(name, need) is KERNELS[name]
            assert explain(name, need) == {"chosen": name, "for": need.described()}


@pytest.mark.parametrize(
    ("name", "need", "reason"),
    [
        ("banded", asked(9, CAUSAL), "causal masks with a model.window"),
        ("banded", asked(9, FULL), "causal masks with a model.window"),
        ("banded", asked(9, sliding_window(3), "additive"), "scores that are a dot product"),
        ("banded", asked(9, sliding_window(3), bias=bias_of("alibi", 2)), "no position bias"),
        ("banded", asked(9, sliding_window(3), queries=1), "full sequences, not a KV cache"),
        ("chunked_sdpa", asked(9, CAUSAL), "causal masks with a model.window"),
        ("chunked_sdpa", asked(9, sliding_window(3), device="cuda"), "the fused kernel of the CPU"),
        ("chunked_sdpa", asked(9, sliding_window(3), "additive"), "scores that are a dot product"),
        ("chunked_sdpa", asked(9, sliding_window(3), bias=bias_of("alibi", 2)), "no position bias"),
        ("chunked_sdpa", asked(9, sliding_window(3), dropout_p=0.1), "no dropout"),
        ("chunked_sdpa", asked(9, sliding_window(3), queries=1), "full sequences, not a KV cache"),
        ("sdpa", asked(9, CAUSAL, "additive"), "scores that are a dot product"),
        ("flex", asked(9, CAUSAL), "CUDA only"),
        ("flex", asked(9, CAUSAL, device="cuda", dropout_p=0.1), "no dropout"),
        ("flex", asked(9, CAUSAL, device="cuda", width=8), "heads of width 16 or more"),
        ("flex", asked(9, CAUSAL, device="cuda", dtype=torch.float64), "float32 and shorter"),
        ("sdpa", asked(9, sliding_window(3), "additive", queries=1), "scores that are a dot product"),
    ],
)
def test_a_rejection_names_kernel_need_and_reason(name: str, need: Need, reason: str) -> None:
    assert refuses_by_name(name, need)
    assert reason in (KERNELS[name].unsupported(need) or "")


def test_a_name_that_is_no_kernel_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"model.kernel=flax: must be one of .*did you mean 'flex'"):
        choose("flax", asked(7, CAUSAL))


# -- inside a model


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("position", POSITIONS)
@every_other
@pytest.mark.thin
def test_a_model_is_the_same_function_with_every_kernel_that_serves_it(
    gpt: Callable[..., GPT], name: str, position: str, score: str, window: int | None
) -> None:
    ids = torch.randint(11, (3, 7), generator=torch.Generator().manual_seed(0))
    settings: dict[str, Any] = {"position": position, "score": score, "window": window, "n_kv_head": 2}
    models = [gpt(**settings, kernel=kernel) for kernel in (name, "reference")]
    try:
        outputs = [model(ids, ids) for model in models]
    except UsageError as refused:
        assert f"model.kernel={name}: doesn't support" in str(refused)  # noqa: PT017
        return
    torch.testing.assert_close(outputs[0].logits, outputs[1].logits, rtol=0, atol=1e-11)
    for output in outputs:
        output.loss.backward()
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-9)


def test_tiles_are_given_where_nobody_measured_them_or_divide_no_block() -> None:
    hopper = (9, 0)

    def asked_of(card: tuple[int, int] | None, window: int = 512, **more: Any) -> dict[str, int] | None:
        how = {"device": "cuda", "width": 64, "dtype": torch.bfloat16, **more}
        return flex.tiles(card, asked(4096, sliding_window(window), **how))

    given = asked_of(hopper)
    assert given is not None
    assert all(128 % size == 0 for name, size in given.items() if "BLOCK" in name)  # of a block mask's own blocks
    others = asked_of((8, 0)), asked_of(None), asked_of(hopper, 2048), asked_of(hopper, width=32)
    assert others == (None,) * 4
    assert asked_of(hopper, dtype=torch.float32) is None
