"""Held-out loss: every target once, in order, of a model that may be judged so; and what one that fills gaps has."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from letters import LETTERS, random_ids

from mingpt.data.tokenizers import ByteTokenizer, CharTokenizer
from mingpt.distributed.threads import cpu_threads
from mingpt.inference import evaluate, windows
from mingpt.inference.evaluate import pseudo_likelihood, validation_loss
from mingpt.model import GPT
from mingpt.models.base import ModelConfig
from mingpt.models.rnn import RNN, BidirectionalRNN

MakeGPT = Callable[..., GPT]


def counting(length: int) -> tuple[np.ndarray, CharTokenizer]:
    """A text whose every token is its own position."""
    return np.arange(length, dtype=np.uint8), CharTokenizer(chr(0x100 + i) for i in range(length))


@pytest.fixture
def blocks_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[GPT], list[list[int]]]:
    """blocks_read(model) -> filled with each block of inputs that `model` is scored on from now on."""

    def start(model: GPT) -> list[list[int]]:
        seen: list[list[int]] = []
        model.register_forward_hook(lambda module, inputs, output: seen.extend(inputs[0].tolist()))
        return seen

    monkeypatch.setattr(evaluate, "require_autoregressive", lambda model, **where: None)
    return start


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
@pytest.mark.thin
def test_every_target_counts_once_and_the_short_last_block_too(
    gpt: MakeGPT, monkeypatch: pytest.MonkeyPatch, length: int, at_once: int
) -> None:
    monkeypatch.setattr(windows, "TOKENS_AT_ONCE", at_once)
    model, ids = gpt(), random_ids(length)
    found, nats = validation_loss(model, ids, LETTERS), target_by_target(model, ids)
    assert found.tokens == length - 1
    assert found.nats == pytest.approx(sum(nats) / len(nats), rel=1e-12)
    assert found.bits_per_byte == pytest.approx(found.nats / math.log(2), rel=1e-12)
    assert found.perplexity == pytest.approx(math.exp(found.nats), rel=1e-12)


def test_blocks_are_read_in_order_without_overlap(gpt: MakeGPT, blocks_read: Any) -> None:
    ids, tokenizer = counting(31)
    model = gpt(vocab_size=31)
    seen = blocks_read(model)
    validation_loss(model, ids, tokenizer)
    assert [token for block in seen for token in block] == list(range(30))
    assert [len(block) for block in seen] == [7, 7, 7, 7, 2]


def test_bits_per_byte_counts_the_utf8_of_the_targets(gpt: MakeGPT) -> None:
    tokenizer = CharTokenizer("abcdefghé中🤗")  # the last three take 2, 3 and 4 bytes
    ids = np.array([10, 0, 8, 9, 10], dtype=np.uint8)  # the first token is no target
    found = validation_loss(gpt(), ids, tokenizer)
    assert found.bits_per_byte * (1 + 2 + 3 + 4) == pytest.approx(found.nats * 4 / math.log(2), rel=1e-12)


def test_bits_per_byte_counts_the_bytes_of_a_character_that_a_block_cuts(gpt: MakeGPT) -> None:
    """Blocks of 7 bytes begin and end inside characters of 3: each byte is one byte, no U+FFFD of 3."""
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode("中文" * 20)
    for at_most in (None, 21):
        found = validation_loss(gpt(vocab_size=256), ids[1:], tokenizer, at_most=at_most)
        assert found.bits_per_byte == pytest.approx(found.nats / math.log(2), rel=1e-12)


def test_large_vocabulary_takes_bounded_memory(gpt: MakeGPT, monkeypatch: pytest.MonkeyPatch, blocks_read: Any) -> None:
    model, ids = gpt(), random_ids(80)
    whole = validation_loss(model, ids, LETTERS)
    monkeypatch.setattr("mingpt.inference.windows.LOGITS_AT_ONCE", 2 * 7 * 11)
    rows: list[int] = []
    model.register_forward_hook(lambda model, given, found: rows.append(found.logits.numel()))
    assert validation_loss(model, ids, LETTERS).nats == pytest.approx(whole.nats, rel=1e-12)
    assert max(rows[-6:]) == 2 * 7 * 11  # 11 blocks and a rest; looks for leaks come first


@pytest.mark.parametrize("at_most", [1, 6, 7, 13, 14, 21, 50, 69, 70, 71, 72, 73, 1000])
@pytest.mark.parametrize("length", [71, 72, 74])
@pytest.mark.thin
def test_at_most_reads_that_many_targets_in_whole_blocks_spread_evenly(
    gpt: MakeGPT, blocks_read: Any, length: int, at_most: int
) -> None:
    ids, tokenizer = counting(length)
    model = gpt(vocab_size=length)
    seen = blocks_read(model)
    found = validation_loss(model, ids, tokenizer, at_most=at_most)
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
    found, nats = validation_loss(model, ids, LETTERS, at_most=21), target_by_target(model, ids)
    read = [nats[start : start + 7] for start in (0, 28, 63)]
    assert found.nats == pytest.approx(np.mean(read), rel=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_meanwhile_and_nothing_else_changes(gpt: MakeGPT, training: bool) -> None:
    dropping = gpt(embd_pdrop=0.5, attn_pdrop=0.5, resid_pdrop=0.5).train(training)
    before = {k: v.clone() for k, v in dropping.state_dict().items()}
    ids = random_ids(50)
    assert validation_loss(dropping, ids, LETTERS) == validation_loss(gpt(), ids, LETTERS)
    assert {module.training for module in dropping.modules()} == {training}
    assert all(torch.equal(v, before[k]) for k, v in dropping.state_dict().items())
    assert all(p.grad is None for p in dropping.parameters())


def test_random_state_is_left_alone(gpt: MakeGPT) -> None:
    model = gpt(resid_pdrop=0.5).train()
    before = torch.get_rng_state()
    validation_loss(model, random_ids(50), LETTERS)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_failure_half_way_leaves_the_model_training(gpt: MakeGPT) -> None:
    model = gpt().train()
    with pytest.raises(IndexError):
        validation_loss(model, np.array([1, 2, 11], dtype=np.uint8), LETTERS)  # 11 is no token
    assert model.training


@pytest.mark.parametrize("length", [2, 7, 8, 9, 50])
def test_carried_loss_is_that_of_the_text_in_one_go(length: int) -> None:
    torch.manual_seed(1)
    config = ModelConfig(type="rnn", cell="gru", n_layer=2, n_embd=6, block_size=7, vocab_size=11)
    model, ids = RNN(config).double().train(), random_ids(length)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.7)
    text = torch.from_numpy(ids.astype(np.int64))[None]
    found = validation_loss(model, ids, LETTERS, carried=True).nats
    assert found == pytest.approx(model(text[:, :-1], text[:, 1:]).loss.item(), rel=1e-12)
    assert model.training
    assert (found == pytest.approx(validation_loss(model, ids, LETTERS).nats, rel=1e-9)) == (length <= 8)


@pytest.mark.parametrize("judge", ["validation_loss", "pseudo_likelihood"])
def test_long_evaluations_alone_log_an_estimate(
    gpt: MakeGPT, monkeypatch: pytest.MonkeyPatch, judge: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By a clock that a pass moves by 2 s, so that five take 8 s more, and three 4; a block is one pass here."""
    ticks = iter(range(0, 10_000, 2))
    monkeypatch.setattr(windows, "TOKENS_AT_ONCE", {"validation_loss": 7, "pseudo_likelihood": 49}[judge])
    monkeypatch.setattr(evaluate.time, "perf_counter", lambda: next(ticks))
    model = {"validation_loss": gpt, "pseudo_likelihood": filler}[judge]()
    with cpu_threads(1):  # several would take several passes at the same time
        for blocks in (1, 3, 5):
            ids = random_ids(7 * blocks + (judge == "validation_loss"))
            getattr(evaluate, judge)(model, ids, LETTERS)
    doing = {
        "validation_loss": "evaluating on the validation set",
        "pseudo_likelihood": "masking each of 35 tokens in turn",
    }
    assert caplog.messages == [f"{doing[judge]}: about 8 s"]


# ---- gaps


def filler(block: int = 7, **settings: Any) -> BidirectionalRNN:
    torch.manual_seed(2)
    config = ModelConfig(
        type="birnn", objective="masked", n_layer=1, n_embd=6, block_size=block, vocab_size=11, **settings
    )
    return BidirectionalRNN(config).double()


@torch.no_grad()
def hidden_by_hand(model: BidirectionalRNN, ids: np.ndarray) -> list[float]:
    text, block = torch.from_numpy(ids.astype(np.int64)), model.config.block_size
    nats = []
    for i in range(len(text)):
        start = i // block * block
        part = text[None, start : start + block]
        gaps = torch.arange(start, start + part.shape[1])[None] == i
        nats.append(F.cross_entropy(model.masked_logits(part, gaps)[0, i - start], text[i]).item())
    return nats


@pytest.mark.parametrize("length", [1, 2, 6, 7, 8, 14, 15, 40])
@pytest.mark.parametrize("at_once", [1, 20, 8192])
@pytest.mark.thin
def test_each_token_is_hidden_once_and_from_itself_alone(
    monkeypatch: pytest.MonkeyPatch, length: int, at_once: int
) -> None:
    monkeypatch.setattr(windows, "TOKENS_AT_ONCE", at_once)
    model, ids = filler(), random_ids(length)
    found, nats = pseudo_likelihood(model, ids, LETTERS), hidden_by_hand(model.eval(), ids)
    assert (found.tokens, found.of) == (length, length)
    assert found.pseudo_nats == pytest.approx(sum(nats) / length, rel=1e-12)
    assert found.pseudo_bits_per_byte == pytest.approx(found.pseudo_nats / math.log(2), rel=1e-12)


def test_part_of_the_text_is_complete_blocks_spread_evenly() -> None:
    model, ids = filler(), random_ids(70)
    found, nats = pseudo_likelihood(model, ids, LETTERS, at_most=21), hidden_by_hand(model.eval(), ids)
    assert (found.tokens, found.of) == (21, 70)
    read = [nats[start : start + 7] for start in (0, 28, 63)]
    assert found.pseudo_nats == pytest.approx(np.mean(read), rel=1e-12)


def test_pseudo_likelihood_neither_trains_nor_draws_and_is_no_loss(gpt: MakeGPT) -> None:
    model = filler(embd_pdrop=0.5).train()
    before = torch.get_rng_state()
    found = pseudo_likelihood(model, random_ids(9), LETTERS)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert {name.removeprefix("pseudo_") for name in vars(found)} == {"nats", "bits_per_byte", "tokens", "of"}
    assert not {"nats", "bits_per_byte", "perplexity", "loss"} & {*dir(found)}
    with pytest.raises(ValueError, match="GPT was not trained on masked tokens"):
        pseudo_likelihood(gpt(), random_ids(9), LETTERS)
    with pytest.raises(ValueError, match="BidirectionalRNN sees the tokens that it predicts"):
        validation_loss(model, random_ids(9), LETTERS)
