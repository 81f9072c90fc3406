"""The interface of tokenizers that are made for a text, and how a text that is long is cut into pieces for one."""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from mingpt.core.errors import UsageError
from mingpt.core.token_ids import Tokenizer
from mingpt.data.data_config import VOCAB_SIZE

PIECE = 1 << 16  # characters that are tokenized in one go


class Kind(Tokenizer, Protocol):
    """A tokenizer that a text calls for.

    Attributes:
        learns: whether it makes as large a vocabulary as is asked for.
    """

    learns: ClassVar[bool]

    @classmethod
    def of(cls, pieces: Iterable[str], vocab_size: int = VOCAB_SIZE) -> Self: ...
    @classmethod
    def read(cls, described: Any, content: str) -> Self: ...


def cut(chunks: Iterable[str], longest: int | None = None) -> Iterator[str]:
    """A text that comes in chunks, in pieces of at most `longest` (PIECE) characters: one of a text that is no longer.

    Where it is cut follows from the text alone, whatever its chunks: after the last line that fits, or before the last
    space, where there is one.
    """
    held, longest = "", longest or PIECE
    for chunk in chunks:
        held, start = held + chunk, 0
        while len(held) - start > longest:
            line, space = (held.rfind(mark, start + 1, start + longest) for mark in "\n ")
            end = line + 1 if line > 0 else space if space > 0 else start + longest
            yield held[start:end]
            start = end
        held = held[start:]
    if held:
        yield held


def smallest_type(vocab_size: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds ids below `vocab_size`."""
    return np.min_scalar_type(max(vocab_size - 1, 0))


def shown(tokenizer: Tokenizer, id: int) -> str:
    """One token for a person: its text, or its bytes as \\xe2 where they are no whole characters."""
    return tokenizer.spelling[id].decode("utf-8", "backslashreplace")


def utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        halves = {c for c in text if "\ud800" <= c <= "\udfff"}
        raise UsageError(f"halves of surrogate pairs are no characters: {_listed(halves)}") from None


def unknown_characters(characters: set[str], vocab_size: int) -> UsageError:
    return UsageError(f"unknown to this vocabulary of {vocab_size}: {_listed(characters)}")


def _listed(characters: set[str]) -> str:
    unknown = sorted(characters)
    named = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in unknown[:10])
    return named + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else "")
