"""Validation loss past block_size: the context that sampling gives each token, and no other."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mingpt.core.errors import DataError, UsageError
from mingpt.inference.past_block import past_block_loss
from mingpt.model import GPT
from mingpt.models.base import ModelConfig
from mingpt.models.rnn import RNN, BidirectionalRNN

MakeGPT = Callable[..., GPT]


def ids_of(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(11, size=length).astype(np.uint8)


@torch.no_grad()
def one_by_one(model: GPT, ids: np.ndarray, kept: int) -> list[float]:
    """Nats of every token past the first block, by a pass over the context that grows from `kept` to a block."""
    size, nats = model.config.block_size, []
    text = torch.from_numpy(ids.astype(np.int64))
    context = text[size - kept : size]
    for token in text[size:]:
        if len(context) > size:
            context = context[-kept:]
        nats.append(F.cross_entropy(model(context[None]).logits[0, -1], token).item())
        context = torch.cat((context, token[None]))
    return nats


@pytest.mark.parametrize("block_size", [1, 6, 7])
@pytest.mark.parametrize("rope", [False, True])
def test_loss_is_that_of_each_token_after_its_context(gpt: MakeGPT, block_size: int, rope: bool) -> None:
    model, kept = gpt(block_size=block_size, rope=rope), math.ceil(block_size / 2)
    stretch = block_size - kept + 1
    ids = ids_of(block_size + 3 * stretch)
    found = past_block_loss(model, ids)
    half, exact = one_by_one(model, ids, kept), one_by_one(model, ids, block_size)
    assert found.tokens == len(half) == 3 * stretch
    assert found.nats == pytest.approx({"half": np.mean(half), "exact": np.mean(exact)}, abs=1e-12)
    assert found.context == {"half": (kept, block_size), "exact": (block_size, block_size)}
    assert found.difference.mean == pytest.approx(np.mean(half) - np.mean(exact), abs=1e-12)
    assert found.difference.n == 3


def test_some_tokens_are_whole_stretches_spread_over_the_text(gpt: MakeGPT) -> None:
    model, ids = gpt(block_size=7), ids_of(7 + 4 * 9 + 2)
    every = np.reshape(one_by_one(model, ids[: 7 + 4 * 9], 4), (9, 4))
    assert past_block_loss(model, ids, at_most=13).nats["half"] == pytest.approx(every[[0, 4, 8]].mean(), abs=1e-12)
    assert past_block_loss(model, ids, at_most=1).tokens == 8  # an interval needs two


def test_text_of_fewer_than_two_stretches_is_rejected(gpt: MakeGPT) -> None:
    model = gpt(block_size=7)
    assert past_block_loss(model, ids_of(15)).tokens == 8
    with pytest.raises(DataError, match="14 tokens: past_block needs 15 at least"):
        past_block_loss(model, ids_of(14))


def test_models_that_never_reach_an_end_or_see_what_they_predict_are_rejected() -> None:
    sizes = {"n_layer": 1, "n_embd": 8, "vocab_size": 11, "block_size": 5}
    with pytest.raises(UsageError, match="RNN goes on past block_size by its state"):
        past_block_loss(RNN(ModelConfig(type="rnn", **sizes)), ids_of(40))
    with pytest.raises(UsageError, match="BidirectionalRNN sees the tokens that it predicts"):
        past_block_loss(BidirectionalRNN(ModelConfig(type="birnn", **sizes)), ids_of(40))
