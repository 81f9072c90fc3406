"""Hostile and damaged folders: nothing of them is run, followed or written, and they end in one line."""

import json
import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from mingpt.core.errors import CheckpointError
from mingpt.interop import importing
from mingpt.interop.reading import plain_file

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


class Bomb:
    """Makes a file where it is unpickled."""

    def __reduce__(self) -> Any:
        return (os.mkdir, ("exploded",))


def header(folder: Path, length: int, content: bytes = b"") -> None:
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", length) + content)


def described(folder: Path, tensors: dict[str, Any], data: bytes = b"\0" * 64) -> None:
    content = json.dumps(tensors).encode()
    header(folder, len(content), content + data)


def indexed(folder: Path, placed: Any) -> None:
    (folder / WEIGHTS).rename(folder / "part.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": placed}))


def linked(folder: Path, name: str) -> None:
    outside = folder.parent / f"outside-{name}"
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)


def pickled(folder: Path, name: str) -> None:
    (folder / WEIGHTS).unlink()
    torch.save({"model.norm.weight": Bomb()}, folder / name)


F32 = {"dtype": "F32", "shape": [4]}
HOSTILE: dict[str, tuple[Any, str]] = {
    "pickle": (lambda f: pickled(f, "pytorch_model.bin"), "pytorch_model.bin: a pickle, which can run code .* write"),
    "renamed pickle": (lambda f: pickled(f, WEIGHTS), "not a safetensors file"),
    "header of 2^63": (lambda f: header(f, 2**63), "its header would have 9,223,372,036,854,775,808 bytes"),
    "header longer than the file": (lambda f: header(f, 1000, b"{}"), "its header would have 1,000 bytes"),
    "header of 100 MB": (lambda f: header(f, 10**8, b" " * (10**8 + 8)), "its header would have 100,000,000 bytes"),
    "header no JSON": (lambda f: header(f, 4, b"abcd"), "not a safetensors file"),
    "empty": (lambda f: (f / WEIGHTS).write_bytes(b""), "not a safetensors file"),
    "cut short": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-1]), "not a safetensors file"),
    "overlapping": (
        lambda f: described(f, {"a": F32 | {"data_offsets": [0, 16]}, "b": F32 | {"data_offsets": [8, 24]}}),
        "not a safetensors file",
    ),
    "outside of the file": (lambda f: described(f, {"a": F32 | {"data_offsets": [0, 99]}}), "not a safetensors file"),
    "integers": (
        lambda f: described(f, {"a": {"dtype": "I8", "shape": [64], "data_offsets": [0, 64]}}),
        "a is of type I8, and weights must be of F32, F16, BF16; of quantised ones",
    ),
    "shard above": (lambda f: indexed(f, {"a": "../part.safetensors"}), "no name of a file in this folder"),
    "shard absolute": (lambda f: indexed(f, {"a": "/etc/passwd"}), "no name of a file in this folder"),
    "shard with a NUL": (lambda f: indexed(f, {"a": "a\0b"}), "no name of a file in this folder"),
    "shard is the folder": (lambda f: indexed(f, {"a": "."}), "no name of a file in this folder"),
    "shard missing": (lambda f: indexed(f, {"a": "other.safetensors"}), "No such file"),
    "shard without the tensor": (lambda f: indexed(f, {"a": "part.safetensors"}), "lacks a, which .* lists"),
    "map of numbers": (lambda f: indexed(f, {"a": 3}), "weight_map must name a file for each tensor"),
    "map as a list": (lambda f: indexed(f, ["part.safetensors"]), "weight_map must name a file"),
    "map of nothing": (lambda f: indexed(f, {}), "weight_map must name a file"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "has neither model.safetensors nor model.safetensors.index.json"),
    "weights as a folder": (lambda f: ((f / WEIGHTS).unlink(), (f / WEIGHTS).mkdir()), "no ordinary file"),
    "weights as a pipe": (lambda f: ((f / WEIGHTS).unlink(), os.mkfifo(f / WEIGHTS)), "no ordinary file"),
    "linked weights": (lambda f: linked(f, WEIGHTS), "a link, which may lead anywhere; copy the folder"),
    "linked settings": (lambda f: linked(f, "config.json"), "a link, which may lead anywhere"),
    "linked tokenizer": (lambda f: linked(f, "tokenizer.json"), "a link, which may lead anywhere"),
    "settings as a list": (lambda f: (f / "config.json").write_text("[]"), "must hold a JSON object"),
    "settings too deep": (lambda f: (f / "config.json").write_text("[" * 10**6), "not JSON"),
    "settings of 100 MB": (
        lambda f: (f / "config.json").write_text(" " * 10**8),
        "100,000,000 bytes; at most 8,388,608 are read",
    ),
    "settings not UTF-8": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "can't be read"),
    "no settings": (lambda f: (f / "config.json").unlink(), "config.json: No such file"),
    "tokenizer of 40 MB": (
        lambda f: (f / "tokenizer.json").write_text(" " * 40_000_000),
        "at most 33,554,432 are read",
    ),
    "tokenizer no JSON": (lambda f: (f / "tokenizer.json").write_text("{"), "holds no tokenizer of this project"),
    "tokenizer of nothing": (lambda f: (f / "tokenizer.json").write_text('{"model": {}}'), "holds no tokenizer"),
    "tokenizer of numbers": (lambda f: (f / "tokenizer.json").write_text('{"model": 3}'), "holds no tokenizer"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.thin(6)
def test_hostile_folder_is_neither_run_nor_followed_nor_imported(
    folder: Path, tmp_path: Path, case: str, monkeypatch: Any
) -> None:
    spoil, reason = HOSTILE[case]
    monkeypatch.chdir(tmp_path)
    spoil(folder)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CheckpointError):  # imports what is imported once
        importing.import_folder(folder, tmp_path / "run")
    began = time.process_time()
    with pytest.raises(CheckpointError, match=reason) as refused:
        importing.import_folder(folder, tmp_path / "run")
    assert time.process_time() - began < 1
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600
    assert sorted(tmp_path.rglob("*")) == before


def test_tensor_in_two_shards_is_rejected(folder: Path, tmp_path: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    for name in ("a.safetensors", "b.safetensors"):
        (folder / name).write_bytes(content)
    (folder / WEIGHTS).unlink()
    placed = {"model.norm.weight": "a.safetensors", "lm_head.weight": "b.safetensors"}
    (folder / INDEX).write_text(json.dumps({"weight_map": placed}))
    with pytest.raises(CheckpointError, match="is in two files"):
        importing.import_folder(folder, tmp_path / "run")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/a", "a\\b", "a\0"])
def test_name_does_not_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="is no name of a file in this folder"):
        plain_file(tmp_path, name)


def test_folder_that_is_not_there_or_is_a_file_is_one_line(folder: Path, tmp_path: Path) -> None:
    for nothing in (tmp_path / "nowhere", folder / "config.json"):
        with pytest.raises(CheckpointError, match=r"config.json: (No such file|Not a directory)"):
            importing.import_folder(nothing, tmp_path / "run")


def test_files_beyond_those_that_count_are_not_opened(folder: Path, tmp_path: Path) -> None:
    """Code, pickles and links that lie there too are left alone."""
    (folder / "modeling_mine.py").write_text("raise SystemExit('ran')")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    (folder / "README.md").symlink_to("/etc/passwd")
    assert (importing.import_folder(folder, tmp_path / "run") / "config.yaml").is_file()
