"""Tokenizers of the `tokenizers` library: every text comes back, every byte is counted, nothing depends on chance."""

import codecs
import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import python
from tokenizers import decoders, models, normalizers, pre_tokenizers

from mingpt.core.errors import CheckpointError, UsageError
from mingpt.data import bpe_tokenizer, tokenizer_base
from mingpt.data.bpe_tokenizer import LibraryTokenizer
from mingpt.data.tokenizer_base import cut, shown
from mingpt.data.tokenizers import TOKENIZERS, CharTokenizer, from_json
from mingpt.inference.generate import spells
from mingpt.interop.vocabulary import as_json

TEXT = "The cat sat; the dog, too: Zoë’s 🤗 they're 1234\n\n  and so on.\r\n" * 9


@pytest.fixture(scope="module")
def bpe() -> LibraryTokenizer:
    return LibraryTokenizer.of([TEXT], vocab_size=290)


def spelled(tokenizer: tokenizer_base.Tokenizer, ids: Any) -> bytes:
    return b"".join(tokenizer.spelling[id] for id in ids)


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(text=st.text(min_size=1, max_size=60))
@settings(deadline=None, max_examples=60)
@pytest.mark.full
def test_spelling_is_the_text(kind: str, text: str) -> None:
    tokenizer = TOKENIZERS[kind].of([text])
    assert spelled(tokenizer, tokenizer.encode(text)) == text.encode()
    assert len(tokenizer.spelling) == tokenizer.vocab_size


@pytest.mark.parametrize("kind", ["byte", "bpe"])
@given(text=st.text(max_size=200))
@settings(deadline=None, max_examples=100)
def test_text_of_other_characters_than_learned_comes_back(kind: str, bpe: LibraryTokenizer, text: str) -> None:
    tokenizer = bpe if kind == "bpe" else TOKENIZERS[kind].of([TEXT])
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(ids=st.lists(st.integers(0, 289), max_size=60))
@settings(deadline=None, max_examples=300)
def test_ids_that_are_no_text_are_spelled_as_decoded(bpe: LibraryTokenizer, ids: list[int]) -> None:
    stepwise = codecs.getincrementaldecoder("utf-8")("replace")
    pieces = [stepwise.decode(bpe.spelling[id]) for id in ids]
    assert "".join([*pieces, stepwise.decode(b"", final=True)]) == bpe.decode(ids)


def test_vocabulary_has_the_size_asked_and_joins_nothing_that_stands_once(bpe: LibraryTokenizer) -> None:
    assert bpe.vocab_size == 290
    assert len(bpe.encode(TEXT)) < len(TEXT.encode()) / 1.5
    assert LibraryTokenizer.of(["abcdefgh"], vocab_size=300).vocab_size == 256
    assert LibraryTokenizer.of(["", ""], vocab_size=300).encode("é").tolist() == [127, 102]  # GPT-2's numbers of bytes


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_text_in_pieces_makes_the_same_vocabulary(kind: str) -> None:
    line = TEXT.index("\n") + 1
    of = TOKENIZERS[kind].of
    assert of([TEXT[:line], TEXT[line:]], 290).to_json() == of([TEXT], 290).to_json()


def test_vocabulary_depends_neither_on_threads_nor_on_hashes(bpe: LibraryTokenizer) -> None:
    code = (
        f"from mingpt.data.bpe_tokenizer import LibraryTokenizer as L; print(L.of([{TEXT!r}], 290).to_json(), end='')"
    )
    for number in "12":
        assert python(code, RAYON_NUM_THREADS=number, PYTHONHASHSEED=number) == bpe.to_json().strip()


@pytest.mark.parametrize("limits", [(400, 10**9), (10**9, 120)], ids=["characters", "words"])
def test_long_text_is_learned_from_parts_of_all_of_it(monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int]) -> None:
    for name, limit in zip(("LEARNED_FROM", "LEARNED_WORDS", "LONGEST_WORD"), (*limits, 20), strict=True):
        monkeypatch.setattr(bpe_tokenizer, name, limit)
    text = "".join(f"w{number} said so\n" for number in range(300))
    kept = bpe_tokenizer._spread([text])
    assert kept == bpe_tokenizer._spread([text[:77], text[77:]])
    places = [text.index(piece) for piece in kept]
    assert len(kept) >= 5
    assert places[0] == 0
    assert max(after - before for before, after in pairwise([*places, len(text)])) <= len(text) / 3
    assert sum(map(len, kept)) <= limits[0] + 20
    assert len({word for piece in kept for word in bpe_tokenizer.WORDS.findall(piece)}) < 120


def test_word_without_an_end_is_learned_in_pieces() -> None:
    """The library takes minutes for one of 50,000 letters."""
    assert {len(piece) for piece in bpe_tokenizer._spread(["x" * 3000])} == {1000}


def test_library_reads_what_we_save_and_we_keep_what_it_saved(bpe: LibraryTokenizer) -> None:
    theirs = tokenizers.Tokenizer.from_str(bpe.to_json())
    assert theirs.encode(TEXT).ids == bpe.encode(TEXT).tolist()
    saved = theirs.to_str(pretty=True)
    assert from_json(saved).to_json() == saved


@given(
    text=st.text(
        st.sampled_from("abé中1'st,. \n\t\r\x0b\x1c\x1f\x85\xa0\u2003\u2028\u200b\u3000\ufeff\u0301🤗")
        | st.characters(exclude_categories=["Cs"]),
        max_size=60,
    )
)
@settings(deadline=None, max_examples=600)
@pytest.mark.full
def test_ids_word_by_word_are_the_library_s(bpe: LibraryTokenizer, text: str) -> None:
    assert bpe.encode(text).tolist() == tokenizers.Tokenizer.from_str(bpe.to_json()).encode(text).ids
    assert bpe.encode(TEXT + text).tolist() == tokenizers.Tokenizer.from_str(bpe.to_json()).encode(TEXT + text).ids


def test_words_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe_tokenizer, "WORDS_HELD", 50)
    monkeypatch.setattr(tokenizer_base, "PIECE", 20)
    tokenizer = LibraryTokenizer.of([TEXT], 290)
    letters = "".join(f" {n:x}word" for n in range(300))
    ids = tokenizer.encode(letters)
    assert tokenizer.decode(ids) == letters
    assert sum(map(len, tokenizer._of_word)) <= 50 + 20


# ---- a tokenizer.json of somebody else


def ready_made(**parts: Any) -> LibraryTokenizer:
    """Words of letters, `UNK` for others; with other parts."""
    words = {word: id for id, word in enumerate(["UNK", "a", "b", "c", " ", "A"])}
    theirs = tokenizers.Tokenizer(models.WordLevel(words, unk_token="UNK"))
    theirs.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
    theirs.decoder = decoders.Fuse()
    for name, part in parts.items():
        setattr(theirs, name, part)
    return LibraryTokenizer(theirs.to_str())


def test_characters_outside_its_vocabulary_become_unk() -> None:
    tokenizer = ready_made()
    assert tokenizer.decode(tokenizer.encode("a b cA")) == "a b cA"
    with pytest.raises(UsageError, match=r"unknown to this vocabulary of 6: 'x' \(U\+0078\), 'П' \(U\+041F\)$"):
        tokenizer.encode("aПxa")


def test_unknown_character_is_an_error_of_its_own_in_an_export() -> None:
    """Of an exported run of characters the unk_token is no word of the vocabulary."""
    exported = from_json(as_json(CharTokenizer("abc ")))
    assert exported.decode(exported.encode("a b cab")) == "a b cab"
    assert not spells(exported, "ROMEO:")
    with pytest.raises(UsageError, match=r"^unknown to this vocabulary of 4: 'x' \(U\+0078\), 'П' \(U\+041F\)$"):
        exported.encode("aПxa")


@pytest.mark.parametrize("token", ["<0xZZ>", "<0x+1>", "<0x_1>"])
def test_token_that_only_looks_like_a_byte_is_text(token: str) -> None:
    words = {word: id for id, word in enumerate(["a", token])}
    theirs = tokenizers.Tokenizer(models.WordLevel(words, unk_token="a"))
    theirs.decoder = decoders.Fuse()
    assert LibraryTokenizer(theirs.to_str()).spelling == [b"a", token.encode()]


def test_text_that_it_would_change_is_rejected() -> None:
    tokenizer = ready_made(normalizer=normalizers.Replace("cab", "ab"))
    assert tokenizer.encode("abc").tolist() == [1, 2, 3]
    with pytest.raises(UsageError, match=r"gives 'ab' back for 'cab'$"):
        tokenizer.encode("a cab")


def test_bytes_of_a_tokenizer_that_hides_the_first_space_are_counted() -> None:
    vocabulary = {word: id for id, word in enumerate(["▁", "a", "b", "▁a", "<0xC3>", "<0xA9>", "UNK"])}
    theirs = tokenizers.Tokenizer(models.BPE(vocabulary, [("▁", "a")], unk_token="UNK", byte_fallback=True))
    theirs.pre_tokenizer = pre_tokenizers.Metaspace()
    theirs.decoder = decoders.Sequence([decoders.Metaspace(), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = LibraryTokenizer(theirs.to_str())
    ids = tokenizer.encode("a a b aé")
    assert spelled(tokenizer, ids) == " a a b aé".encode()  # of the first word it can't be known
    assert [shown(tokenizer, id) for id in ids[-2:]] == ["\\xc3", "\\xa9"]


@pytest.mark.parametrize(
    "content",
    [
        '{"model": {}}',
        '{"model": []}',
        '{"model": {"type": "BPE", "vocab": {}, "merges": []}}',
        '{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}',
        '{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.5}}',
        '{"type": "bpe"}',
        '{"model": {"type": "WordLevel", "vocab": {"a": 4000000000}, "unk_token": "a"}}',
        '{"model": {"type": "WordLevel", "vocab": {"a": -1}, "unk_token": "a"}}',
        '{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "b"}, "pre_tokenizer": {"type": "os.system"}}',
        '{"model": ' * 2000,
    ],
)
def test_what_describes_no_tokenizer_of_the_library_is_rejected(content: str) -> None:
    with pytest.raises(CheckpointError, match=r"^tokenizer\.json: "):
        from_json(content)


# ---- what is shared


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_half_a_surrogate_pair_is_an_error_of_ours(kind: str, bpe: LibraryTokenizer) -> None:
    tokenizer = bpe if kind == "bpe" else TOKENIZERS[kind].of([TEXT])
    with pytest.raises(UsageError, match=r"'\\udcff' \(U\+DCFF\)$"):
        tokenizer.encode("a\udcffb")


def test_token_that_is_part_of_a_character_is_shown_as_broken_text(bpe: LibraryTokenizer) -> None:
    ids = TOKENIZERS["byte"].of([]).encode("aé")
    assert [shown(TOKENIZERS["byte"].of([]), id) for id in ids] == ["a", "\\xc3", "\\xa9"]
    assert "".join(shown(bpe, id) for id in bpe.encode("The dog")) == "The dog"
    assert shown(CharTokenizer.of("é"), 0) == "é"


@given(text=st.text(alphabet="ab \n", max_size=80), sizes=st.lists(st.integers(1, 30), min_size=1))
@settings(deadline=None, max_examples=200)
def test_pieces_do_not_depend_on_chunks_and_lose_nothing(text: str, sizes: list[int]) -> None:
    chunks, rest = [], text
    for size in sizes:
        chunks.append(rest[:size])
        rest = rest[size:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer_base, "PIECE", 7)
        pieces = list(cut([text]))
        assert list(cut([*chunks, rest])) == pieces
    assert "".join(pieces) == text
    assert all(1 <= len(piece) <= 7 for piece in pieces)


def test_pieces_end_with_lines_where_these_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_base, "PIECE", 7)
    assert list(cut(["ab\ncd\nefgh ijkl mnopqrstuv"])) == ["ab\ncd\n", "efgh", " ijkl", " mnopqr", "stuv"]


def test_ids_of_a_long_text_do_not_depend_on_how_many_pieces_go_at_once(
    bpe: LibraryTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_base, "PIECE", 20)
    whole = bpe.encode(TEXT)
    assert np.array_equal(whole, np.concatenate([bpe.encode(piece) for piece in cut([TEXT])]))
    assert whole.dtype == np.uint16
    assert json.loads(bpe.to_json())["model"]["type"] == "BPE"
