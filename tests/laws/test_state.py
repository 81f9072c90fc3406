"""What a model remembers is what it has read: step by step, in chunks, in halves, as all at once."""

import math

import pytest
import torch
from families import BLOCK, VOCABULARY, Variant, every_control, every_variant, random_ids
from torch import Tensor

from mingpt.inference.generate import Sampling, generate
from mingpt.models.base import LanguageModel

GREEDY = Sampling(temperature=0, past_block="exact")


def written(model: LanguageModel, sampling: Sampling, tokens: int = 9, *, cache: bool = True) -> Tensor:
    """(3, 2 + tokens) ids: a prompt of two tokens, and what follows, past the block."""
    prompt = random_ids(length=2)
    return torch.cat((prompt, torch.stack(list(generate(model, prompt, tokens, sampling, cache=cache)), 1)), 1)


@every_variant
@torch.no_grad()
def test_chunks_with_state_equal_all_at_once(variant: Variant) -> None:
    model, ids = variant.exact(), random_ids()
    full = model(ids).logits
    for chunk in (1, 2, 3, 4, BLOCK):  # 4: two halves
        state, parts = model.new_state(len(ids)), []
        for part in ids.split(chunk, dim=1):
            parts.append(model(part, state=state).logits)
            assert state.length == sum(p.shape[1] for p in parts)
        torch.testing.assert_close(torch.cat(parts, 1), full, rtol=0, atol=1e-10)


@every_variant
@torch.no_grad()
def test_state_changes_what_is_predicted(variant: Variant) -> None:
    model, ids = variant.exact(), random_ids()
    state = model.new_state(len(ids))
    model(ids[:, :4], state=state)
    carried, alone = model(ids[:, 4:], state=state).logits, model(ids[:, 4:]).logits
    differs = bool((carried[:, 0] != alone[:, 0]).any())
    assert differs == (variant.of.at_most(model) > 0)


@every_variant
@torch.no_grad()
def test_greedy_text_is_that_of_full_passes_through_and_past_the_block(variant: Variant) -> None:
    model = variant.exact()
    text = random_ids(length=2)
    for _ in range(9):
        read = text[:, -BLOCK:] if variant.of.crops else text
        text = torch.cat((text, model(read).logits[:, -1:].argmax(-1)), 1)
    assert torch.equal(written(model, GREEDY), text)
    assert torch.equal(written(model, GREEDY, cache=False), text)


@every_variant
@torch.no_grad()
def test_greedy_text_past_the_block_is_that_of_full_passes_over_at_least_half_of_it(variant: Variant) -> None:
    model = variant.exact()
    text = context = random_ids(length=2)
    for _ in range(14):
        if variant.of.crops and context.shape[1] > BLOCK:
            context = context[:, -(BLOCK if model.unbounded else math.ceil(BLOCK / 2)) :]
        token = model(context).logits[:, -1:].argmax(-1)
        text, context = torch.cat((text, token), 1), torch.cat((context, token), 1)
    assert torch.equal(written(model, Sampling(temperature=0), 14), text)


@every_variant
def test_same_seed_writes_the_same_text(variant: Variant) -> None:
    model = variant.exact()
    texts = [written(model, Sampling(temperature=1, seed=seed)) for seed in (3, 3, 4)]
    assert torch.equal(texts[0], texts[1])
    assert not torch.equal(texts[0], texts[2])
    assert torch.equal(written(variant.exact(), Sampling(temperature=1, seed=3)), texts[0])
    assert max(text.max() for text in texts) < VOCABULARY


@every_control
def test_model_that_sees_what_it_predicts_generates_nothing(control: Variant) -> None:
    with pytest.raises(ValueError, match="isn't autoregressive, so it can't generate text"):
        written(control.exact(), GREEDY)


@every_control
@torch.no_grad()
def test_law_of_chunks_fails_for_a_model_that_sees_what_it_predicts(control: Variant) -> None:
    model, ids = control.exact(), random_ids()
    first = torch.cat([model(ids[:, : n + 1]).logits[:, -1:] for n in range(BLOCK)], 1)
    assert (model(ids).logits - first).abs().max() > 1e-4  # a full pass is no sequence of steps
