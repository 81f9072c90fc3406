"""Text to ids and back."""

import json
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mingpt.errors import CheckpointError, UsageError
from mingpt.registry import Registry

Ids = npt.NDArray[Any]  # one axis, the smallest unsigned type that holds the vocabulary


class Tokenizer(Protocol):
    """What the rest of the project asks of a tokenizer."""

    @property
    def vocab_size(self) -> int: ...
    def encode(self, text: str) -> Ids: ...
    def decode(self, ids: Iterable[int]) -> str: ...
    def to_json(self) -> str: ...


class CharTokenizer:
    """One id per character, in code-point order.

    Args:
        vocabulary: the characters, each once.
    """

    def __init__(self, vocabulary: Iterable[str]) -> None:
        self.vocabulary = list(vocabulary)
        codes = np.array([ord(c) for c in self.vocabulary], dtype=np.int64)
        self._dtype = np.min_scalar_type(max(len(codes) - 1, 0))
        self._id_of = np.full(int(codes.max(initial=0)) + 2, -1, dtype=np.int32)  # the last entry: any higher code
        self._id_of[codes] = np.arange(len(codes))

    @classmethod
    def of(cls, text: str) -> "CharTokenizer":
        """The vocabulary of `text`: every character that it has."""
        return cls(sorted(set(text)))

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

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
                raise UsageError(f"unknown to this vocabulary of {self.vocab_size}: {_listed(text, self.vocabulary)}")
            ids[start : start + len(part)] = found
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The characters of `ids`, joined."""
        return "".join(self.vocabulary[i] for i in ids)

    def to_json(self) -> str:
        """What tokenizer.json holds; `from_json` reads it back."""
        return json.dumps({"type": "char", "vocabulary": self.vocabulary}, indent=0) + "\n"


TOKENIZERS: Registry[type[CharTokenizer]] = Registry("data.tokenizer")
TOKENIZERS.add("char")(CharTokenizer)


def from_json(content: str) -> Tokenizer:
    """The tokenizer that `to_json` described.

    Raises:
        CheckpointError: not such a description.
    """
    try:
        described = json.loads(content)
        vocabulary = described["vocabulary"]
        if (
            described["type"] not in TOKENIZERS
            or any(len(c) != 1 for c in vocabulary)
            or len(set(vocabulary)) != max(len(vocabulary), 1)
        ):
            raise ValueError
        return TOKENIZERS[described["type"]](vocabulary)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError("tokenizer.json: holds no tokenizer of this project") from None


def _listed(text: str, vocabulary: list[str]) -> str:
    unknown = sorted(set(text) - set(vocabulary))
    shown = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in unknown[:10])
    return shown + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else "")
