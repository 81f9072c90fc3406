"""Interpolated Kneser-Ney against counting in dictionaries, a case by hand, and the laws of every language model."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mingpt.core.errors import CheckpointError, UsageError
from mingpt.data.tokenizers import CharTokenizer
from mingpt.inference.evaluate import validation_loss
from mingpt.models import ngram_counts
from mingpt.models.base import ModelConfig
from mingpt.models.ngram import NGram, kneser_ney_losses
from mingpt.runs import checkpoint

Gram = tuple[int, ...]


def discount(counts: Counter[Gram], times: int) -> float:
    """Chen & Goodman (1999), and KenLM's fallback."""
    n = [0, *(sum(c == k for c in counts.values()) for k in (1, 2, 3, 4))]
    found = [0.0, 0.5, 1.0, 1.5]
    if n[1] and n[2] and n[3]:
        y = n[1] / (n[1] + 2 * n[2])
        estimated = [0.0, *(k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))]
        if all(0 < estimated[k] <= k for k in (1, 2, 3)):
            found = estimated
    return found[min(times, 3)]


class Dictionaries:
    """The definition, for one text and one order; slow and plain."""

    def __init__(self, text: list[int], v: int, order: int) -> None:
        self.v, self.order = v, order
        of = {n: Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1)) for n in range(1, order + 2)}
        self.counts = {n: Counter({g: len({longer[0] for longer in of[n + 1] if longer[1:] == g}) for g in of[n]})
                       for n in range(1, order)}  # fmt: skip
        self.counts[order] = of[order]

    def p(self, x: int, h: Gram) -> float:
        """p(x | h), h at most order - 1 tokens."""
        n, below = len(h) + 1, self.p(x, h[1:]) if h else 1 / self.v
        after = {g: c for g, c in self.counts[n].items() if g[:-1] == h and c}
        if not after:
            return below
        counts, total = self.counts[n], sum(after.values())
        taken = sum(discount(counts, c) for c in after.values())
        kept = after.get((*h, x), 0)
        return (kept - discount(counts, kept)) / total + taken / total * below


def chance(text: list[int], v: int, order: int, before: Gram) -> list[float]:
    """The distribution after `before`: of the shorter order where that is shorter."""
    order = min(order, len(before) + 1)
    model = Dictionaries(text, v, order)
    return [model.p(x, before[len(before) - order + 1 :]) for x in range(v)]


def drawn(v: int, length: int, seed: int = 1) -> np.ndarray:
    """Skewed, and each token depending on the one before it, so that contexts are shared, rare and missing."""
    draws = np.random.default_rng(seed)
    steps = draws.choice(v, size=length, p=np.arange(v, 0, -1) / np.arange(v, 0, -1).sum())
    return (np.cumsum(steps) % v).astype(np.uint8)


def fitted(text: np.ndarray, v: int, order: int) -> NGram:
    model = NGram(ModelConfig(type="ngram", order=order, vocab_size=v, block_size=7)).double().eval()
    model.fit(text)
    return model


def after(model: NGram, idx: Tensor) -> Tensor:
    return model(idx).logits.exp()


@pytest.mark.parametrize("order", range(1, 9))
@pytest.mark.parametrize(("v", "length"), [(5, 61), (3, 149), (7, 11), (2, 2)])
@pytest.mark.thin
def test_probabilities_are_those_of_counting_in_dictionaries(v: int, length: int, order: int) -> None:
    text = drawn(v, length)
    model = fitted(text, v, order)
    idx = torch.from_numpy(np.random.default_rng(3).integers(v, size=(2, 11)))  # contexts of it are mostly unseen
    idx[0, 3:] = torch.from_numpy(np.resize(text, 8).astype(np.int64))  # and here mostly seen
    found = after(model, idx)
    for row, line in enumerate(idx.tolist()):
        for i in range(len(line)):
            expected = chance(text.tolist(), v, order, tuple(line[: i + 1]))
            assert found[row, i].tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(2))
def test_estimated_discounts_are_among_the_cases(seed: int) -> None:
    """The tests above must meet both kinds: texts with discounts of their own, and others with the fallback's."""
    kinds = {
        tuple(row) == (0, *ngram_counts.FALLBACK) for row in fitted(drawn(3, 149, seed), 3, 6).discounts.flatten(0, 1)
    }
    assert kinds == {True, False}


def test_a_case_by_hand() -> None:
    a, b = 0, 1
    model = fitted(np.array([a, b, a, b, a]), 2, 2)  # ab 2, ba 2; each of a and b follows one other token
    bottom = [(1 - 0.5) / 2 + 0.5 * 0.5] * 2
    one = (2 - 1) / 2 + 1 / 2 * bottom[b]
    assert after(model, torch.tensor([[a]]))[0, 0].tolist() == pytest.approx([1 - one, one], rel=1e-14)


def test_most_frequent_token_wins_over_the_one_with_most_contexts() -> None:
    """Kneser and Ney's point: `Francisco` is frequent, but follows one word only."""
    francisco, san = 0, 1
    text = np.array([san, francisco] * 30 + [2, 3, 4, 3, 5, 3, 6, 3, 2, 3], dtype=np.uint8)
    unseen = after(fitted(text, 8, 2), torch.tensor([[7]]))[0, 0]
    assert unseen[3] > 2 * unseen[francisco]
    alone = after(fitted(text, 8, 1), torch.tensor([[7]]))[0, 0]
    assert alone[francisco] > 3 * alone[3]


@pytest.mark.parametrize("order", range(1, 9))
@pytest.mark.parametrize("v", [1, 2, 11, 300])
def test_probabilities_add_up_to_one_and_none_is_zero(order: int, v: int) -> None:
    text = np.random.default_rng(v).integers(max(v - 1, 1), size=503)  # the last token is never seen
    p = after(fitted(text, v, order), torch.from_numpy(np.concatenate([text[:40], np.arange(v)]))[None])
    assert (p.sum(-1) - 1).abs().max() < 1e-12
    assert p.min() > 0


def test_text_of_one_letter_leaves_the_others_something() -> None:
    p = after(fitted(np.zeros(100_000, dtype=np.uint8), 5, 8), torch.zeros(1, 20, dtype=torch.long))
    assert p.min() > 0
    assert (p.sum(-1) - 1).abs().max() < 1e-12


def test_unfitted_model_is_uniform() -> None:
    model = NGram(ModelConfig(type="ngram", vocab_size=7)).double()
    logits, loss = model(torch.tensor([[3, 1]]), torch.tensor([[1, 6]]))
    torch.testing.assert_close(logits.exp(), torch.full((1, 2, 7), 1 / 7, dtype=torch.float64), rtol=0, atol=1e-15)
    assert loss.item() == pytest.approx(math.log(7))


def test_large_vocabulary_does_not_overflow() -> None:
    """One whose powers don't fit in 64 bits."""
    text, v = drawn(4, 61).astype(np.uint16) * 16_000, 60_000
    idx = torch.from_numpy(text[7:16].astype(np.int64))[None]
    found, model = after(fitted(text, v, 8), idx), Dictionaries(text.tolist(), v, 8)
    for x in (0, 16_000, 48_000, 59_999):
        assert found[0, -1, x].item() == pytest.approx(model.p(x, tuple(idx[0, -7:].tolist())), abs=1e-12)


def test_renumbering_by_sorting_and_by_table_agree() -> None:
    codes = np.array([7, 3, 1 << 29, 3, 0], dtype=np.int64)
    names, places = ngram_counts.renumber(codes)
    assert (names.tolist(), places.tolist()) == ([0, 3, 7, 1 << 29], [2, 1, 3, 1, 0])
    names, places = ngram_counts.renumber(codes % 1009)
    assert np.array_equal(names, np.unique(codes % 1009))
    assert np.array_equal(names[places], codes % 1009)


@pytest.mark.parametrize("order", [1, 2, 3, 8])
@pytest.mark.parametrize("cut", [(1,) * 12, (5, 7), (1, 4, 7), (11, 1)])
def test_step_by_step_equals_all_at_once(order: int, cut: tuple[int, ...]) -> None:
    model, idx = fitted(drawn(5, 97), 5, order), torch.from_numpy(drawn(5, 36, 4).astype(np.int64)).view(3, 12)
    state = model.new_state(3)
    pieces = [model(part, state=state).logits for part in idx.split(list(cut), 1)]
    assert torch.equal(torch.cat(pieces, 1), model(idx).logits)
    assert state.length == 12
    assert state.nodes.shape == (3, order), "a state grows with what is read"


@pytest.mark.parametrize("order", [1, 2, 4, 8])
def test_neither_future_tokens_nor_those_beyond_the_order_change_a_prediction(order: int) -> None:
    model, idx = fitted(drawn(5, 97), 5, order), torch.from_numpy(drawn(5, 24, 4).astype(np.int64)).view(2, 12)
    logits = model(idx).logits
    for j in range(12):
        other = idx.clone()
        other[0, j] = (other[0, j] + 1) % 5
        again = model(other).logits
        assert torch.equal(again[1], logits[1]), "one row reads another"
        assert torch.equal(again[0, :j], logits[0, :j])
        assert torch.equal(again[0, j + order - 1 :], logits[0, j + order - 1 :])
        assert order == 1 or not torch.equal(again[0, j], logits[0, j])


def test_loss_is_that_of_the_targets() -> None:
    model, idx = fitted(drawn(5, 97), 5, 4), torch.from_numpy(drawn(5, 24, 4).astype(np.int64)).view(2, 12)
    loss = model(idx[:, :-1], idx[:, 1:]).loss
    p = after(model, idx[:, :-1]).gather(-1, idx[:, 1:, None])
    assert loss.item() == pytest.approx(-p.log().mean().item(), rel=1e-14)


@pytest.mark.parametrize(("v", "train", "held_out"), [(3, 149, 29), (11, 53, 17), (5, 3, 7), (5, 7, 2), (1, 11, 5)])
def test_losses_of_all_orders_are_those_of_each(v: int, train: int, held_out: int) -> None:
    ids = drawn(v, train + held_out, v)
    losses = kneser_ney_losses(ids[:train], ids[train:], v, len(ids))
    assert list(losses) == [f"{n}-gram" for n in range(1, 7)]
    read = torch.from_numpy(ids[train:].astype(np.int64))[None]
    for n in range(1, 7):
        own = fitted(ids[:train], v, n)  # fitted for this order alone
        assert losses[f"{n}-gram"] == pytest.approx(own(read[:, :-1], read[:, 1:]).loss.item(), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("block_size", [1, 2, 5, 7, 14, 15, 16, 28, 30])
def test_baselines_are_evaluated_as_models_are(block_size: int) -> None:
    ids, letters = drawn(3, 149 + 29, 3), CharTokenizer("abc")
    losses = kneser_ney_losses(ids[:149], ids[149:], 3, block_size)
    for n in range(1, 7):
        own = NGram(ModelConfig(type="ngram", order=n, vocab_size=3, block_size=block_size)).double()
        own.count(ids[:149])
        assert losses[f"{n}-gram"] == pytest.approx(validation_loss(own, ids[149:], letters).nats, rel=1e-12)


def test_loss_of_fitting_is_that_of_its_text() -> None:
    text = drawn(5, 97)
    model = NGram(ModelConfig(type="ngram", order=4, vocab_size=5)).double()
    told, read = model.fit(text), torch.from_numpy(text.astype(np.int64))[None]
    assert told == pytest.approx(model(read[:, :-1], read[:, 1:]).loss.item(), rel=1e-12)


def test_fitting_again_replaces_what_was_there() -> None:
    model = fitted(drawn(5, 97), 5, 4)
    model.fit(drawn(5, 61, 2))
    fresh = fitted(drawn(5, 61, 2), 5, 4).state_dict()
    assert all(torch.equal(table, fresh[name]) for name, table in model.state_dict().items())


# ---- as a checkpoint holds it


def test_loaded_model_is_the_same() -> None:
    model, idx = fitted(drawn(5, 97), 5, 4), torch.tensor([[1, 2, 3, 0, 4, 4, 1]])
    again = NGram(model.config).double()
    checkpoint.load_weights(again, model.state_dict(), Path("there"))
    assert torch.equal(again(idx).logits, model(idx).logits)
    assert torch.equal(again.float()(idx).logits, model.float()(idx).logits)
    assert torch.equal(again.double()(idx).logits, model.double()(idx).logits), "rounded on the way"


@pytest.mark.parametrize(
    "harm",
    [
        lambda t: {"grams": t["grams"].flip(0), "seen": t["seen"]},
        lambda t: {"grams": t["grams"] + 1_000_000, "seen": t["seen"]},
        lambda t: {"grams": t["grams"], "seen": -t["seen"]},
        lambda t: {"grams": t["grams"], "seen": t["seen"][:, 1:]},
        lambda t: {"grams": t["grams"].float(), "seen": t["seen"]},
        lambda t: {"grams": t["grams"].bfloat16(), "seen": t["seen"].bfloat16()},
        lambda t: {"grams": t["grams"][None], "seen": t["seen"]},
        lambda t: {"grams": torch.tensor(3), "seen": t["seen"]},
        lambda t: {"grams": torch.tensor([-5]), "seen": t["seen"][:, :1]},
    ],
    ids=["unsorted", "no parents", "negative", "short", "fractions", "bfloat16", "two axes", "no axis", "below 0"],
)
def test_counts_that_no_text_has_are_rejected(harm: object) -> None:
    model = fitted(drawn(5, 97), 5, 4)
    before = {name: table.clone() for name, table in model.state_dict().items()}
    with pytest.raises(CheckpointError, match="there: no 4-gram model: its counts can't come from a text"):
        checkpoint.load_weights(model, harm(before), Path("there"))  # type: ignore[operator]
    assert all(torch.equal(table, before[name]) for name, table in model.state_dict().items())


def test_missing_or_unknown_tables_are_rejected() -> None:
    model = fitted(drawn(5, 97), 5, 4)
    with pytest.raises(CheckpointError, match="seen is missing there"):
        checkpoint.load_weights(model, {"grams": model.grams}, Path("there"))
    with pytest.raises(CheckpointError, match="sums is unknown here"):
        checkpoint.load_weights(model, {**model.state_dict(), "sums": model.sums}, Path("there"))


def test_discounts_are_copied_to_the_device_once_and_exact() -> None:
    model = fitted(drawn(5, 97), 5, 4)
    exact = model.discounts.clone()
    assert torch.equal(model.to(torch.bfloat16).double().discounts, exact)
    there = model.to("meta")
    assert there.discounts.device == there.grams.device == torch.device("meta")


# ---- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": 0}, r"model\.order=0: must be in \[1, 8\]"),
        ({"order": 9}, r"model\.order=9: must be in \[1, 8\]"),
        ({"n_embd": 64}, r"model\.n_embd: no setting of model\.type=ngram; it belongs to gpt, rnn, birnn"),
    ],
)
def test_setting_that_counts_nothing_is_rejected(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        NGram(ModelConfig(type="ngram", **settings))  # type: ignore[arg-type]


def test_model_has_no_parameters_and_a_cost() -> None:
    model = fitted(drawn(5, 97), 5, 4)
    assert model.parameter_count == 0
    assert model.flops_per_token() > 0
    assert model.unbounded
    assert model.autoregressive
