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
    """What a run learns from.

    source: of the text, for people
    place:  a path that names it from any folder, or `-` (see text_files.py)
    sha256: of the text's bytes
    """

    source: str
    place: str
    sha256: str
    tokenizer: Tokenizer
    data: Split


def prepare(config: DataConfig, tokenizer: Tokenizer | None = None) -> Corpus:
    """Read the text, make the tokenizer that it needs, cut it.

    Args:
        tokenizer: in the place of the one that `config` asks for.

    Raises:
        DataError: missing, not UTF-8, too short, or not what the tokenizer knows.
        UsageError: settings that a prepared folder was not made with.
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
    """The tokenizer that `config` asks for, of a text in pieces.

    Raises:
        DataError: a ready-made one that is missing or none.
        UsageError: one so large that no checkpoint with it would be read again.
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
