"""A text of any size, tokenized once into a folder of ids: read as a stream, twice, so that memory stays bounded.

The first reading counts characters and learns the vocabulary, the second writes ids.  The folder is made next to its
place and renamed once all of it is on the disk.
"""

import hashlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mingpt.core.atomic_io import sync, sync_folder, write_atomic
from mingpt.core.errors import DataError, UsageError, require
from mingpt.core.token_ids import Tokenizer
from mingpt.data.data_config import DataConfig
from mingpt.data.dataset import tokenizer_of, unit_of
from mingpt.data.downloads import check_split
from mingpt.data.memmap import TYPES
from mingpt.data.prepared_folder import DECIDED, FORMAT, HELD_OUT, IDS, TOKENIZER
from mingpt.data.shakespeare import text_files
from mingpt.data.splits import BYTES, FEWEST, Unit, borders
from mingpt.data.text_files import BLOCK_BYTES, NEEDED, PREPARED, STDIN, chunks, decoded, named, opened
from mingpt.data.tokenizer_base import cut, smallest_type

logger = logging.getLogger(__name__)

OFTEN = 5.0  # seconds between two lines of progress
SLOW = 5_000_000  # tokens of a validation set, all of which a run evaluates at its end; from here on that takes minutes


def write(config: DataConfig, out: Path) -> dict[str, Any]:
    """Tokenize the text of `config` into the folder `out`, and return the content of its prepared.json.

    Memory holds some megabytes of text, and of a tokenizer that learns what it learns from.

    Args:
        config: path, tokenizer and its vocab_size, the sets' fractions; what `split` would make of the text is written.

    Raises:
        UsageError: `out` is there.
        DataError: a text that is missing, not UTF-8, empty, or changed between the two readings.
    """
    require(not out.exists(), "out", out, "is there already; name a new folder")
    check_split(config.path, config.val_fraction, config.test_fraction)
    files = text_files(config.path)
    draft = out.parent / f".{out.name}.tmp"
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
    draft.mkdir(parents=True)
    try:
        manifest = _into(draft, config, files)
        os.replace(draft, out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_folder(out.parent)
    return manifest


def _into(folder: Path, config: DataConfig, files: list[str]) -> dict[str, Any]:
    kept = folder / "text"
    if files == [STDIN]:  # can be read once only
        with opened(STDIN) as there, open(kept, "wb") as file:
            shutil.copyfileobj(there, file, BLOCK_BYTES)
    first = _Reading(files, kept, "read")
    tokenizer = tokenizer_of(config, first)
    for _ in first:  # what the tokenizer had no need to see
        pass
    if not first.characters:
        raise DataError(f"data.path: {named(config.path)} is empty; {NEEDED}")
    second, unit = _Reading(files, kept, "tokenized"), unit_of(first.digest.hexdigest())
    dtype = TYPES[smallest_type(tokenizer.vocab_size).itemsize]
    length = first.bytes if unit is BYTES else first.characters
    ends = borders(length, config.val_fraction, config.test_fraction)
    listed = _write_sets(folder, config, tokenizer, _Sets(second, unit), ends, dtype)
    if first.digest.hexdigest() != second.digest.hexdigest():
        raise DataError(f"data.path: {named(config.path)} changed while it was read")
    _check_sets(config, {name: entry["bytes"] // dtype.itemsize for name, entry in listed.items()})
    kept.unlink(missing_ok=True)
    content = tokenizer.to_json().encode()
    write_atomic(folder / TOKENIZER, content)
    listed[TOKENIZER] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {
        "format": FORMAT,
        "settings": {name: getattr(config, name) for name in DECIDED},
        "source": config.path,
        "text_sha256": first.digest.hexdigest(),
        "text_bytes": first.bytes,
        "characters": first.characters,
        "vocab_size": tokenizer.vocab_size,
        "bytes_per_id": dtype.itemsize,
        "files": listed,
    }
    write_atomic(folder / PREPARED, (json.dumps(manifest, indent=1) + "\n").encode())
    return manifest


def _write_sets(
    folder: Path, config: DataConfig, tokenizer: Tokenizer, sets: "_Sets", ends: tuple[int, int], dtype: np.dtype[Any]
) -> dict[str, dict[str, Any]]:
    """Write the ids of each set; returns bytes and sha256 of each file."""
    until = [ends[0], ends[1], sys.maxsize] if config.test_fraction else [ends[0], sys.maxsize]
    try:
        return {
            name: _write_ids(folder / name, tokenizer, sets.up_to(end), dtype)
            for name, end in zip(IDS, until, strict=False)
        }
    except UsageError as unknown:
        raise DataError(f"{config.path}: {unknown}") from None


def _check_sets(config: DataConfig, tokens: Mapping[str, int]) -> None:
    """Log where a validation set takes minutes to evaluate; reject a text too short for its sets."""
    if tokens[HELD_OUT] > SLOW:
        fraction = config.val_fraction * SLOW / tokens[HELD_OUT]
        logger.info(
            f"{tokens[HELD_OUT]:,} tokens are in the validation set, and a run evaluates all of them at its end: "
            f"--data.val_fraction={fraction:.1g} would leave few enough for minutes"
        )
    short = [name for name, number in tokens.items() if number < FEWEST]
    if short:
        raise DataError(
            f"data.path: {named(config.path)} is too short: {short[0]} would have fewer than {FEWEST} tokens; "
            "take a longer text"
        )


class _Sets:
    """A text that is read once, set by set.

    Args:
        text: its characters, in chunks
        unit: what the sets' ends are measured in
    """

    def __init__(self, text: Iterable[str], unit: Unit) -> None:
        self._text, self._unit, self._left, self._at = iter(text), unit, "", 0

    def up_to(self, end: int) -> Iterator[str]:
        """Yield the characters that end in the first `end` units and were not yielded before."""
        while chunk := self._left or next((part for part in self._text if part), ""):
            found = self._unit.first(chunk, end - self._at)
            self._left, self._at = chunk[len(found) :], self._at + self._unit.length(found)
            if found:
                yield found
            if self._left:
                return


class _Reading:
    """One reading of the files, which counts and logs how far it is; iterating again goes on.

    Args:
        kept: what came from standard input, if anything did.
        doing: what is done with the text, for the progress lines.
    """

    def __init__(self, files: list[str], kept: Path, doing: str) -> None:
        self.characters, self.bytes, self.digest = 0, 0, hashlib.sha256()
        self._all = sum(os.path.getsize(name) for name in [*files, str(kept)] if os.path.isfile(name))
        self._doing, self._began, self._shown = doing, time.monotonic(), time.monotonic()
        self._sizes: list[int] = []
        self._chunks = self._kept(kept) if kept.exists() else chunks(files, self.digest, self._sizes)

    def _kept(self, path: Path) -> Iterator[str]:
        with open(path, "rb") as file:
            yield from decoded(STDIN, file, self.digest, self._sizes)

    def __iter__(self) -> Iterator[str]:
        for chunk in self._chunks:
            self.characters += len(chunk)
            self.bytes += sum(self._sizes)
            self._sizes.clear()
            self._tell()
            yield chunk

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._shown < OFTEN or not self.bytes:
            return
        self._shown, rate = now, self.bytes / (now - self._began)
        logger.info(
            f"{self._doing} {self.bytes / 1e6:,.0f} of {self._all / 1e6:,.0f} MB · {rate / 1e6:,.1f} MB/s · "
            f"{max(self._all - self.bytes, 0) / rate:,.0f} s left"
        )


def _write_ids(path: Path, tokenizer: Tokenizer, text: Iterable[str], dtype: np.dtype[Any]) -> dict[str, Any]:
    """Write the ids of `text`; returns bytes and sha256."""
    digest, size = hashlib.sha256(), 0
    with open(path, "wb") as file:
        for ids in tokenizer.encode_each(cut(text)):
            block = ids.astype(dtype).tobytes()
            digest.update(block)
            size += file.write(block)
        file.flush()
        sync(file.fileno())
    return {"bytes": size, "sha256": digest.hexdigest()}
