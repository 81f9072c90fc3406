"""A text made ready to learn from: its tokenizer, and its ids in two parts."""

from collections.abc import Callable
from dataclasses import dataclass

from mingpt.text.batches import DataConfig, Split, split
from mingpt.text.corpora import Text, read_text
from mingpt.text.tokenizers import TOKENIZERS, Tokenizer


@dataclass(frozen=True)
class Corpus:
    """What a run learns from."""

    text: Text
    tokenizer: Tokenizer
    data: Split


def prepare(config: DataConfig, say: Callable[[str], None]) -> Corpus:
    """Read the text, make the tokenizer that it needs, cut it.

    Raises:
        DataError: missing, not UTF-8, too short.
    """
    text = read_text(config.path, say)
    tokenizer = TOKENIZERS[config.tokenizer].of(text.content)
    ids = tokenizer.encode(text.content)
    data = split(ids, block_size=config.block_size, val_fraction=config.val_fraction, source=text.source)
    return Corpus(text, tokenizer, data)
