"""No prediction depends on what it predicts: bit by bit, by gradient, and by the sum of all texts' probabilities."""

from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from families import BLOCK, TABLE, VOCABULARY, Variant, every_control, every_trained, every_variant, random_ids
from torch import Tensor

from mingpt.model import FAMILIES
from mingpt.models.attention.kernels import Need, Sdpa
from mingpt.models.base import LanguageModel
from mingpt.models.recurrent import layers


@pytest.fixture
def leaky(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention that sees the future, in a model that says otherwise: the laws below must catch it."""

    def attend(kernel: Sdpa, q: Tensor, k: Tensor, v: Tensor, need: Need) -> tuple[Tensor, None]:
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True), None

    monkeypatch.setattr(Sdpa, "attend", attend)


LEAKY = Variant("gpt", {})


@torch.no_grad()
def changed_by_the_future(model: LanguageModel, surely: int, at_most: int) -> bool:
    """Whether another token j alters any bit of a logit before j; logits from j on must change, as far as they read."""
    ids = random_ids()
    logits, altered = model(ids).logits, False
    for j in range(BLOCK):
        other = ids.clone()
        other[:, j] = (other[:, j] + 1) % VOCABULARY
        again = model(other).logits
        altered |= not torch.equal(again[:, :j], logits[:, :j])
        must, may = j + surely + 1, j + at_most + 1
        assert (again[:, j:must] != logits[:, j:must]).any(-1).all(), "a token has no effect on what follows it"
        assert torch.equal(again[:, may:], logits[:, may:]), "a token has an effect further on than the model reads"
    return altered


def gradient_from_the_future(model: Any, surely: int, at_most: int) -> float:
    """The largest derivative of logit i by the embedding of token j > i; those by j <= i in reach must not vanish."""
    embedded: list[Tensor] = []
    model.embedding.register_forward_hook(lambda module, inputs, output: embedded.append(output))
    logits, largest = model(random_ids()).logits, 0.0
    for i in range(BLOCK):
        gradient = torch.autograd.grad(logits[:, i].square().sum(), embedded, retain_graph=True)[0].abs().amax(-1)
        assert (gradient[:, max(i - surely, 0) : i + 1] > 0).all(), "a token has no effect on what follows it"
        assert not gradient[:, : max(i - at_most, 0)].any(), "a token has an effect further on than the model reads"
        largest = max(largest, gradient[:, i + 1 :].max().item() if i + 1 < BLOCK else 0.0)
    return largest


@torch.no_grad()
def total_probability(model: LanguageModel, length: int) -> Tensor:
    """(3,) for each first token of three, the sum over all continuations of their probabilities."""
    texts = torch.tensor(list(product(range(3), repeat=length)))
    logs = model(texts).logits.log_softmax(-1)[:, :-1]
    of_each = logs.gather(-1, texts[:, 1:, None]).sum((1, 2)).exp()
    return torch.zeros(3, dtype=torch.float64).index_add(0, texts[:, 0], of_each)


def reaches(variant: Variant, model: LanguageModel) -> tuple[int, int]:
    return variant.of.surely(model), variant.of.at_most(model)


def test_every_family_is_tried_by_the_laws() -> None:
    untried = set(FAMILIES) - TABLE.keys()
    assert not untried, f"give {untried} an entry in the TABLE of tests/laws/families.py"
    assert TABLE.keys() == set(FAMILIES)
    assert all(family.variants for family in TABLE.values())


@every_variant
def test_no_bit_before_a_changed_token_changes(variant: Variant) -> None:
    model = variant.exact()
    assert model.autoregressive
    assert not changed_by_the_future(model, *reaches(variant, model))


@every_trained
def test_gradient_to_the_future_is_exactly_zero(variant: Variant) -> None:
    model = variant.exact()
    assert gradient_from_the_future(model, *reaches(variant, model)) == 0.0


@every_variant
def test_probabilities_of_all_texts_sum_to_one(variant: Variant) -> None:
    model = variant.exact(vocab_size=3, block_size=5)
    for length in (2, 3, 4, 5):
        assert (total_probability(model, length) - 1).abs().max() <= 1e-12


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_prefixes_that_are_read_together_do_not_see_each_other(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    variant = Variant("birnn", {"reading": "prefix", "cell": "gru"})
    together = variant.exact()(random_ids()).logits
    monkeypatch.setattr(layers, "PREFIXES_AT_ONCE", at_once)
    model = variant.exact()
    torch.testing.assert_close(model(random_ids()).logits, together, rtol=0, atol=1e-12)
    assert not changed_by_the_future(model, *reaches(variant, model))
    assert gradient_from_the_future(model, *reaches(variant, model)) == 0.0


# ---- the same laws, where they must fail


def outspoken(variant: Variant, **changes: Any) -> Any:
    """A model that is sure of what it says, right or wrong."""
    model: Any = variant.exact(**changes)
    with torch.no_grad():
        model.head.weight *= 1 if variant.of.large else 10
    return model


def caught(variant: Variant) -> list[bool]:
    """Which of the three laws the model breaks, clearly."""
    return [
        changed_by_the_future(outspoken(variant), 0, BLOCK),
        gradient_from_the_future(outspoken(variant), 0, BLOCK) > 1e-4,
        bool((total_probability(outspoken(variant, vocab_size=3, block_size=5), 5) - 1).abs().max() > 1e-3),
    ]


@every_control
def test_model_that_sees_what_it_predicts_fails_every_law(control: Variant) -> None:
    assert not control.exact().autoregressive
    assert caught(control) == [True, True, True]


@pytest.mark.usefixtures("leaky")
def test_model_that_denies_that_it_sees_what_it_predicts_fails_every_law() -> None:
    assert LEAKY.exact().autoregressive
    assert caught(LEAKY) == [True, True, True]


# ---- rows


@every_variant
@torch.no_grad()
def test_rows_of_a_batch_do_not_touch_each_other(variant: Variant) -> None:
    model, ids = variant.exact(), random_ids()
    alone = torch.cat([model(row[None]).logits for row in ids])
    torch.testing.assert_close(model(ids).logits, alone, rtol=0, atol=1e-12)
