"""Text to ids and back: the kinds of tokenizer that there are."""

import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from mingpt.core.errors import CheckpointError
from mingpt.core.registry import Registry
from mingpt.core.safe_parsing import parse_json
from mingpt.core.token_ids import Ids, Tokenizer
from mingpt.data.bpe_tokenizer import LibraryTokenizer
from mingpt.data.data_config import BYTES, VOCAB_SIZE
from mingpt.data.tokenizer_base import Kind, smallest_type, unknown_characters, utf8

TOKENIZERS: Registry[type[Kind]] = Registry("data.tokenizer")


@TOKENIZERS.add("char")
class CharTokenizer:
    """One id per character, in code-point order.

    Args:
        vocabulary: the characters, each once.
    """

    learns: ClassVar[bool] = False
    unit: ClassVar[str] = "character"

    def __init__(self, vocabulary: Iterable[str]) -> None:
        self.vocabulary = list(vocabulary)
        codes = np.array([ord(c) for c in self.vocabulary], dtype=np.int64)
        self._dtype = smallest_type(len(codes))
        self._id_of = np.full(int(codes.max(initial=0)) + 2, -1, dtype=np.int32)  # the last entry: any higher code
        self._id_of[codes] = np.arange(len(codes))

    @classmethod
    def of(cls, pieces: Iterable[str], vocab_size: int = VOCAB_SIZE) -> Self:
        """The vocabulary of a text, whole or in pieces: every character that it has."""
        found: set[str] = set()
        for piece in (pieces,) if isinstance(pieces, str) else pieces:
            found |= set(piece)
        return cls(sorted(found))

    @classmethod
    def read(cls, described: Any, content: str) -> Self:
        vocabulary = described["vocabulary"]
        if any(len(c) != 1 for c in vocabulary) or len(set(vocabulary)) != max(len(vocabulary), 1):
            raise ValueError
        return cls(vocabulary)

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    @functools.cached_property
    def spelling(self) -> Sequence[bytes]:
        return [c.encode("utf-8", "surrogatepass") for c in self.vocabulary]

    def encode(self, text: str) -> Ids:
        """Ids of each character, in a compact array.

        Raises:
            UsageError: characters outside the vocabulary, all of them listed with their code points.
        """
        ids = np.empty(len(text), dtype=self._dtype)
        piece = 1 << 20  # bounds what a long text costs in memory
        for start in range(0, len(text), piece):
            part = text[start : start + piece]
            codes = np.frombuffer(part.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
            found = self._id_of[np.minimum(codes, len(self._id_of) - 1)]
            if found.min(initial=0) < 0:
                raise unknown_characters(set(text) - set(self.vocabulary), self.vocab_size)
            ids[start : start + len(part)] = found
        return ids

    def encode_each(self, pieces: Iterable[str]) -> Iterator[Ids]:
        """Ids of each piece, as they come."""
        return map(self.encode, pieces)

    def decode(self, ids: Iterable[int]) -> str:
        """The characters of `ids`, joined."""
        return "".join(self.vocabulary[i] for i in ids)

    def to_json(self) -> str:
        """What tokenizer.json holds; `from_json` reads it back."""
        return json.dumps({"type": "char", "vocabulary": self.vocabulary}, indent=0) + "\n"


@TOKENIZERS.add("byte")
class ByteTokenizer:
    """One id per byte of UTF-8: 256 of them write any text, in any script."""

    learns: ClassVar[bool] = False
    unit: ClassVar[str] = "byte"
    vocab_size = BYTES
    spelling: Sequence[bytes] = [bytes([number]) for number in range(BYTES)]

    @classmethod
    def of(cls, pieces: Iterable[str], vocab_size: int = VOCAB_SIZE) -> Self:
        """The same for every text."""
        return cls()

    @classmethod
    def read(cls, described: Any, content: str) -> Self:
        return cls()

    def encode(self, text: str) -> Ids:
        """The bytes of `text`.

        Raises:
            UsageError: halves of surrogate pairs, which are no characters.
        """
        return np.frombuffer(utf8(text), dtype=np.uint8)

    def encode_each(self, pieces: Iterable[str]) -> Iterator[Ids]:
        """Ids of each piece, as they come."""
        return map(self.encode, pieces)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; U+FFFD for bytes that are none."""
        return bytes(ids).decode("utf-8", "replace")

    def to_json(self) -> str:
        return json.dumps({"type": "byte"}) + "\n"


TOKENIZERS.add("bpe")(LibraryTokenizer)


def from_json(content: str) -> Tokenizer:
    """The tokenizer that `to_json` described, or that the `tokenizers` library saved.

    Raises:
        CheckpointError: not such a description.
    """
    try:
        described = parse_json(content)
        kind = "bpe" if "type" not in described and "model" in described else described["type"]
        if kind not in TOKENIZERS:
            raise ValueError
        return TOKENIZERS[kind].read(described, content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f" ({error})" if str(error) and not isinstance(error, json.JSONDecodeError | KeyError) else ""
        raise CheckpointError(f"tokenizer.json: holds no tokenizer of this project{reason}") from None
