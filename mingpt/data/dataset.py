"""A text made ready to learn from: its tokenizer, and the ids of its training, validation and test set."""

from collections.abc import Iterable
from dataclasses import dataclass

from mingpt.core.errors import CheckpointError, DataError, UsageError
from mingpt.core.paths import absolute, path_of, shown
from mingpt.core.safe_parsing import TOKENIZER_BYTES, read_at_most, require_at_most
from mingpt.core.token_ids import Tokenizer
from mingpt.data import memmap, prepared_folder
from mingpt.data.data_config import FILE_NAME, DataConfig
from mingpt.data.downloads import check_split, split_by_bytes
from mingpt.data.shakespeare import read_text
from mingpt.data.splits import BYTES, CHARACTERS, Split, Unit, require_long_enough, split
from mingpt.data.text_files import reason
from mingpt.data.tokenizers import TOKENIZERS, from_json


@dataclass(frozen=True)
class Corpus:
    """A text that is ready to train on.

    Attributes:
        source: name of the text, for messages
        place: a path that names it from any folder, or `-` (see text_files.py)
        sha256: SHA-256 of the text's bytes
        tokenizer: tokenizer of the text
        data: token ids of its training, validation and test set
    """

    source: str
    place: str
    sha256: str
    tokenizer: Tokenizer
    data: Split


def prepare(config: DataConfig, tokenizer: Tokenizer | None = None) -> Corpus:
    """Read the text, make its tokenizer, and split it into training, validation and test set.

    Args:
        tokenizer: tokenizer to use instead of the one that `config` names; None: that one.

    Raises:
        DataError: the text is missing, not UTF-8 or too short, or has characters that the tokenizer lacks.
        UsageError: `config` differs from the settings that a prepared folder was made with.
    """
    if prepared_folder.is_prepared(config.path):
        folder, source = path_of(config.path), shown(config.path)
        found = memmap.load(folder, config)
        require_long_enough(found.data, block_size=config.block_size, source=source)
        if tokenizer and tokenizer.to_json() != found.tokenizer.to_json():
            raise DataError(f"{source}: was prepared with another vocabulary")
        return Corpus(source, absolute(folder), found.text_sha256, found.tokenizer, found.data)
    check_split(config.path, config.val_fraction, config.test_fraction)
    text = read_text(config.path)
    tokenizer = tokenizer or tokenizer_of(config, [text.content])
    data = split(
        text.content,
        tokenizer,
        block_size=config.block_size,
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
        unit=unit_of(text.sha256),
        source=text.source,
    )
    return Corpus(text.source, text.place, text.sha256, tokenizer, data)


def unit_of(sha256: str) -> Unit:
    """Return what the sets of the text with this SHA-256 are measured in: bytes where its published split is."""
    return BYTES if split_by_bytes(sha256) else CHARACTERS


def tokenizer_of(config: DataConfig, pieces: Iterable[str]) -> Tokenizer:
    """Return the tokenizer that `config` names, made from a text in pieces or read from a file.

    Raises:
        DataError: its file is missing or holds no tokenizer.
        UsageError: it is too large for a checkpoint to be loaded again.
    """
    if not config.tokenizer.endswith(FILE_NAME):
        made = TOKENIZERS[config.tokenizer].of(pieces, config.vocab_size)
        try:
            require_at_most(TOKENIZER_BYTES, len(made.to_json().encode()))
        except ValueError as size:
            raise UsageError(f"data.vocab_size={config.vocab_size}: its tokenizer.json has {size}") from None
        return made
    try:
        return from_json(read_at_most(TOKENIZER_BYTES, path_of(config.tokenizer)).decode())
    except (OSError, ValueError) as error:
        raise DataError(f"data.tokenizer={shown(config.tokenizer)}: cannot be read: {reason(error)}") from None
    except CheckpointError as error:
        raise DataError(f"data.tokenizer={shown(config.tokenizer)}: {error}") from None
