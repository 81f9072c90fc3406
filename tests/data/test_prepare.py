"""A text tokenized once: the very ids that training on the text itself would see, and no damaged ones."""

import hashlib
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reading import write as put

from mingpt.core.errors import DataError, UsageError
from mingpt.data import dataset, text_files, tokenizer_base
from mingpt.data import prepare as preparing
from mingpt.data.batches import Batches
from mingpt.data.data_config import DataConfig
from mingpt.data.dataset import prepare
from mingpt.data.memmap import load
from mingpt.data.prepared_folder import HELD_OUT, PREPARED, TEST, TOKENIZER, TRAIN, is_prepared, settings_of
from mingpt.data.splits import split
from mingpt.data.tokenizers import TOKENIZERS

TEXT = "Zoë’s 🤗 and the cat, the dog;\n\n  they're 1234 and more.\n" * 40


def made(home: Path, **settings: Any) -> tuple[Path, DataConfig]:
    """A prepared folder and the configuration that reads it."""
    put(home, TEXT.encode(), "text.txt")
    config = DataConfig(path=str(home / "text.txt"), block_size=8, **settings)
    preparing.write(config, home / "out")
    return home / "out", DataConfig(path=str(home / "out"), block_size=8, **settings)


@pytest.mark.parametrize("block", [5, 1 << 20])
@pytest.mark.parametrize("piece", [31, 1 << 16])
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_ids_are_those_of_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, piece: int, block: int
) -> None:
    monkeypatch.setattr(tokenizer_base, "PIECE", piece)
    monkeypatch.setattr(text_files, "BLOCK_BYTES", block)
    settings = {"tokenizer": kind, "val_fraction": 0.3, **({"vocab_size": 280} if kind == "bpe" else {})}
    folder, config = made(tmp_path, **settings)
    ours, theirs = prepare(config), prepare(DataConfig(path=str(tmp_path / "text.txt"), **settings))
    assert ours.tokenizer.to_json() == theirs.tokenizer.to_json()
    assert ours.sha256 == theirs.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert ours.data.test is theirs.data.test is None
    for one, other in zip(ours.data[:2], theirs.data[:2], strict=True):
        assert np.array_equal(one, other)
        assert one.dtype == other.dtype
    cut: dict[str, int] = {"block_size": 8, "batch_size": 3, "seed": 1}
    for step in range(3):
        for one, other in zip(
            Batches(ours.data.train, **cut)(step), Batches(theirs.data.train, **cut)(step), strict=True
        ):
            assert one.tolist() == other.tolist()
    assert sorted(path.name for path in folder.iterdir()) == sorted([TRAIN, HELD_OUT, TOKENIZER, PREPARED])
    assert isinstance(ours.data.train.base, np.memmap)
    assert not ours.data.train.flags.writeable


def test_ids_are_as_small_as_the_vocabulary_needs(tmp_path: Path) -> None:
    letters = "".join(chr(0x4E00 + n) for n in range(300))
    put(tmp_path, letters.encode() * 3)
    preparing.write(DataConfig(path=str(tmp_path / "text.txt")), tmp_path / "out")
    assert (tmp_path / "out" / TRAIN).stat().st_size == 2 * int(900 * 0.9)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (name, damage)
        for name in (TRAIN, HELD_OUT, TOKENIZER, PREPARED)
        for damage in ("bit", "short", "long", "empty", "gone", "link", "folder")
        if (name, damage) != (PREPARED, "bit")  # a digit of a count that nobody reads, or what the next test changes
    ],
)
def test_damaged_file_is_rejected(tmp_path: Path, name: str, damage: str) -> None:
    folder, config = made(tmp_path)
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if damage == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        path.symlink_to(tmp_path / "elsewhere")
    elif damage == "folder":
        path.mkdir()
    elif damage != "gone":
        flipped = bytes([content[len(content) // 2] ^ 1])
        half = content[: len(content) // 2]
        path.write_bytes(
            {"bit": half + flipped + content[len(half) + 1 :], "short": half, "long": content + b"\0", "empty": b""}[
                damage
            ]
        )
    if name == PREPARED and damage == "gone":
        assert not is_prepared(str(folder))
        return
    with pytest.raises(DataError, match="not a whole prepared folder: ") as caught:
        load(folder, config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2),
        ("format", None),
        ("bytes_per_id", 3),
        ("bytes_per_id", "1"),
        ("bytes_per_id", [1]),
        ("bytes_per_id", 2),
        ("text_sha256", 7),
        ("files", None),
        ("files", []),
        ("files", {}),
        ("files", {TRAIN: {"bytes": -1, "sha256": ""}}),
        ("settings", None),
        ("settings", {}),
        ("settings", {"tokenizer": "chra", "vocab_size": 1024, "val_fraction": 0.1}),
        ("settings", {"tokenizer": 3, "vocab_size": 1024, "val_fraction": 0.1}),
        ("settings", {"tokenizer": "char", "vocab_size": 1024, "val_fraction": "0.1"}),
        ("settings", {"tokenizer": "char", "vocab_size": 1024, "val_fraction": 0.1, "path": "/etc/passwd"}),
    ],
    ids=str,
)
def test_hostile_description_is_rejected(tmp_path: Path, key: str, value: Any) -> None:
    folder, config = made(tmp_path)
    described = json.loads((folder / PREPARED).read_bytes())
    (folder / PREPARED).write_text(json.dumps({**described, key: value}))
    with pytest.raises(DataError, match="not a whole prepared folder: "):
        load(folder, config)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff", b"[" * 100_000, b" " * 9_000_000], ids=len)
def test_description_that_is_none_is_rejected(tmp_path: Path, content: bytes) -> None:
    folder, config = made(tmp_path)
    (folder / PREPARED).write_bytes(content)
    with pytest.raises(DataError, match=r"prepared\.json"):
        load(folder, config)


def test_ids_beyond_the_vocabulary_are_rejected_though_their_checksum_holds(tmp_path: Path) -> None:
    folder, config = made(tmp_path)
    ids = np.fromfile(folder / HELD_OUT, np.uint8)
    ids[5] = 200
    ids.tofile(folder / HELD_OUT)
    described = json.loads((folder / PREPARED).read_bytes())
    described["files"][HELD_OUT]["sha256"] = hashlib.sha256(ids.tobytes()).hexdigest()
    (folder / PREPARED).write_text(json.dumps(described))
    with pytest.raises(DataError, match=r"held_out\.bin holds the id 200, and its vocabulary \d+ tokens"):
        load(folder, config)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"tokenizer": "byte"}, "data.tokenizer=byte: .* was prepared with data.tokenizer=char"),
        ({"val_fraction": 0.2}, r"data.val_fraction=0\.2: .* was prepared with data.val_fraction=0\.1"),
    ],
    ids=str,
)
def test_other_settings_than_it_was_made_with_are_rejected(tmp_path: Path, asked: dict[str, Any], said: str) -> None:
    folder, _ = made(tmp_path)
    with pytest.raises(UsageError, match=said):
        prepare(DataConfig(path=str(folder), **asked))


def test_prepared_text_that_is_too_short_for_a_block_is_rejected(tmp_path: Path) -> None:
    folder, _ = made(tmp_path)
    with pytest.raises(
        DataError, match=r"too short: data\.block_size=9999 needs 10000 tokens, found \d{4}: take a longer"
    ):
        prepare(DataConfig(path=str(folder), block_size=9999))


# ---- while it is made


def test_folder_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    folder, _ = made(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UsageError, match="is there already; name a new folder"):
        made(tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("data", "settings", "said"),
    [
        (b"", {}, "is empty"),
        (b"abc\xff", {}, "is not UTF-8: byte 0xff at offset 3"),
        (b"ab", {}, "is too short"),
        ("abcЖ".encode() * 9, {"tokenizer": "tokenizer.json"}, r"unknown to this vocabulary of 3: 'Ж' \(U\+0416\)"),
        (b"abc", {"tokenizer": "nowhere.json"}, r"data\.tokenizer=nowhere\.json: cannot be read: No such file"),
    ],
)
def test_rejected_text_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, settings: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tokenizer.json").write_text(TOKENIZERS["char"].of(["abc"]).to_json())
    path = put(tmp_path, data)
    with pytest.raises(DataError, match=said):
        preparing.write(DataConfig(path=path, **settings), Path("out"))
    assert sorted(os.listdir()) == ["text.txt", "tokenizer.json"]


def test_tokenizer_that_no_checkpoint_could_hold_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, TEXT.encode())
    ready_made = tmp_path / "big-tokenizer.json"
    ready_made.write_text(TOKENIZERS["char"].of([TEXT]).to_json() + " " * 1000)
    monkeypatch.setattr(dataset, "TOKENIZER_BYTES", 1000)
    assert prepare(DataConfig(path=path)).tokenizer.vocab_size == len(set(TEXT))
    with pytest.raises(
        UsageError, match=r"^data\.vocab_size=300: its tokenizer\.json has [\d,]+ bytes; at most 1,000 are"
    ):
        prepare(DataConfig(path=path, tokenizer="bpe", vocab_size=300))
    with pytest.raises(DataError, match=r"big-tokenizer\.json: cannot be read: [\d,]+ bytes; at most 1,000 are read$"):
        prepare(DataConfig(path=path, tokenizer=str(ready_made)))


def test_tokenizer_without_an_end_is_rejected(tmp_path: Path) -> None:
    path, ready_made = put(tmp_path, TEXT.encode()), tmp_path / "tokenizer.json"
    os.mkfifo(ready_made)
    with pytest.raises(DataError, match=r"tokenizer\.json: cannot be read: no ordinary file$"):
        prepare(DataConfig(path=path, tokenizer=str(ready_made)))


def test_drafts_of_killed_processes_and_failed_writes_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".out.tmp").mkdir()
    (tmp_path / ".out.tmp" / TRAIN).write_bytes(b"half")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            made(tmp_path)
    assert os.listdir(tmp_path) == ["text.txt"]
    made(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["out", "text.txt"]


def test_text_that_changes_between_two_readings_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, b"abcabcabc")
    borders = preparing.borders

    def meanwhile(*args: Any) -> tuple[int, int]:
        put(tmp_path, b"abcabcab")
        return borders(*args)

    monkeypatch.setattr(preparing, "borders", meanwhile)
    with pytest.raises(DataError, match="changed while it was read"):
        preparing.write(DataConfig(path=path), tmp_path / "out")
    assert os.listdir(tmp_path) == ["text.txt"]


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_memory_does_not_grow_with_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 1 << 16)
    path, peaks = put(tmp_path, TEXT.encode()), []
    for times in (500, 1500):  # 1 and 3 MB
        put(tmp_path, TEXT.encode() * times)
        tracemalloc.start()
        preparing.write(DataConfig(path=path, tokenizer=kind), tmp_path / str(times))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_progress_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(preparing, "OFTEN", 0.0)
    preparing.write(DataConfig(path=put(tmp_path, TEXT.encode())), tmp_path / "out")
    assert {line.split()[0] for line in caplog.messages} == {"read", "tokenized"}
    assert all("MB/s" in line and "s left" in line for line in caplog.messages)


def test_split_and_prepare_cut_at_the_same_place(tmp_path: Path) -> None:
    folder, config = made(tmp_path, val_fraction=0.37)
    found = load(folder, config)
    parts = split(TEXT, found.tokenizer, block_size=8, val_fraction=0.37)
    assert [len(ids) for ids in found.data[:2]] == [len(ids) for ids in parts[:2]]


# ---- the test set


@pytest.mark.parametrize("block", [5, 1 << 20])
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_prepared_test_set_is_that_of_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, block: int
) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", block)
    settings = {"tokenizer": kind, "val_fraction": 0.2, "test_fraction": 0.13}
    settings |= {"vocab_size": 280} if kind == "bpe" else {}
    folder, config = made(tmp_path, **settings)
    ours, theirs = prepare(config), prepare(DataConfig(path=str(tmp_path / "text.txt"), **settings))
    assert [ids.tolist() for ids in ours.data] == [ids.tolist() for ids in theirs.data]  # type: ignore[union-attr]
    assert ours.tokenizer.to_json() == theirs.tokenizer.to_json()
    assert settings_of(folder)["test_fraction"] == 0.13
    with pytest.raises(UsageError, match=r"^data\.test_fraction=0\.0: .* was prepared with data\.test_fraction=0\.13$"):
        prepare(DataConfig(path=str(folder), **{**settings, "test_fraction": 0.0}))


@pytest.mark.parametrize("damage", ["bit", "gone"])
def test_damaged_test_set_is_rejected(tmp_path: Path, damage: str) -> None:
    folder, config = made(tmp_path, test_fraction=0.2)
    content = bytearray((folder / TEST).read_bytes())
    content[3] ^= 1
    (folder / TEST).unlink()
    if damage == "bit":
        (folder / TEST).write_bytes(content)
    with pytest.raises(DataError, match=r"not a whole prepared folder: test\.bin is "):
        load(folder, config)


@pytest.mark.parametrize("change", ["listed", "unlisted"])
def test_description_that_contradicts_itself_about_the_test_set_is_rejected(tmp_path: Path, change: str) -> None:
    folder, config = made(tmp_path, test_fraction=0.2 if change == "unlisted" else 0.0)
    described = json.loads((folder / PREPARED).read_bytes())
    if change == "listed":
        described["files"][TEST] = described["files"][HELD_OUT]
    else:
        del described["files"][TEST]
    (folder / PREPARED).write_text(json.dumps(described))
    with pytest.raises(DataError, match=r"settings\.test_fraction contradicts"):
        load(folder, config)


def test_folder_from_before_test_sets_loads(tmp_path: Path) -> None:
    folder, config = made(tmp_path)
    described = json.loads((folder / PREPARED).read_bytes())
    del described["settings"]["test_fraction"]
    (folder / PREPARED).write_text(json.dumps(described))
    assert load(folder, config).data.test is None
    assert settings_of(folder)["test_fraction"] == 0.0
