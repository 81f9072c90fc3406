"""Batches: what step s sees follows from (seed, s) alone, fairly, and never from held-out text."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mingpt.errors import DataError
from mingpt.text.batches import Batches, DataConfig, split


def batches(length: int = 101, *, block_size: int = 7, batch_size: int = 5, seed: int = 3) -> Batches:
    return Batches(np.arange(length, dtype=np.uint16), block_size=block_size, batch_size=batch_size, seed=seed)


def test_a_step_is_the_same_whatever_came_before_it() -> None:
    forward, backward = batches(), batches()
    there = {step: forward(step) for step in range(20)}
    for step in reversed(range(20)):
        for one, other in zip(there[step], backward(step), strict=True):
            assert torch.equal(one, other)


def test_global_random_state_is_neither_read_nor_moved() -> None:
    torch.manual_seed(1)
    before, first = torch.get_rng_state(), batches()(4)[0]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    np.random.seed(2)
    assert torch.equal(batches()(4)[0], first)


def test_every_seed_and_step_draws_anew() -> None:
    drawn = {batches(10_000, seed=seed).starts(step).tobytes() for seed in range(20) for step in range(20)}
    assert len(drawn) == 400


def test_seeds_and_steps_of_any_size() -> None:
    assert not np.array_equal(batches(seed=2**63 - 1).starts(2**40), batches(seed=2**63 - 2).starts(2**40))


def test_targets_are_the_inputs_one_position_on() -> None:
    inputs, targets = batches()(0)
    assert inputs.shape == targets.shape == (5, 7)
    assert inputs.dtype == targets.dtype == torch.int64
    assert torch.equal(targets, inputs + 1)  # the text counts upwards
    assert torch.equal(inputs, inputs[:, :1] + torch.arange(7))  # without a gap


def test_the_model_sees_the_starts_that_are_drawn() -> None:
    ours = batches()
    assert ours(6)[0][:, 0].tolist() == ours.starts(6).tolist()


def test_starts_are_uniform_over_all_that_fit(chi_square_p: Callable[[Any, Any], float]) -> None:
    places = 97
    ours = batches(places + 7, batch_size=100)
    counts = np.bincount(np.concatenate([ours.starts(step) for step in range(1000)]), minlength=places)
    assert len(counts) == places
    assert chi_square_p(counts, np.full(places, 1 / places)) > 1e-4


def test_rows_of_a_batch_are_independent(chi_square_p: Callable[[Any, Any], float]) -> None:
    ours = batches(7 + 7, batch_size=2)
    pairs = np.stack([ours.starts(step) for step in range(5000)])
    assert chi_square_p(np.bincount(pairs @ [7, 1], minlength=49), np.full(49, 1 / 49)) > 1e-4


@given(length=st.integers(1, 300), block_size=st.integers(1, 40), val_fraction=st.floats(1e-9, 1 - 1e-9))
@settings(deadline=None, max_examples=200)
def test_split_gives_every_position_to_one_part(length: int, block_size: int, val_fraction: float) -> None:
    ids, needed = np.arange(length, dtype=np.uint16), max(block_size + 1, 4)
    if length < needed:
        with pytest.raises(DataError, match=f"data.block_size={block_size} needs {needed} tokens, found {length}$"):
            split(ids, block_size=block_size, val_fraction=val_fraction)
        return
    train, held_out = split(ids, block_size=block_size, val_fraction=val_fraction)
    assert np.array_equal(np.concatenate([train, held_out]), ids)  # the tail is held out, nothing shared or lost
    assert min(len(train), len(held_out)) >= 2
    wanted = min(max(length * val_fraction, 2), length - 2)
    assert abs(len(held_out) - wanted) <= 1
    assert np.shares_memory(train, ids)  # no copy of a large text


@given(block_size=st.integers(1, 40), extra=st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_a_text_barely_long_enough_trains(block_size: int, extra: int) -> None:
    length = max(block_size + 1, 4) + extra
    train, _ = split(np.arange(length, dtype=np.uint8), block_size=block_size, val_fraction=0.1)
    ours = Batches(train, block_size=block_size, batch_size=3, seed=0)
    for step in range(5):
        inputs, targets = ours(step)
        assert inputs.shape == (3, min(block_size, len(train) - 1))
        assert torch.equal(targets, inputs + 1)
        assert targets.max() <= train[-1]  # held-out text isn't touched


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"path": ""}, "data.path="),
        ({"block_size": 0}, "data.block_size=0.*at least 1"),
        ({"val_fraction": 0.0}, "data.val_fraction=0.0.*between 0 and 1"),
        ({"val_fraction": 1.0}, "data.val_fraction=1.0.*between 0 and 1"),
        ({"val_fraction": float("nan")}, "data.val_fraction=nan.*between 0 and 1"),
        ({"tokenizer": "cahr"}, "data.tokenizer=cahr.*did you mean 'char'"),
    ],
    ids=str,
)
def test_wrong_setting_is_refused_by_name_value_and_rule(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig(**changed)
