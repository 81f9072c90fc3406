"""Folders of ids that `chargpt prepare` made once, of a text of any size: what is in them, and that it is whole.

    train.bin        ids to train on, little-endian unsigned numbers of 1, 2 or 4 bytes, as the vocabulary needs
    held_out.bin     ids to judge by
    tokenizer.json
    prepared.json    bytes and sha256 of these, and how they were made; written last

Ids are mapped into memory, so that a run holds only those that it reads.  Every byte is looked at before the first is
used.  Nothing is ever unpickled, and no name is taken from a file.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mingpt.errors import CheckpointError, DataError, UsageError
from mingpt.paths import expanded, shown
from mingpt.text.config import DataConfig
from mingpt.text.reading import PREPARED, reason
from mingpt.text.splits import Split
from mingpt.text.tokenizers import Ids, Tokenizer, from_json
from mingpt.untrusted import JSON_BYTES, TOKENIZER_BYTES, parse_json, read_at_most

FORMAT = 1
IDS = TRAIN, HELD_OUT = "train.bin", "held_out.bin"
TOKENIZER = "tokenizer.json"
TYPES: Mapping[int, np.dtype[Any]] = {1: np.dtype("u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4")}  # by bytes of an id
DECIDED = ("tokenizer", "vocab_size", "val_fraction")  # settings that such a folder was made with
AT_ONCE = 1 << 24  # bytes that are looked at in one go


@dataclass(frozen=True)
class Prepared:
    """A folder's content; the ids are mapped, not read."""

    text_sha256: str
    tokenizer: Tokenizer
    data: Split


def is_prepared(path: str) -> bool:
    """Whether `path` is a folder that `chargpt prepare` made, whole or damaged."""
    return os.path.exists(os.path.join(expanded(path), PREPARED))


def settings_of(folder: Path) -> dict[str, Any]:
    """The settings of DataConfig that the folder was made with.

    Raises:
        DataError: it is damaged.
    """
    return dict(_manifest(folder)["settings"])


def text_sha256_of(folder: Path) -> str:
    """The sha256 of the text that the folder was made of.

    Raises:
        DataError: it is damaged.
    """
    return str(_manifest(folder)["text_sha256"])


def tokenizer_sha256_of(folder: Path) -> str:
    """The sha256 of the folder's tokenizer.json.

    Raises:
        DataError: it is damaged.
    """
    return str(_manifest(folder)["files"][TOKENIZER]["sha256"])


def load(folder: Path, config: DataConfig) -> Prepared:
    """The folder's ids, once it is known that they are those that were written.

    Raises:
        UsageError: `config` asks for other settings than it was made with.
        DataError: a file is missing, altered, or not what its name says.
    """
    manifest = _manifest(folder)
    for name in DECIDED:
        theirs, ours = manifest["settings"][name], getattr(config, name)
        if theirs != ours:
            raise UsageError(f"data.{name}={ours}: {shown(folder)} was prepared with data.{name}={theirs}")
    try:
        content = _content(folder, TOKENIZER, TOKENIZER_BYTES)
        if hashlib.sha256(content).hexdigest() != manifest["files"][TOKENIZER]["sha256"]:
            raise _damaged(folder, f"{TOKENIZER} is not what was written")
        tokenizer = from_json(content.decode())
        ids = [_ids(folder, name, manifest, tokenizer.vocab_size) for name in IDS]
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(folder, str(error)) from None
    except CheckpointError as error:
        raise _damaged(folder, str(error)) from None
    return Prepared(manifest["text_sha256"], tokenizer, Split(*ids))


def _ids(folder: Path, name: str, manifest: Mapping[str, Any], vocab_size: int) -> Ids:
    path, listed = _file(folder, name), manifest["files"][name]
    dtype = TYPES[manifest["bytes_per_id"]]
    if path.stat().st_size != listed["bytes"] or listed["bytes"] % dtype.itemsize or not listed["bytes"]:
        raise _damaged(folder, f"{name} has not the size that was written")
    digest, highest = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while block := file.read(AT_ONCE):
            digest.update(block)
            highest = max(
                highest,
                int(np.frombuffer(block[: len(block) // dtype.itemsize * dtype.itemsize], dtype).max(initial=0)),
            )
    if digest.hexdigest() != listed["sha256"]:
        raise _damaged(folder, f"{name} is not what was written (sha256 differs)")
    if highest >= vocab_size:
        raise _damaged(folder, f"{name} holds the id {highest}, and its vocabulary {vocab_size} tokens")
    return np.asarray(np.memmap(path, dtype, mode="r"))


def _manifest(folder: Path) -> dict[str, Any]:
    """prepared.json, of which every value is known to be of its kind."""
    try:
        found: dict[str, Any] = parse_json(_content(folder, PREPARED, JSON_BYTES))
        of_kind = (
            found["format"] == FORMAT
            and found["bytes_per_id"] in TYPES
            and isinstance(found["text_sha256"], str)
            and all(
                type(found["files"][name]["bytes"]) is int and isinstance(found["files"][name]["sha256"], str)
                for name in (*IDS, TOKENIZER)
            )
            and found["settings"].keys() == set(DECIDED)
        )
        if of_kind:
            DataConfig(**found["settings"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise _damaged(folder, f"{PREPARED} can't be read as one") from None
    if not of_kind:
        raise _damaged(folder, f"{PREPARED} is not of format {FORMAT}")
    return found


def _content(folder: Path, name: str, limit: int) -> bytes:
    path = _file(folder, name)
    try:
        return read_at_most(limit, path)
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"{name} can't be read: {reason(error)}") from None


def _file(folder: Path, name: str) -> Path:
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise _damaged(folder, f"{name} is missing, or no file of its own")
    return path


def _damaged(folder: Path, what: str) -> DataError:
    return DataError(f"{shown(folder)}: not a whole prepared folder: {what}; make it again with `chargpt prepare`")
