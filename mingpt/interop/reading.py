"""A Hugging Face folder, read as untrusted input: names, sizes and kinds are checked before content.

Of it are read config.json, model.safetensors or the shards that model.safetensors.index.json names, tokenizer.json, and
what says of its special tokens (see `special`).
Nothing is unpickled, no link is followed, no file outside the folder is opened, and no code of it is run.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mingpt.core.errors import CheckpointError
from mingpt.core.safe_parsing import HEADER_BYTES, JSON_BYTES, parse_json, read_at_most

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Stored:
    """One tensor of a folder, not yet read; `dtype` as its file says it, BF16."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str


def plain_file(folder: Path, name: str) -> Path:
    """`folder/name`, which is a file of that folder and no link.

    Raises:
        CheckpointError: it is none, or a name that leads elsewhere.
    """
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name or os.path.basename(name) != name:
        raise CheckpointError(f"{folder}: {name[:80]!r} is no name of a file in this folder")
    path = folder / name
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    if stat.S_ISLNK(mode):
        raise CheckpointError(f"{path}: a link, which may lead anywhere; copy the folder with its files: cp -rL")
    if not stat.S_ISREG(mode):
        raise CheckpointError(f"{path}: no ordinary file")
    return path


def read_text(folder: Path, name: str, limit: int = JSON_BYTES) -> str:
    """The content of a file of the folder.

    Raises:
        CheckpointError: missing, larger than `limit` bytes, a link, or not UTF-8.
    """
    path = plain_file(folder, name)
    try:
        return read_at_most(limit, path).decode()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: can't be read ({error})") from None


def read_object(folder: Path, name: str) -> dict[str, Any]:
    """The JSON object in a file of the folder.

    Raises:
        CheckpointError: as `read_text`, or no JSON object.
    """
    try:
        content = parse_json(read_text(folder, name))
    except ValueError as reason:
        raise CheckpointError(f"{folder / name}: {reason}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{folder / name}: must hold a JSON object")
    return content


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor of the folder by its name there, from the headers alone.

    Raises:
        CheckpointError: no safetensors, a hostile name, a damaged header, or a tensor twice.
    """
    found: dict[str, Stored] = {}
    for name, listed in _files(folder).items():
        own = _header(plain_file(folder, name))
        if listed is not None and listed - own.keys():
            raise CheckpointError(f"{folder / name}: lacks {min(listed - own.keys())[:80]}, which {INDEX} lists")
        if doubles := found.keys() & own.keys():
            raise CheckpointError(f"{folder}: {min(doubles)[:80]} is in two files")
        found |= own
    return found


def _files(folder: Path) -> Mapping[str, set[str] | None]:
    """The files of tensors; of each, what an index says is there."""
    if os.path.lexists(folder / WEIGHTS):
        return {WEIGHTS: None}
    if os.path.lexists(folder / INDEX):
        placed = read_object(folder, INDEX).get("weight_map")
        if not isinstance(placed, dict) or not all(isinstance(name, str) for name in placed.values()) or not placed:
            raise CheckpointError(f"{folder / INDEX}: weight_map must name a file for each tensor")
        files: dict[str, set[str] | None] = {name: set() for name in sorted(set(placed.values()))}
        for tensor, name in placed.items():
            files[name].add(tensor)  # type: ignore[union-attr]
        return files
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES) if folder.is_dir() else []
    if pickles:
        raise CheckpointError(
            f"{folder / pickles[0]}: a pickle, which can run code when it is read; if you trust it, write {WEIGHTS} by "
            "transformers' AutoModelForCausalLM.from_pretrained(folder).save_pretrained(other)"
        )
    raise CheckpointError(f"{folder}: has neither {WEIGHTS} nor {INDEX}")


def _header(path: Path) -> dict[str, Stored]:
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > min(HEADER_BYTES, path.stat().st_size - 8):
        raise CheckpointError(f"{path}: not a safetensors file: its header would have {length:,} bytes")
    found = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                part = file.get_slice(name)
                found[name] = Stored(path, name, tuple(part.get_shape()), part.get_dtype())
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a safetensors file ({' '.join(str(error).split())[:200]})") from None
    return found


def read_tensors(stored: Mapping[str, Stored]) -> dict[str, Tensor]:
    """These tensors, in float32, which holds what each type of DTYPES does."""
    by_file: dict[Path, list[str]] = {}
    for name, where in stored.items():
        by_file.setdefault(where.file, []).append(name)
    tensors = {}
    for path, names in by_file.items():
        with safe_open(path, framework="pt") as file:
            for name in names:
                tensors[name] = file.get_tensor(stored[name].name).to(torch.float32)
    return tensors
