"""Tokenizers that put a space before a text, normalise it or look for added tokens: every text comes back."""

import json
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from mingpt.core.errors import UsageError
from mingpt.data import tokenizer_base
from mingpt.data.bpe_tokenizer import LibraryTokenizer
from mingpt.data.tokenizer_base import cut

WORDS = ["▁", "a", "b", "c", "▁a", "ab", "\n", "é", "<s>", "</s>", "<|end of text|>", ".", "UNK"]
IDS = {word: id for id, word in enumerate(WORDS)}
ADDED = [tokenizers.AddedToken(text, special=True, normalized=False) for text in ("<s>", "</s>", "<|end of text|>")]
STRIP = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
LLAMA = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
GPT2 = {**{c: id for id, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, "Ġa": 256, "ab": 257}


def pieces_of(**parts: Any) -> tokenizers.Tokenizer:
    theirs = tokenizers.Tokenizer(models.BPE(IDS, [("▁", "a"), ("a", "b")], unk_token="UNK"))
    for name, part in parts.items():
        setattr(theirs, name, part)
    return theirs


def byte_level(prefix: bool) -> tokenizers.Tokenizer:
    theirs = tokenizers.Tokenizer(models.BPE(GPT2, [("Ġ", "a"), ("a", "b")]))
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    theirs.decoder = decoders.ByteLevel()
    return theirs


MAKERS = {
    "Llama 2": lambda: pieces_of(normalizer=LLAMA, decoder=decoders.Sequence(STRIP)),
    **{
        f"metaspace {scheme}": lambda scheme=scheme: pieces_of(
            pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False),
            decoder=decoders.Metaspace(prepend_scheme=scheme, split=False),
        )
        for scheme in ("always", "first", "never")
    },
    "bytes with a prefix": lambda: byte_level(True),
    "bytes without one": lambda: byte_level(False),
}
every_maker = pytest.mark.parametrize("maker", MAKERS)


def made(maker: str, added: bool = True) -> tuple[LibraryTokenizer, tokenizers.Tokenizer]:
    """Ours, and the library's own."""
    theirs = MAKERS[maker]()
    if added:
        theirs.add_tokens(ADDED)
    return LibraryTokenizer(theirs.to_str()), theirs


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_base, "PIECE", 7)


@every_maker
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        " a",
        "  ab  ",
        "\n a",
        "a ab\nabc a",
        "a" * 40,
        " " * 30,
        "ab a\n\n\n a b c ab abc a\n  b c a é b\na",
        "é" * 20,
    ],
    ids=repr,
)
@pytest.mark.thin
def test_long_text_comes_back_with_no_space_added_anywhere(maker: str, added: bool, text: str) -> None:
    ours, _ = made(maker, added)
    ids = ours.encode(text)
    assert ours.decode(ids) == text
    assert ours.decode([id for each in ours.encode_each(cut([text])) for id in each.tolist()]) == text


@every_maker
@pytest.mark.parametrize("text", ["a ab\nabc a", " a b", "ab", "ab a\nabc\na b c ab abc a\nb c a é b\na"], ids=repr)
def test_ids_are_the_library_s_where_it_gives_the_text_back(maker: str, text: str) -> None:
    ours, theirs = made(maker, added=False)
    right = theirs.encode(text, add_special_tokens=False).ids
    given_back = theirs.decode(right, skip_special_tokens=False) == text
    assert (ours.encode(text).tolist() == right) == given_back
    assert given_back or text[0] == " " or maker == "bytes with a prefix"


@every_maker
@pytest.mark.parametrize(
    "text",
    ["</s>", "a</s>a b", "</s>ab</s> a", "a\n<s>ab", "ab abc<|end of text|>ab ab", "<|end of text|>" * 5],
    ids=repr,
)
def test_special_tokens_in_a_text_are_found_wherever_it_is_cut_and_come_back(
    monkeypatch: pytest.MonkeyPatch, maker: str, text: str
) -> None:
    monkeypatch.setattr(tokenizer_base, "PIECE", 16)
    ours, theirs = made(maker)
    ids = ours.encode(text).tolist()
    assert ours.decode(ids) == text
    numbers = {theirs.token_to_id(token.content): token.content for token in ADDED}
    assert [numbers[id] for id in ids if id in numbers] == [
        found for found in text.replace("<", "\0<").replace(">", ">\0").split("\0") if found in numbers.values()
    ]


def test_bytes_are_counted_in_every_piece() -> None:
    for maker in MAKERS:
        ours, _ = made(maker)
        text = "ab a\nabc\na b c ab"
        (*rest,) = ours.encode(text).tolist()
        spelled = b"".join(ours.spelling[id] for id in rest)
        assert spelled.decode().removeprefix(" ") == text


def test_text_that_a_tokenizer_normalises_is_rejected_with_the_form_that_it_takes() -> None:
    ours = LibraryTokenizer(pieces_of(normalizer=normalizers.NFC(), decoder=decoders.Fuse()).to_str())
    assert ours.decode(ours.encode("éabé")) == "éabé"
    with pytest.raises(UsageError, match=r"gives '\\xe9' back for 'e\\u0301', since it normalises .*: .* in NFC$"):
        ours.encode("abe\u0301")


def test_characters_of_a_tokenizer_with_a_prefix_are_known() -> None:
    for maker in ("Llama 2", "metaspace first"):
        with pytest.raises(UsageError, match=r"^unknown to this vocabulary of \d+: 'x' \(U\+0078\)$"):
            made(maker)[0].encode("ab x a")


def test_prefix_is_removed_from_steps_inside_steps_too() -> None:
    described = json.loads(pieces_of(decoder=decoders.Sequence(STRIP)).to_str())
    inner = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}]}
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    described["normalizer"] = {"type": "Sequence", "normalizers": [inner, space]}
    ours = LibraryTokenizer(json.dumps(described))
    assert ours.encode("a b").tolist() == [IDS["▁a"], IDS["▁"], IDS["b"]]
    assert ours.decode(ours.encode("a ab abc ab a")) == "a ab abc ab a"
