"""The n-gram bar against counting in dictionaries, and a case by hand."""

import math
from collections import Counter

import numpy as np
import pytest

from mingpt import ngram
from mingpt.ngram import additive_losses


def counted_in_dictionaries(train: list[int], held_out: list[int], v: int, n: int) -> float:
    nats = []
    for i in range(1, len(held_out)):
        before = min(n - 1, i)
        grams = Counter(tuple(train[j - before : j + 1]) for j in range(before, len(train)))
        contexts = Counter(tuple(train[j - before : j]) for j in range(before, len(train)))
        gram = tuple(held_out[i - before : i + 1])
        nats.append(-math.log((grams[gram] + 0.02) / (contexts[gram[:-1]] + 0.02 * v)))
    return sum(nats) / len(nats)


@pytest.mark.parametrize(
    ("v", "train", "held_out"), [(2, 97, 13), (3, 41, 29), (11, 53, 17), (5, 3, 7), (5, 7, 2), (5, 7, 4), (1, 11, 5)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_losses_equal_counting_in_dictionaries(v: int, train: int, held_out: int, dtype: type) -> None:
    ids = np.random.default_rng(v * train).integers(v, size=train + held_out).astype(dtype)
    losses = additive_losses(ids[:train], ids[train:], v)
    assert list(losses) == ["1-gram", "2-gram", "3-gram", "4-gram", "5-gram"]
    for n in range(1, 6):
        expected = counted_in_dictionaries(ids[:train].tolist(), ids[train:].tolist(), v, n)
        assert losses[f"{n}-gram"] == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_a_case_by_hand() -> None:
    a, b = 0, 1
    losses = additive_losses(np.array([a, b, a, b, a]), np.array([b, a, b]), 2)
    one = -(math.log(3.02 / 5.04) + math.log(2.02 / 5.04)) / 2
    two = -2 * math.log(2.02 / 2.04) / 2
    three = -(math.log(2.02 / 2.04) + math.log(1.02 / 1.04)) / 2  # the first target has one token before it
    found = [losses[f"{n}-gram"] for n in (1, 2, 3, 4)]
    assert found == pytest.approx([one, two, three, three], rel=1e-12)


def test_a_token_that_training_lacks_costs_what_was_added() -> None:
    losses = additive_losses(np.zeros(100, dtype=np.uint8), np.array([0, 1], dtype=np.uint8), 2)
    assert losses["1-gram"] == pytest.approx(-math.log(0.02 / 100.04), rel=1e-12)


def test_renumbering_by_sorting_and_by_table_agree() -> None:
    codes = np.array([7, 3, 1 << 29, 3, 0], dtype=np.int64)
    assert ngram._dense(codes).tolist() == [2, 1, 3, 1, 0]
    assert ngram._dense(codes % 1009).tolist() == np.unique(codes % 1009, return_inverse=True)[1].tolist()
