"""Training, validation and test set: their order, their lengths, and what a test set changes."""

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mingpt.core.errors import DataError, UsageError
from mingpt.data.data_config import DataConfig
from mingpt.data.splits import BYTES, CHARACTERS, borders, split
from mingpt.data.tokenizers import TOKENIZERS, CharTokenizer


@given(length=st.integers(4, 10**9), val_fraction=st.floats(1e-9, 1 - 1e-9))
def test_without_a_test_set_the_validation_set_is_as_ever(length: int, val_fraction: float) -> None:
    before = min(max(int(length * (1 - val_fraction)), 2), length - 2)
    assert borders(length, val_fraction) == (before, length)


def test_published_split_of_text8_is_exact() -> None:
    assert borders(100_000_000, 0.05, 0.05) == (90_000_000, 95_000_000)


@example(length=20, fractions=(0.6, 0.39))  # the training set takes its least from the validation set
@given(length=st.integers(6, 300), fractions=st.tuples(st.floats(1e-6, 0.6), st.floats(1e-6, 0.39)))
@settings(deadline=None, max_examples=200)
def test_sets_are_in_order_and_share_nothing(length: int, fractions: tuple[float, float]) -> None:
    text = "".join(chr(0x4E00 + n) for n in range(length))
    val_fraction, test_fraction = fractions
    found = split(text, CharTokenizer.of(text), block_size=1, val_fraction=val_fraction, test_fraction=test_fraction)
    assert found.test is not None
    assert np.array_equal(np.concatenate([found.train, found.validation, found.test]), np.arange(length))
    assert min(map(len, (found.train, found.validation, found.test))) >= 2
    assert found.tokens == length
    if length * min(val_fraction, test_fraction) > 4 and length * (1 - val_fraction - test_fraction) >= 2:
        assert abs(len(found.validation) - length * val_fraction) <= 1.001
        assert abs(len(found.test) - length * test_fraction) <= 1


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_every_tokenizer_tests_on_the_same_characters(kind: str) -> None:
    text = "aé 🤗\n" * 20
    tokenizer, at = TOKENIZERS[kind].of([text], 257), borders(100, 0.23, 0.31)
    parts = split(text, tokenizer, block_size=1, val_fraction=0.23, test_fraction=0.31)
    assert [tokenizer.decode(ids) for ids in parts if ids is not None] == [
        text[: at[0]],
        text[at[0] : at[1]],
        text[at[1] :],
    ]


def test_short_text_for_three_sets_is_rejected() -> None:
    tokenizer = CharTokenizer("abcde")
    with pytest.raises(DataError, match=r"needs 6 tokens, found 5: take a longer text$"):
        split("abcde", tokenizer, block_size=1, val_fraction=0.3, test_fraction=0.3)
    assert [
        len(ids)
        for ids in split("abcdea", tokenizer, block_size=1, val_fraction=0.01, test_fraction=0.01)
        if ids is not None
    ] == [2, 2, 2]


@given(text=st.text(alphabet="aé中🤗", max_size=40), n=st.integers(0, 130))
def test_bytes_end_at_the_last_whole_character(text: str, n: int) -> None:
    found = BYTES.first(text, n)
    assert text.startswith(found)
    assert BYTES.length(found) <= n
    rest = text[len(found) :]
    assert not rest or BYTES.length(found + rest[0]) > n
    assert CHARACTERS.first(text, n) == text[:n]


def test_sets_measured_in_bytes_begin_at_the_character_that_holds_the_border() -> None:
    text = "é" * 25 + "中" * 20 + "ab" * 20  # 50 + 60 + 40 bytes
    tokenizer = TOKENIZERS["byte"].of([text])
    found = split(text, tokenizer, block_size=1, val_fraction=0.25, test_fraction=0.25, unit=BYTES)
    assert [len(ids) for ids in found if ids is not None] == [74, 38, 38]  # 75 is inside a 中, 112 is not
    assert b"".join(bytes(ids) for ids in found if ids is not None).decode() == text


@pytest.mark.parametrize(
    ("fractions", "said"),
    [
        ({"test_fraction": -0.1}, "data.test_fraction=-0.1: must be 0 (none) or less than 1"),
        ({"test_fraction": 1.0}, "data.test_fraction=1.0: must be 0 (none) or less than 1"),
        (
            {"val_fraction": 0.5, "test_fraction": 0.5},
            "data.test_fraction=0.5: must leave text to train on: less than 1 with data.val_fraction=0.5",
        ),
    ],
    ids=str,
)
def test_fractions_that_leave_nothing_are_rejected(fractions: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(said)}$"):
        DataConfig(**fractions)  # type: ignore[arg-type]
