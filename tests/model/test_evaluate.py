"""Held-out loss: every target once, in order, of a model that may be judged so."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mingpt import evaluate
from mingpt.evaluate import held_out_loss
from mingpt.model import GPT
from mingpt.text.tokenizers import CharTokenizer

MakeGPT = Callable[..., GPT]
LETTERS = CharTokenizer("abcdefghijk")  # 11, as the tiny model's vocabulary; one byte each


def random_ids(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(11, size=length).astype(np.uint8)


def counting(length: int) -> tuple[np.ndarray, CharTokenizer]:
    """A text whose every token is its own position."""
    return np.arange(length, dtype=np.uint8), CharTokenizer(chr(0x100 + i) for i in range(length))


def blocks_read(model: GPT) -> list[list[int]]:
    """Filled with each block of inputs that `model` is given from now on."""
    seen: list[list[int]] = []
    model.register_forward_hook(lambda module, inputs, output: seen.extend(inputs[0].tolist()))
    return seen


@torch.no_grad()
def target_by_target(model: GPT, ids: np.ndarray) -> list[float]:
    text, block = torch.from_numpy(ids.astype(np.int64)), model.config.block_size
    nats = []
    for i in range(1, len(text)):
        start = (i - 1) // block * block
        nats.append(F.cross_entropy(model(text[None, start:i]).logits[0, -1], text[i]).item())
    return nats


@pytest.mark.parametrize("length", [2, 3, 7, 8, 9, 14, 15, 16, 50, 57])
@pytest.mark.parametrize("at_once", [1, 20, 8192])
def test_every_target_counts_once_and_the_short_last_block_too(
    gpt: MakeGPT, monkeypatch: pytest.MonkeyPatch, length: int, at_once: int
) -> None:
    monkeypatch.setattr(evaluate, "TOKENS_AT_ONCE", at_once)
    model, ids = gpt(), random_ids(length)
    found, nats = held_out_loss(model, ids, LETTERS), target_by_target(model, ids)
    assert found.tokens == length - 1
    assert found.nats == pytest.approx(sum(nats) / len(nats), rel=1e-12)
    assert found.bits_per_byte == pytest.approx(found.nats / math.log(2), rel=1e-12)
    assert found.perplexity == pytest.approx(math.exp(found.nats), rel=1e-12)


def test_blocks_are_read_in_order_without_overlap(gpt: MakeGPT) -> None:
    ids, tokenizer = counting(31)
    model = gpt(vocab_size=31)
    seen = blocks_read(model)
    held_out_loss(model, ids, tokenizer)
    assert [token for block in seen for token in block] == list(range(30))
    assert [len(block) for block in seen] == [7, 7, 7, 7, 2]


def test_bits_per_byte_counts_the_utf8_of_the_targets(gpt: MakeGPT) -> None:
    tokenizer = CharTokenizer("abcdefghé中🤗")  # the last three take 2, 3 and 4 bytes
    ids = np.array([10, 0, 8, 9, 10], dtype=np.uint8)  # the first token is no target
    found = held_out_loss(gpt(), ids, tokenizer)
    assert found.bits_per_byte * (1 + 2 + 3 + 4) == pytest.approx(found.nats * 4 / math.log(2), rel=1e-12)


@pytest.mark.parametrize("at_most", [1, 6, 7, 13, 14, 21, 50, 69, 70, 71, 72, 73, 1000])
@pytest.mark.parametrize("length", [71, 72, 74])
def test_at_most_reads_that_many_targets_in_whole_blocks_spread_evenly(gpt: MakeGPT, length: int, at_most: int) -> None:
    ids, tokenizer = counting(length)
    model = gpt(vocab_size=length)
    seen = blocks_read(model)
    found = held_out_loss(model, ids, tokenizer, at_most=at_most)
    assert sum(map(len, seen)) == found.tokens
    if at_most >= length - 1:
        assert found.tokens == length - 1
        return
    assert found.tokens == max(at_most // 7, 1) * 7  # one block at least
    starts = np.array([block[0] for block in seen])
    assert set(starts % 7) == {0}
    if len(starts) > 1:
        assert (starts[0], starts[-1]) == (0, 63)
        gaps = np.diff(starts) // 7
        assert gaps.min() >= 1
        assert gaps.max() - gaps.min() <= 1


def test_a_part_of_the_text_has_the_loss_of_the_blocks_that_were_read(gpt: MakeGPT) -> None:
    model, ids = gpt(), random_ids(71)
    found, nats = held_out_loss(model, ids, LETTERS, at_most=21), target_by_target(model, ids)
    read = [nats[start : start + 7] for start in (0, 28, 63)]
    assert found.nats == pytest.approx(np.mean(read), rel=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_meanwhile_and_nothing_else_changes(gpt: MakeGPT, training: bool) -> None:
    dropping = gpt(embd_pdrop=0.5, attn_pdrop=0.5, resid_pdrop=0.5).train(training)
    before = {k: v.clone() for k, v in dropping.state_dict().items()}
    ids = random_ids(50)
    assert held_out_loss(dropping, ids, LETTERS) == held_out_loss(gpt(), ids, LETTERS)
    assert {module.training for module in dropping.modules()} == {training}
    assert all(torch.equal(v, before[k]) for k, v in dropping.state_dict().items())
    assert all(p.grad is None for p in dropping.parameters())


def test_random_state_is_left_alone(gpt: MakeGPT) -> None:
    model = gpt(resid_pdrop=0.5).train()
    before = torch.get_rng_state()
    held_out_loss(model, random_ids(50), LETTERS)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_failure_half_way_leaves_the_model_training(gpt: MakeGPT) -> None:
    model = gpt().train()
    with pytest.raises(IndexError):
        held_out_loss(model, np.array([1, 2, 11], dtype=np.uint8), LETTERS)  # 11 is no token
    assert model.training


def test_a_model_that_sees_the_future_is_refused_with_reason_and_remedy(
    gpt: MakeGPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GPT, "autoregressive", False)
    with pytest.raises(ValueError, match=r"GPT sees the tokens that it predicts.*choose an autoregressive model"):
        held_out_loss(gpt(), random_ids(9), LETTERS)
