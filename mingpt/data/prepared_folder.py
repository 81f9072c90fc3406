"""The description of a folder that `chargpt prepare` made, read without its ids, and so without NumPy.

    train.bin        ids to train on, little-endian unsigned numbers of 1, 2 or 4 bytes, as the vocabulary needs
    held_out.bin     ids to evaluate on: the validation set
    test.bin         ids of the test set, with data.test_fraction
    tokenizer.json
    prepared.json    bytes and sha256 of these, and how they were made; written last

No name is taken from a file.
"""

import os
from pathlib import Path
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from mingpt.core.errors import DataError
from mingpt.core.paths import expanded, shown
from mingpt.core.safe_parsing import JSON_BYTES, Count, Finite, fault, parse_json, read_at_most
from mingpt.data.data_config import DataConfig
from mingpt.data.text_files import PREPARED, reason

FORMAT = 1
IDS = TRAIN, HELD_OUT, TEST = "train.bin", "held_out.bin", "test.bin"  # the last where there is a test set
TOKENIZER = "tokenizer.json"
SIZES = (1, 2, 4)  # bytes that an id may have
DECIDED = ("tokenizer", "vocab_size", "val_fraction", "test_fraction")  # settings that such a folder was made with
OLDER = {"test_fraction": 0.0}  # settings that older folders don't have


class _File(TypedDict):
    bytes: Count
    sha256: str


_Files = TypedDict(
    "_Files",
    {"train.bin": _File, "held_out.bin": _File, "test.bin": NotRequired[_File], "tokenizer.json": _File},
)


class _Settings(TypedDict):
    tokenizer: str
    vocab_size: Count
    val_fraction: Finite
    test_fraction: NotRequired[Finite]


class _Manifest(TypedDict):
    format: Literal[1]
    bytes_per_id: Literal[1, 2, 4]
    text_sha256: str
    files: _Files
    settings: _Settings


def is_prepared(path: str) -> bool:
    """Whether `path` is a folder that `chargpt prepare` made, complete or damaged."""
    return os.path.exists(os.path.join(expanded(path), PREPARED))


def settings_of(folder: Path) -> dict[str, Any]:
    """The settings of DataConfig that the folder was made with.

    Raises:
        DataError: it is damaged.
    """
    return dict(read_manifest(folder)["settings"])


def text_sha256_of(folder: Path) -> str:
    """The sha256 of the text that the folder was made of.

    Raises:
        DataError: it is damaged.
    """
    return str(read_manifest(folder)["text_sha256"])


def tokenizer_sha256_of(folder: Path) -> str:
    """The sha256 of the folder's tokenizer.json.

    Raises:
        DataError: it is damaged.
    """
    return str(read_manifest(folder)["files"][TOKENIZER]["sha256"])


def read_manifest(folder: Path) -> dict[str, Any]:
    """prepared.json, of which every value is known to be of its kind.

    Raises:
        DataError: it is damaged.
    """
    try:
        found: dict[str, Any] = parse_json(content_of(folder, PREPARED, JSON_BYTES))
        if wrong := fault(found, _Manifest):
            raise ValueError(wrong)
        if unknown := found["settings"].keys() - set(DECIDED):
            raise ValueError(f"settings.{min(unknown)[:40]} is unknown")
        found["settings"] = {**OLDER, **found["settings"]}
        DataConfig(**found["settings"])
        if (TEST in found["files"]) != (found["settings"]["test_fraction"] > 0):
            raise ValueError(f"settings.test_fraction contradicts the list of files on {TEST}")
    except DataError:
        raise
    except ValueError as reason:
        raise damaged(folder, f"{PREPARED}: {reason}") from None
    return found


def content_of(folder: Path, name: str, limit: int) -> bytes:
    """The bytes of the file `name`, of which there are at most `limit`.

    Raises:
        DataError: missing, or longer.
    """
    path = file_in(folder, name)
    try:
        return read_at_most(limit, path)
    except (OSError, ValueError) as error:
        raise damaged(folder, f"{name} can't be read: {reason(error)}") from None


def file_in(folder: Path, name: str) -> Path:
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise damaged(folder, f"{name} is missing, or no file of its own")
    return path


def damaged(folder: Path, what: str) -> DataError:
    """The error for a folder in which `what` is wrong."""
    return DataError(f"{shown(folder)}: not a whole prepared folder: {what}; make it again with `chargpt prepare`")
