"""Masks are predicates: what each lets through, what their combinations do, and that a claimed band is the truth."""

import math
from itertools import combinations_with_replacement
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mingpt.data.tokenizers import CharTokenizer
from mingpt.inference.evaluate import validation_loss
from mingpt.inference.generate import Sampling, generate
from mingpt.model import GPT, GroupedQueryAttention
from mingpt.models.attention.layers import AttentionConfig, mask_of
from mingpt.models.attention.masks import CAUSAL, FULL, MASKS, Mask, sliding_window
from mingpt.models.base import ModelConfig

N = 11
RULES: dict[str, Mask] = {
    **{name: MASKS[name] for name in MASKS},
    **{f"window={w}": sliding_window(w) for w in (1, 2, 5, N, N + 3)},
}
EVEN = Mask(lambda i, j: (i - j) % 2 == 0, causal=False)  # no band at all
every_rule = pytest.mark.parametrize("name", RULES)


def seen(mask: Mask, n: int = N) -> Tensor:
    return mask.sees(torch.arange(n)[:, None], torch.arange(n)).expand(n, n)


def by_pairs(rule: Any) -> Tensor:
    return torch.tensor([[bool(rule(i, j)) for j in range(N)] for i in range(N)])


def test_causal_sees_itself_and_the_past_full_sees_all_a_window_counts_its_own() -> None:
    assert torch.equal(seen(CAUSAL), by_pairs(lambda i, j: j <= i))
    assert torch.equal(seen(FULL), by_pairs(lambda i, j: True))
    for w in (1, 2, 5):
        assert torch.equal(seen(sliding_window(w)), by_pairs(lambda i, j: j in range(i - w + 1, i + 1)))  # noqa: B023
    assert seen(sliding_window(4)).sum(1).tolist() == [1, 2, 3] + [4] * (N - 3)


def test_a_window_of_one_sees_itself_alone_and_one_of_all_is_causal() -> None:
    assert torch.equal(seen(sliding_window(1)), torch.eye(N, dtype=torch.bool))
    for w in (N, N + 1, 1000):
        assert torch.equal(seen(sliding_window(w)), seen(CAUSAL))
    assert not torch.equal(seen(sliding_window(N - 1)), seen(CAUSAL))


@every_rule
def test_a_band_is_claimed_only_by_the_rule_that_is_it(name: str) -> None:
    mask = RULES[name]
    assert mask.causal == (not seen(mask).triu(1).any())
    if mask.band is not None:
        assert torch.equal(seen(mask), by_pairs(lambda i, j: 0 <= i - j < mask.band))
        assert mask.causal


@every_rule
def test_every_position_sees_a_key(name: str) -> None:
    assert seen(RULES[name]).any(1).all()


@pytest.mark.parametrize(("one", "other"), list(combinations_with_replacement([*RULES, "even"], 2)))
def test_and_and_or_are_those_of_their_rules_and_keep_their_bands_true(one: str, other: str) -> None:
    a, b = (RULES.get(name, EVEN) for name in (one, other))
    assert torch.equal(seen(a & b), seen(a) & seen(b))
    assert torch.equal(seen(a | b), seen(a) | seen(b))
    for both in (a & b, a | b):
        if both.band is not None:
            assert torch.equal(seen(both), by_pairs(lambda i, j: 0 <= i - j < both.band))  # noqa: B023
        assert not (both.causal and seen(both).triu(1).any())
    assert (a & b).causal == (a.causal or b.causal)


def test_a_window_and_causality_are_a_window() -> None:
    assert (sliding_window(3) & CAUSAL).band == 3
    assert (sliding_window(3) | CAUSAL).band == math.inf
    assert (sliding_window(3) | FULL).band is None


@pytest.mark.parametrize("width", [0, -1])
def test_a_window_below_one_is_rejected(width: int) -> None:
    with pytest.raises(ValueError, match=f"width={width}"):
        sliding_window(width)
    with pytest.raises(ValueError, match=f"model.window={width}: must be at least 1, or null"):
        AttentionConfig(n_embd=8, n_query_head=2, window=width)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"window": 3, "mask": "full"}, "model.window=3.*model.mask=full"),
        ({"mask": "casual"}, "model.mask=casual.*did you mean 'causal'"),
        ({"score": "aditive"}, "model.score=aditive.*did you mean 'additive'"),
        ({"kernel": "band"}, "model.kernel=band.*did you mean 'banded'"),
        ({"score": "linear_concat", "n_query_head": 8}, "model.n_embd=8.*width 2 or more.*linear_concat"),
        ({"window": 2, "window_pattern": ""}, "model.window_pattern='': must be letters w and f"),
        ({"window": 2, "window_pattern": "wx"}, "model.window_pattern=wx: must be letters w and f"),
        ({"window_pattern": "wf"}, "model.window_pattern=wf: names the layers with model.window, but that is null"),
    ],
    ids=str,
)
def test_wrong_setting_is_rejected_by_name_value_and_rule(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GPT(ModelConfig(**{"n_embd": 8, "n_query_head": 2} | changed))


@pytest.mark.parametrize(
    ("pattern", "windows"),
    [(None, [2] * 5), ("w", [2] * 5), ("f", [None] * 5), ("wwf", [2, 2, None, 2, 2]), ("fw", [None, 2, None, 2, None])],
)
def test_the_pattern_says_which_layers_have_the_window(pattern: str | None, windows: list[int | None]) -> None:
    model = GPT(ModelConfig(n_layer=5, n_embd=8, window=2, window_pattern=pattern, rope=True, vocab_size=5))
    assert [block.attention.window for block in model.blocks] == windows
    assert [block.attention.mask.band for block in model.blocks] == [w or math.inf for w in windows]
    assert model.unbounded == (None not in windows)
    assert model.autoregressive


@pytest.mark.parametrize("name", [name for name in MASKS if not MASKS[name].causal])
def test_a_model_that_sees_the_future_says_so_and_neither_generates_nor_is_evaluated(name: str) -> None:
    torch.manual_seed(0)
    model = GPT(ModelConfig(n_layer=2, n_embd=8, block_size=7, vocab_size=5, mask=name)).eval()
    assert not model.autoregressive
    ids = torch.tensor([[0, 1, 2, 3]])
    assert not torch.equal(model(ids).logits[:, 0], model(torch.tensor([[0, 1, 2, 4]])).logits[:, 0])
    with pytest.raises(ValueError, match="GPT isn't autoregressive, so it can't generate text"):
        generate(model, ids, 1, Sampling())
    with pytest.raises(ValueError, match="choose an autoregressive model"):
        validation_loss(model, np.array([0, 1, 2]), CharTokenizer("abcde"))


def test_a_full_mask_is_the_same_whichever_end_comes_first() -> None:
    config = {"n_embd": 12, "n_query_head": 3, "n_kv_head": 1, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "block_size": 5}
    layer = GroupedQueryAttention(SimpleNamespace(**config, rope=False, mask="full")).double()
    x = torch.randn(2, 5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x.flip(1))[0], layer(x)[0].flip(1), rtol=0, atol=1e-12)


@pytest.fixture
def sparse(monkeypatch: pytest.MonkeyPatch) -> str:
    """A mask that is causal and no band: every other earlier position."""
    monkeypatch.setitem(MASKS.entries, "sparse", CAUSAL & EVEN)
    return "sparse"


@pytest.mark.parametrize("window", [None, 3, 4])
def test_a_causal_mask_that_is_no_band_is_read_the_same_from_a_cache(sparse: str, window: int | None) -> None:
    torch.manual_seed(0)
    layer = GroupedQueryAttention(
        SimpleNamespace(n_embd=12, n_query_head=3, n_kv_head=1, rope=True, mask=sparse, window=window, block_size=9)
    ).double()
    x = torch.randn(2, 9, 12, dtype=torch.float64)
    whole, state = layer(x)[0], layer.new_state(2, 9)
    steps = torch.cat([layer(part, state)[0] for part in x.split([4, 1, 1, 2, 1], dim=1)], dim=1)
    torch.testing.assert_close(steps, whole, rtol=0, atol=1e-12)
    weights = layer.eval().mask.sees(torch.arange(9)[:, None], torch.arange(9))
    assert weights.sum() < 9 * 5


def test_a_window_is_kept_beside_a_mask_that_has_a_band_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MASKS.entries, "near", sliding_window(5))
    for window, band in ((None, 5), (3, 3), (8, 5)):
        config = AttentionConfig(n_embd=8, n_query_head=2, mask="near", window=window)
        assert mask_of(config).band == band


def test_a_ring_is_never_smaller_than_the_window() -> None:
    layer = GroupedQueryAttention(
        SimpleNamespace(n_embd=8, n_query_head=2, n_kv_head=1, rope=True, window=20, block_size=99)
    )
    state = layer.new_state(1, 7)
    layer(torch.zeros(1, 7, 8), state)
    with pytest.raises(ValueError, match="8 tokens: this cache has room for 7"):
        layer(torch.zeros(1, 1, 8), state)


def test_no_cache_is_made_for_a_mask_that_reads_later_tokens() -> None:
    layer = GroupedQueryAttention(
        SimpleNamespace(n_embd=8, n_query_head=2, n_kv_head=1, rope=True, mask="full", block_size=9)
    )
    with pytest.raises(ValueError, match="this layer's mask is not causal"):
        layer.new_state(1, 9)
