"""Batches: what step s sees follows from (seed, s) alone, fairly, and never from held-out text."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mingpt.core.errors import DataError
from mingpt.data.batches import Batches, ContiguousStreams
from mingpt.data.data_config import DataConfig
from mingpt.data.splits import borders, split
from mingpt.data.tokenizers import TOKENIZERS, CharTokenizer


def batches(length: int = 101, *, block_size: int = 7, batch_size: int = 5, seed: int = 3) -> Batches:
    return Batches(np.arange(length, dtype=np.uint16), block_size=block_size, batch_size=batch_size, seed=seed)


def lanes(length: int = 101, *, block_size: int = 7, batch_size: int = 3, seed: int = 3) -> ContiguousStreams:
    return ContiguousStreams(
        np.arange(length, dtype=np.uint16), block_size=block_size, batch_size=batch_size, seed=seed
    )


@pytest.mark.parametrize("batches", [batches, lanes])
def test_a_step_is_the_same_whatever_came_before_it(batches: Callable[..., Batches]) -> None:
    forward, backward = batches(), batches()
    there = {step: forward(step) for step in range(20)}
    for step in reversed(range(20)):
        for one, other in zip(there[step], backward(step), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("batches", [batches, lanes])
def test_global_random_state_is_neither_read_nor_moved(batches: Callable[..., Batches]) -> None:
    torch.manual_seed(1)
    before, first = torch.get_rng_state(), batches()(4)[0]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    np.random.seed(2)
    assert torch.equal(batches()(4)[0], first)


def test_every_seed_and_step_has_other_draws() -> None:
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
    text, needed = "".join(chr(0x4E00 + n) for n in range(length)), max(block_size + 1, 4)
    tokenizer = CharTokenizer.of(text)
    if length < needed:
        with pytest.raises(DataError, match=f"size={block_size} needs {needed} tokens, found {length}: take") as short:
            split(text, tokenizer, block_size=block_size, val_fraction=val_fraction)
        smaller = re.search(r"--data.block_size=(\d+)$", str(short.value))
        assert (smaller is None) == (length < 4)
        if smaller:  # what the refusal says will do, does, and no larger one
            assert int(smaller[1]) == length - 1
            split(text, tokenizer, block_size=length - 1, val_fraction=val_fraction)
        return
    train, held_out, _ = split(text, tokenizer, block_size=block_size, val_fraction=val_fraction)
    assert np.array_equal(np.concatenate([train, held_out]), np.arange(length))  # the tail is held out, nothing lost
    assert min(len(train), len(held_out)) >= 2
    wanted = min(max(length * val_fraction, 2), length - 2)
    assert abs(len(held_out) - wanted) <= 1


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(text=st.text(alphabet="ab é🤗\n", min_size=20, max_size=60), val_fraction=st.floats(0.3, 0.7))
@settings(deadline=None, max_examples=60)
def test_no_character_is_in_both_sets_and_tokenizers_are_evaluated_on_one_text(
    kind: str, text: str, val_fraction: float
) -> None:
    tokenizer, at = TOKENIZERS[kind].of([text], 257), borders(len(text), val_fraction)[0]
    assert 2 <= at <= len(text) - 2
    parts = split(text, tokenizer, block_size=1, val_fraction=val_fraction)
    assert [tokenizer.decode(ids) for ids in parts[:2]] == [text[:at], text[at:]]


@given(block_size=st.integers(1, 40), extra=st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_a_text_barely_long_enough_trains(block_size: int, extra: int) -> None:
    text = "".join(chr(0x4E00 + n) for n in range(max(block_size + 1, 4) + extra))
    train, *_ = split(text, CharTokenizer.of(text), block_size=block_size, val_fraction=0.1)
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
        ({"vocab_size": 300}, "data.vocab_size=300: has no effect with data.tokenizer=char"),
        (
            {"vocab_size": 300, "tokenizer": "a/tokenizer.json"},
            "vocab_size=300: has no effect with data.tokenizer=a/",
        ),
        ({"vocab_size": 255, "tokenizer": "bpe"}, "data.vocab_size=255: must be in \\[256, 1000000\\]"),
    ],
    ids=str,
)
def test_wrong_setting_is_rejected_by_name_value_and_rule(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig(**changed)


# ---- lanes, for a state that is carried

SHAPES = {"length": st.integers(2, 400), "block_size": st.integers(1, 17), "batch_size": st.integers(1, 11)}


@given(**SHAPES, seed=st.integers(0, 2**63 - 1))
@settings(deadline=None, max_examples=200)
def test_streams_go_on_without_jumps_inside_the_text(length: int, block_size: int, batch_size: int, seed: int) -> None:
    """The text counts upwards, so that a token is its position."""
    if length < batch_size * block_size + 1:
        return
    ours = lanes(length, block_size=block_size, batch_size=batch_size, seed=seed)
    assert ours.epoch == (length - 1) // batch_size // block_size
    for epoch in range(3):
        seen = np.empty((batch_size, 0), np.int64)
        for step in range(epoch * ours.epoch, (epoch + 1) * ours.epoch):
            assert ours.fresh(step) == (step == epoch * ours.epoch)
            inputs, targets = ours(step)
            assert inputs.shape == targets.shape == (batch_size, block_size)
            assert torch.equal(targets, inputs + 1)
            seen = np.concatenate((seen, targets.numpy()), axis=1)
        assert (np.diff(seen, axis=1) == 1).all()  # a lane's blocks go on where they ended
        assert len(np.unique(seen)) == seen.size  # every target of an epoch once
        assert seen.min() >= 1
        assert seen.max() < length
        assert length - 1 - seen.size < batch_size * block_size + batch_size  # no block that would fit is left out


def test_streams_of_another_shift_take_another_part_of_what_is_left() -> None:
    ours = lanes(3 * (4 * 7 + 5) + 3)  # 5 tokens of a lane are left over, and 2 of the text
    starts = np.stack([ours.starts(epoch * ours.epoch) for epoch in range(200)])
    assert (np.diff(starts, axis=1) == 33).all()
    assert set(starts[:, 0]) == set(range(5 + 2 + 1))


def test_shifts_are_uniform_over_all_that_fit(chi_square_p: Callable[[Any, Any], float]) -> None:
    ours = lanes(3 * (7 + 5) + 3)
    shifts = np.array([ours.starts(epoch)[0] for epoch in range(8000)])
    assert chi_square_p(np.bincount(shifts, minlength=8), np.full(8, 1 / 8)) > 1e-4


def test_streams_that_fit_exactly_never_move() -> None:
    ours = lanes(3 * 4 * 7 + 1)
    assert {tuple(ours.starts(epoch * 4)) for epoch in range(9)} == {(0, 28, 56)}


def test_every_seed_shifts_differently() -> None:
    ours = [lanes(60_000, block_size=40_000, batch_size=1, seed=seed) for seed in range(20)]
    assert len({int(one.starts(epoch)[0]) for one in ours for epoch in range(5)}) > 95


def test_steps_of_a_stream_of_any_size() -> None:
    assert lanes(seed=2**63 - 1)(2**40)[0].max() < 101


@pytest.mark.parametrize("length", [2, 20, 21])
def test_text_too_short_for_its_streams_is_rejected_with_numbers(length: int) -> None:
    with pytest.raises(
        DataError, match=rf"batch_size=3.*block_size=7 needs 22 tokens to train on, found {length}: lower"
    ):
        lanes(length)
    assert lanes(22).epoch == 1
