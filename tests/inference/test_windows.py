"""Sliding and carried evaluation: each token is a target once, after the context that is stated."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from letters import LETTERS, random_ids

from mingpt.core.errors import UsageError
from mingpt.inference.evaluate import validation_loss
from mingpt.inference.windows import windows
from mingpt.model import GPT, build
from mingpt.models.base import LanguageModel, ModelConfig
from mingpt.models.rnn import RNN

MakeGPT = Callable[..., GPT]
LENGTHS = [2, 3, 7, 8, 9, 12, 13, 14, 15, 16, 22, 50, 57]


@torch.no_grad()
def one_by_one(model: LanguageModel, ids: np.ndarray, context: Callable[[int], int]) -> list[float]:
    """Nats of each token i from the second on, by a pass of its own over the `context(i)` tokens before it."""
    text = torch.from_numpy(ids.astype(np.int64))
    nats = []
    for i in range(1, len(text)):
        logits = model(text[None, i - context(i) : i]).logits[0, -1]
        nats.append(F.cross_entropy(logits, text[i]).item())
    return nats


def context_of(stride: int, block_size: int) -> Callable[[int], int]:
    """Tokens before token i in the first window that has it as a target, windows beginning at 0, stride, ..."""

    def context(i: int) -> int:
        begin = next(start for start in range(0, i, stride) if i <= start + block_size)
        return i - begin

    return context


@pytest.mark.parametrize("stride", range(1, 8))
@pytest.mark.parametrize("length", LENGTHS)
def test_each_token_is_a_target_once_in_the_first_window_that_has_it(length: int, stride: int) -> None:
    ids, place, of = np.arange(length), [], context_of(stride, 7)
    for part in windows(ids, 7, 11, stride=stride):
        assert (np.diff(part.ids) == 1).all()
        place += [(token, token - window[0]) for window in part.ids for token in window[-part.scored :]]
        assert part.targets.tolist() == [token for token, _ in place[len(place) - part.targets.size :]]
    assert place == [(i, of(i)) for i in range(1, length)]
    assert all(context >= min(i, 7 - stride + 1) for i, context in place)


@pytest.mark.parametrize("stride", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("settings", [{}, {"rope": True}], ids=str)
def test_sliding_loss_is_that_of_a_pass_per_token(
    gpt: MakeGPT, settings: dict[str, Any], length: int, stride: int
) -> None:
    model, ids = gpt(**settings), random_ids(length)
    found = validation_loss(model, ids, LETTERS, stride=stride, by_token=True)
    nats = one_by_one(model, ids, context_of(stride, 7))
    assert found.tokens == length - 1
    assert found.by_token is not None
    np.testing.assert_allclose(found.by_token, nats, rtol=1e-11)
    assert found.nats == pytest.approx(np.mean(nats), rel=1e-12)


@pytest.mark.parametrize("length", LENGTHS)
def test_stride_of_a_block_is_the_block_wise_loss(gpt: MakeGPT, length: int) -> None:
    model, ids = gpt(), random_ids(length)
    assert validation_loss(model, ids, LETTERS, stride=7) == validation_loss(model, ids, LETTERS)


@pytest.mark.parametrize("at_once", [1, 20, 8192])
def test_batches_of_windows_change_no_loss(gpt: MakeGPT, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    model, ids = gpt(), random_ids(50)
    whole = validation_loss(model, ids, LETTERS, stride=3)
    monkeypatch.setattr("mingpt.inference.windows.TOKENS_AT_ONCE", at_once)
    assert validation_loss(model, ids, LETTERS, stride=3).nats == pytest.approx(whole.nats, rel=1e-12)


@pytest.mark.parametrize("stride", [0, -1, 8])
def test_stride_outside_a_block_is_rejected(gpt: MakeGPT, stride: int) -> None:
    with pytest.raises(UsageError, match=rf"^stride={stride}: must be 1 to 7, the model's block_size$"):
        validation_loss(gpt(), random_ids(20), LETTERS, stride=stride)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_carried_loss_is_that_of_a_pass_over_all_tokens_before(cell: str, length: int) -> None:
    torch.manual_seed(1)
    model = RNN(ModelConfig(type="rnn", cell=cell, n_layer=2, n_embd=6, block_size=7, vocab_size=11)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.7)
    ids = random_ids(length)
    found = validation_loss(model, ids, LETTERS, carried=True, by_token=True)
    nats = one_by_one(model.eval(), ids, lambda i: i)
    assert found.by_token is not None
    np.testing.assert_allclose(found.by_token, nats, rtol=1e-11)
    assert found.nats == pytest.approx(np.mean(nats), rel=1e-12)
    assert found.tokens == length - 1


def test_ngram_model_carries_its_last_tokens() -> None:
    model, ids = build(ModelConfig(type="ngram", order=4, block_size=3, vocab_size=11), 1), random_ids(60)
    model.fit(random_ids(400))
    found = validation_loss(model, ids, LETTERS, carried=True, verify=False)
    assert found.nats == pytest.approx(np.mean(one_by_one(model, ids, lambda i: i)), rel=1e-6)


def test_gpt_with_windows_in_every_layer_carries_its_cache(gpt: MakeGPT) -> None:
    """Its cache holds the last keys of each layer, so a token sees as far back as its layers' windows reach."""
    model, ids = gpt(window=3, position="none"), random_ids(40)
    found = validation_loss(model, ids, LETTERS, carried=True, by_token=True)
    longer = gpt(window=3, position="none", block_size=40)
    with torch.no_grad():
        text = torch.from_numpy(ids.astype(np.int64))
        nats = F.cross_entropy(longer(text[None, :-1]).logits[0], text[1:], reduction="none")
    np.testing.assert_allclose(found.by_token, nats, rtol=1e-11)


def test_model_without_a_state_past_its_block_carries_none(gpt: MakeGPT) -> None:
    with pytest.raises(UsageError, match=r"^context=carried: GPT keeps no state past block_size; context=block with a"):
        validation_loss(gpt(), random_ids(20), LETTERS, carried=True)


def test_more_context_lowers_the_loss_of_a_model_that_uses_it(gpt: MakeGPT) -> None:
    """A text that repeats itself after 5 tokens, and a bigram table that can't tell: 6-grams need the context."""
    model = build(ModelConfig(type="ngram", order=6, block_size=7, vocab_size=11), 1)
    ids = np.tile(random_ids(30), 9)
    model.fit(ids[:150])
    by_stride = [validation_loss(model, ids[150:], LETTERS, stride=stride, verify=False).nats for stride in (7, 4, 1)]
    assert by_stride == sorted(by_stride, reverse=True)
    assert by_stride[0] > 2 * by_stride[-1]
