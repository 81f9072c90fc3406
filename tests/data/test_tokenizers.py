"""Characters to ids and back: nothing lost, nothing guessed, everything unknown said."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mingpt.core.errors import CheckpointError, UsageError
from mingpt.data.tokenizers import TOKENIZERS, CharTokenizer, from_json

AWKWARD = 'Zoë\r\n\0"\\ 🤗\U0010ffff\ufeff\u2028né'


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(text=st.text(min_size=1, max_size=40))
@settings(deadline=None, max_examples=60)
def test_decode_of_encode_is_the_text_and_json_keeps_that(kind: str, text: str) -> None:
    tokenizer = TOKENIZERS[kind].of(text)
    ids = tokenizer.encode(text)
    assert ids.ndim == 1
    assert ids.dtype.kind == "u"
    assert ids.max() < tokenizer.vocab_size
    assert tokenizer.decode(ids) == text
    again = from_json(tokenizer.to_json())
    assert type(again) is type(tokenizer)
    assert again.to_json() == tokenizer.to_json()
    assert again.vocab_size == tokenizer.vocab_size
    assert np.array_equal(again.encode(text), ids)


@given(known=st.text(max_size=20), asked=st.text(max_size=20))
@settings(deadline=None, max_examples=60)
def test_exactly_the_unknown_characters_are_listed(known: str, asked: str) -> None:
    tokenizer, unknown = CharTokenizer.of(known), sorted(set(asked) - set(known))
    if not unknown:
        assert tokenizer.decode(tokenizer.encode(asked)) == asked
        return
    with pytest.raises(UsageError) as refusal:
        tokenizer.encode(asked)
    message = str(refusal.value)
    assert all(f"{c!r} (U+{ord(c):04X})" in message for c in unknown[:10])
    assert message.count("(U+") == min(len(unknown), 10)


def test_ids_follow_code_points() -> None:
    tokenizer = CharTokenizer.of("b🤗aéa")
    assert tokenizer.vocabulary == ["a", "b", "é", "🤗"]
    assert tokenizer.encode("🤗ab").tolist() == [3, 0, 1]
    assert tokenizer.decode([2, 1]) == "éb"


def test_unknown_characters_come_with_code_points() -> None:
    with pytest.raises(UsageError, match=r"vocabulary of 3: 'П' \(U\+041F\), '🤗' \(U\+1F917\)$"):
        CharTokenizer.of("abc").encode("aПb🤗П")


def test_a_long_list_of_unknown_characters_is_cut_and_counted() -> None:
    with pytest.raises(UsageError, match=r"'j' \(U\+006A\) and 3 more$"):
        CharTokenizer.of("xyz").encode("abcdefghijklmx")


def test_a_character_just_above_the_highest_known_is_unknown() -> None:
    with pytest.raises(UsageError, match=r"'d' \(U\+0064\)"):
        CharTokenizer.of("abc").encode("d")


@pytest.mark.parametrize(("size", "itemsize"), [(1, 1), (255, 1), (256, 1), (257, 2), (65_536, 2), (65_537, 4)])
def test_ids_are_as_small_as_the_vocabulary_allows(size: int, itemsize: int) -> None:
    tokenizer = CharTokenizer(chr(0x10000 + i) for i in range(size))
    ids = tokenizer.encode(chr(0x10000 + size - 1))
    assert ids.dtype.itemsize == itemsize
    assert ids.tolist() == [size - 1]


def test_a_text_longer_than_one_piece() -> None:
    text = "abcdefg" * ((1 << 20) // 7) + "xyz" * 5  # the border of the first piece lies in the tail
    assert len(text) > 1 << 20
    tokenizer = CharTokenizer.of(text)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids[-20:]) == text[-20:]
    assert np.array_equal(ids[:7], tokenizer.encode("abcdefg"))
    with pytest.raises(UsageError, match=r"'!' \(U\+0021\)"):
        tokenizer.encode(text + "!")


def test_json_is_ascii_and_survives_awkward_characters() -> None:
    tokenizer = CharTokenizer.of(AWKWARD)
    content = tokenizer.to_json()
    assert content.isascii()
    assert from_json(content).decode(tokenizer.encode(AWKWARD)) == AWKWARD


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        "{}",
        '{"type": "char"}',
        '{"vocabulary": ["a"]}',
        '{"type": "chra", "vocabulary": ["a"]}',
        '{"type": ["char"], "vocabulary": ["a"]}',
        '{"type": "char", "vocabulary": []}',
        '{"type": "char", "vocabulary": 7}',
        '{"type": "char", "vocabulary": ["a", "bc"]}',
        '{"type": "char", "vocabulary": ["a", ""]}',
        '{"type": "char", "vocabulary": ["a", 7]}',
        '{"type": "char", "vocabulary": ["a", ["b"]]}',
        '{"type": "char", "vocabulary": ["a", "b", "a"]}',
    ],
)
def test_what_describes_no_tokenizer_is_rejected(content: str) -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        from_json(content)


def test_json_says_what_kind_it_is() -> None:
    assert json.loads(CharTokenizer.of("ab").to_json()) == {"type": "char", "vocabulary": ["a", "b"]}
