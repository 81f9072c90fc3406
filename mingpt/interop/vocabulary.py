"""A tokenizer as the tokenizer.json of the `tokenizers` library, which `transformers` reads as a fast tokenizer.

Each class of tokenizer says here how; one whose own file is such a tokenizer.json is passed on as it is.
"""

import json
from collections.abc import Callable
from typing import Any

from mingpt.core.errors import UsageError
from mingpt.core.token_ids import Tokenizer
from mingpt.data import tokenizers
from mingpt.data.bpe_tokenizer import LibraryTokenizer
from mingpt.data.tokenizer_json import byte_of
from mingpt.data.tokenizers import ByteTokenizer, CharTokenizer

Described = dict[str, Any]
UNKNOWN = "[UNK]"  # not in the vocabulary: an unknown character is rejected, as it is here


def _of_characters(tokenizer: CharTokenizer) -> Described:
    """A word per character: the text is split at every one, and written without anything between them."""
    vocabulary = {character: id for id, character in enumerate(tokenizer.vocabulary)}
    return {
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN},
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False},
        "decoder": {"type": "Fuse"},
    }


def _of_bytes(tokenizer: ByteTokenizer) -> Described:
    """Byte-level BPE that joins nothing."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"model": {"type": "BPE", "vocab": byte_of(), "merges": []}, "pre_tokenizer": level, "decoder": level}


WRITERS: dict[type, Callable[[Any], str | Described]] = {
    CharTokenizer: _of_characters,
    ByteTokenizer: _of_bytes,
    LibraryTokenizer: LibraryTokenizer.to_json,
}


def as_json(tokenizer: Tokenizer) -> str:
    """The content of a tokenizer.json that encodes and decodes as `tokenizer` does.

    Raises:
        UsageError: no such conversion.
    """
    write = WRITERS.get(type(tokenizer))
    if write is None:
        known = ", ".join(kind.__name__ for kind in WRITERS)
        raise UsageError(f"{type(tokenizer).__name__}: can't be written as a tokenizer.json; known: {known}")
    described = write(tokenizer)
    if isinstance(described, str):
        return described
    nothing = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor"))
    return json.dumps({"version": "1.0", **nothing, "added_tokens": [], **described}, indent=1, ensure_ascii=False)


def from_json(content: str) -> Tokenizer:
    """The tokenizer that a tokenizer.json describes; one that `as_json` made of characters or bytes is that again.

    Raises:
        CheckpointError: it describes none.
    """
    tokenizer, described = tokenizers.from_json(content), json.loads(content)
    words = described["model"]["vocab"] if isinstance(tokenizer, LibraryTokenizer) else {}
    if isinstance(words, dict) and [*words.values()] == list(range(len(words))) and set(map(len, words)) == {1}:
        ours = (CharTokenizer(words), ByteTokenizer())
        return next((one for one in ours if json.loads(as_json(one)) == described), tokenizer)
    return tokenizer
