"""Ids of folders that `chargpt prepare` made once, of a text of any size (see `prepared_folder`), mapped into memory.

A run so holds only those that it reads.  Every byte is looked at before the first is used, and nothing is unpickled.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mingpt.core.errors import CheckpointError, UsageError
from mingpt.core.paths import shown
from mingpt.core.safe_parsing import TOKENIZER_BYTES
from mingpt.core.token_ids import Ids, Tokenizer
from mingpt.data.data_config import DataConfig
from mingpt.data.prepared_folder import DECIDED, IDS, SIZES, TOKENIZER, content_of, damaged, file_in, read_manifest
from mingpt.data.splits import Split
from mingpt.data.tokenizers import from_json

TYPES: Mapping[int, np.dtype[Any]] = {size: np.dtype(f"<u{size}") for size in SIZES}  # by bytes of an id
AT_ONCE = 1 << 24  # bytes that are looked at in one go


@dataclass(frozen=True)
class Prepared:
    """A folder's content; the ids are mapped, not read."""

    text_sha256: str
    tokenizer: Tokenizer
    data: Split


def load(folder: Path, config: DataConfig) -> Prepared:
    """The folder's ids, once it is known that they are those that were written.

    Raises:
        UsageError: `config` asks for other settings than it was made with.
        DataError: a file is missing, altered, or not what its name promises.
    """
    manifest = read_manifest(folder)
    for name in DECIDED:
        theirs, ours = manifest["settings"][name], getattr(config, name)
        if theirs != ours:
            raise UsageError(f"data.{name}={ours}: {shown(folder)} was prepared with data.{name}={theirs}")
    try:
        content = content_of(folder, TOKENIZER, TOKENIZER_BYTES)
        if hashlib.sha256(content).hexdigest() != manifest["files"][TOKENIZER]["sha256"]:
            raise damaged(folder, f"{TOKENIZER} is not what was written")
        tokenizer = from_json(content.decode())
        ids = [_ids(folder, name, manifest, tokenizer.vocab_size) for name in IDS if name in manifest["files"]]
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(folder, str(error)) from None
    except CheckpointError as error:
        raise damaged(folder, str(error)) from None
    return Prepared(manifest["text_sha256"], tokenizer, Split(*ids))


def _ids(folder: Path, name: str, manifest: Mapping[str, Any], vocab_size: int) -> Ids:
    path, listed = file_in(folder, name), manifest["files"][name]
    dtype = TYPES[manifest["bytes_per_id"]]
    if path.stat().st_size != listed["bytes"] or listed["bytes"] % dtype.itemsize or not listed["bytes"]:
        raise damaged(folder, f"{name} has not the size that was written")
    digest, highest = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while block := file.read(AT_ONCE):
            digest.update(block)
            highest = max(
                highest,
                int(np.frombuffer(block[: len(block) // dtype.itemsize * dtype.itemsize], dtype).max(initial=0)),
            )
    if digest.hexdigest() != listed["sha256"]:
        raise damaged(folder, f"{name} is not what was written (sha256 differs)")
    if highest >= vocab_size:
        raise damaged(folder, f"{name} holds the id {highest}, and its vocabulary {vocab_size} tokens")
    return np.asarray(np.memmap(path, dtype, mode="r"))
