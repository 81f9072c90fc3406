"""Held-out loss: every target once, in order, of a model that may be judged so; and what one that fills gaps has."""

import ast
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mingpt import evaluate
from mingpt import influence as influence_module
from mingpt.evaluate import carried_loss, held_out_loss, pseudo_likelihood, require_autoregressive
from mingpt.influence import influence, leaking_position, leaks
from mingpt.lm import LanguageModel, LMOutput, ModelConfig
from mingpt.model import GPT
from mingpt.rnn import RNN, BidirectionalRNN
from mingpt.text.tokenizers import CharTokenizer

MakeGPT = Callable[..., GPT]
LETTERS = CharTokenizer("abcdefghijk")  # 11, as the tiny model's vocabulary; one byte each


def random_ids(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(11, size=length).astype(np.uint8)


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


def test_blocks_are_read_in_order_without_overlap(gpt: MakeGPT, blocks_read: Any) -> None:
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
def test_at_most_reads_that_many_targets_in_whole_blocks_spread_evenly(
    gpt: MakeGPT, blocks_read: Any, length: int, at_most: int
) -> None:
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


@pytest.mark.parametrize("length", [2, 7, 8, 9, 50])
def test_carried_loss_is_not_that_of_the_text_in_one_go(length: int) -> None:
    torch.manual_seed(1)
    config = ModelConfig(type="rnn", cell="gru", n_layer=2, n_embd=6, block_size=7, vocab_size=11)
    model, ids = RNN(config).double().train(), random_ids(length)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.7)
    text = torch.from_numpy(ids.astype(np.int64))[None]
    found = carried_loss(model, ids)
    assert found == pytest.approx(model(text[:, :-1], text[:, 1:]).loss.item(), rel=1e-12)
    assert model.training
    assert (found == pytest.approx(held_out_loss(model, ids, LETTERS).nats, rel=1e-9)) == (length <= 8)


# ---- who is judged


def test_a_model_that_sees_the_future_is_refused_with_reason_and_remedy(
    gpt: MakeGPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GPT, "autoregressive", False)
    with pytest.raises(ValueError, match=r"GPT sees the tokens that it predicts.*choose an autoregressive model"):
        held_out_loss(gpt(), random_ids(9), LETTERS)


class Peeping(LanguageModel):
    """Says that it is autoregressive; some of its outputs also see one later token, as in `edges`, by a little."""

    def __init__(self, edges: dict[int, int], block: int = 7, by: float = 1.0) -> None:
        super().__init__()
        self.config = ModelConfig(n_embd=4, n_query_head=2, block_size=block, vocab_size=11)
        self.edges, self.by = edges, by
        self.register_buffer("table", torch.randn(11, 11, generator=torch.Generator().manual_seed(0)).double())

    def forward(self, idx: torch.Tensor, targets: torch.Tensor | None = None, *, state: Any = None) -> LMOutput:
        logits = self.table[idx].clone()
        for output, inputs in self.edges.items():
            if inputs < idx.shape[1]:
                logits[:, output, 3] += self.by * self.table[idx[:, inputs], 0]
        return LMOutput(logits, None if targets is None else torch.zeros(()))  # says that it knows everything

    def flops_per_token(self) -> float:
        return 1.0

    def new_state(self, batch: int) -> Any:
        return None


@pytest.mark.parametrize("edges", [{0: 1}, {1: 2}, {2: 3}, {4: 5}, {5: 6}, {0: 6}, {3: 6}, {1: 4}, {0: 2}], ids=str)
def test_a_model_that_denies_that_it_sees_the_future_is_refused(edges: dict[int, int]) -> None:
    """Next to each other at the start, in the middle, at the end, or far apart."""
    model = Peeping(edges, by=1e-9)
    assert leaks(influence(model, torch.arange(7))) == list(edges.items())
    assert held_out_loss(Peeping({}), random_ids(30), LETTERS).nats > 1  # whatever it says itself
    found = leaking_position(model)
    assert found == next(iter(edges))
    with pytest.raises(ValueError, match=f"Peeping claims to be autoregressive, but its output at position {found} of"):
        held_out_loss(model, random_ids(30), LETTERS)


@pytest.mark.parametrize("block", [7, 67, 128])
def test_leak_at_one_cut_alone_is_not_found(block: int) -> None:
    """At each cut of the block in turn: in the middle of a chunk, at its edges, and in the last, which is short."""
    for at in range(block - 1):
        assert leaking_position(Peeping({at: at + 1}, block, by=1e-9)) == at


def test_long_block_or_large_model_is_not_looked_at_where_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert leaking_position(Peeping({126: 127}, 1000)) == 126
    assert leaking_position(Peeping({3: 999}, 1000)) == 3  # by any cut of the whole block
    monkeypatch.setattr(Peeping, "flops_per_token", lambda model: 1e12)
    assert leaking_position(Peeping({14: 15}, 128)) == 14
    assert leaking_position(Peeping({3: 127}, 128)) == 3


def test_quick_looks_are_all_at_the_same_places() -> None:
    found = [leaking_position(Peeping({4: 5}, 12), cuts=3, seed=seed) for seed in range(40)]
    assert set(found) == {4, None}
    assert found == [leaking_position(Peeping({4: 5}, 12), cuts=3, seed=seed) for seed in range(40)]
    with pytest.raises(ValueError, match="Peeping claims to be autoregressive"):
        held_out_loss(Peeping({0: 6}), random_ids(30), LETTERS, at_most=7, seed=5)


def test_kernels_that_do_not_repeat_pass_for_a_leak_or_hide_one() -> None:
    before = torch.zeros(1, 3, 2)
    after = torch.tensor([[[0.0, 1e-7], [math.nan, 0.0], [2e-7, 0.0]]])
    assert influence_module._changed(before, after).tolist() == [[True, True, True]]
    assert influence_module._changed(before, after, noise=1e-7).tolist() == [[False, True, True]]
    assert influence_module._largest_difference(before, after) == pytest.approx(2e-7)


@pytest.mark.parametrize("block", [1, 2, 3, 4])
def test_short_blocks_or_one_token_leave_nothing_to_look_at(block: int) -> None:
    assert leaking_position(Peeping({}, block)) is None
    if block > 1:
        assert leaking_position(Peeping({block - 2: block - 1}, block)) == block - 2
    one = GPT(ModelConfig(n_layer=1, n_embd=4, n_query_head=2, block_size=3, vocab_size=1))
    assert leaking_position(one) is None
    assert not influence(one, torch.zeros(3, dtype=torch.long)).any()


def test_influence_is_another_than_total_variation_or_hides_in_rounding() -> None:
    model = Peeping({1: 4})
    ids = torch.tensor([3, 1, 4, 1, 5, 9, 2])
    found = influence(model, ids, replacements=10)
    chances = model.table.softmax(-1)
    for i in (0, 2, 3, 4, 5, 6):  # output 1 has a part of another input's as well
        distances = [((chances[ids[i]] - chances[other]).abs().sum() / 2).item() for other in range(11)]
        assert found[i, i].item() == pytest.approx(max(distances), rel=1e-12)
    assert 0 < found[1, 4] < 1
    assert (found > 0).sum() == 8
    assert torch.equal(influence(model, ids[None], replacements=99), found)  # there are no others
    model.table[:] = torch.arange(11)[:, None]  # moves all logits of a row alike: bits without a probability
    assert (influence(model, ids).diagonal() > 0).all()
    model.table[:] = 0
    assert not influence(model, ids).any()


@pytest.mark.parametrize("training", [True, False])
def test_looking_for_leaks_changes_nothing(gpt: MakeGPT, training: bool) -> None:
    model = gpt(embd_pdrop=0.5, resid_pdrop=0.5).train(training)
    model.head.train(not training)
    before = torch.get_rng_state()
    require_autoregressive(model)
    assert leaks(influence(model, torch.arange(7))) == []
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training == training
    assert model.head.training != training


def test_weights_that_are_no_number_are_called_a_leak(gpt: MakeGPT) -> None:
    model = gpt()
    with torch.no_grad():
        model.head.weight[2] = math.nan
    require_autoregressive(model)


def test_another_place_makes_a_held_out_loss() -> None:
    """One gate: nothing but `held_out_loss` makes one, and of records only the Judge's event gets one, from there."""
    makers, writers = set(), set()
    for path in Path(evaluate.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for scope in ast.walk(tree):
            if not isinstance(scope, ast.FunctionDef):
                continue
            place = f"{path.stem}.{scope.name}"
            for node in ast.walk(scope):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("HeldOutLoss"):
                    makers.add(place)
                stored = isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
                if stored and "val_loss" in ast.unparse(node.slice):
                    writers.add(place)
                if isinstance(node, ast.Dict) and any(key and "val_loss" in ast.unparse(key) for key in node.keys):
                    writers.add(place)
    assert makers == {"evaluate.held_out_loss"}
    # The outcome's is `Run.evaluate`'s, the checkpoint's that of the record.
    assert writers == {"events.__call__", "console.show_outcome"}


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
        nats.append(F.cross_entropy(model.fill(part, gaps)[0, i - start], text[i]).item())
    return nats


@pytest.mark.parametrize("length", [1, 2, 6, 7, 8, 14, 15, 40])
@pytest.mark.parametrize("at_once", [1, 20, 8192])
def test_token_is_not_hidden_once_or_from_more_than_itself(
    monkeypatch: pytest.MonkeyPatch, length: int, at_once: int
) -> None:
    monkeypatch.setattr(evaluate, "TOKENS_AT_ONCE", at_once)
    model, ids = filler(), random_ids(length)
    found, nats = pseudo_likelihood(model, ids, LETTERS), hidden_by_hand(model.eval(), ids)
    assert (found.tokens, found.of) == (length, length)
    assert found.pseudo_nats == pytest.approx(sum(nats) / length, rel=1e-12)
    assert found.pseudo_bits_per_byte == pytest.approx(found.pseudo_nats / math.log(2), rel=1e-12)


def test_part_of_the_text_is_another_than_whole_blocks_spread_evenly() -> None:
    model, ids = filler(), random_ids(70)
    found, nats = pseudo_likelihood(model, ids, LETTERS, at_most=21), hidden_by_hand(model.eval(), ids)
    assert (found.tokens, found.of) == (21, 70)
    read = [nats[start : start + 7] for start in (0, 28, 63)]
    assert found.pseudo_nats == pytest.approx(np.mean(read), rel=1e-12)


def test_pseudo_likelihood_trains_or_draws_or_passes_for_a_loss(gpt: MakeGPT) -> None:
    model = filler(embd_pdrop=0.5).train()
    before = torch.get_rng_state()
    found = pseudo_likelihood(model, random_ids(9), LETTERS)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert {name.removeprefix("pseudo_") for name in vars(found)} == {"nats", "bits_per_byte", "tokens", "of"}
    assert not {"nats", "bits_per_byte", "perplexity", "loss"} & {*dir(found)}
    with pytest.raises(ValueError, match="GPT was not trained to fill gaps"):
        pseudo_likelihood(gpt(), random_ids(9), LETTERS)
    with pytest.raises(ValueError, match="BidirectionalRNN sees the tokens that it predicts"):
        held_out_loss(model, random_ids(9), LETTERS)
