"""Token ids, and the interface of tokenizers, which make them of text and text of them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Protocol

import numpy.typing as npt

Ids = npt.NDArray[Any]  # one axis, the smallest unsigned type that holds the vocabulary


class Tokenizer(Protocol):
    """What the rest of the project asks of a tokenizer.

    Attributes:
        vocab_size: one above the highest id.
        spelling: the bytes of UTF-8 that each id stands for, which need not be whole characters: losses of different
            tokenizers are given per byte, and text is written token by token though one may end inside a character.
        unit: what one id is, in a word.
    """

    unit: ClassVar[str]

    @property
    def vocab_size(self) -> int: ...
    @property
    def spelling(self) -> Sequence[bytes]: ...
    def encode(self, text: str) -> Ids: ...
    def encode_each(self, pieces: Iterable[str]) -> Iterator[Ids]: ...
    def decode(self, ids: Iterable[int]) -> str: ...
    def to_json(self) -> str: ...
