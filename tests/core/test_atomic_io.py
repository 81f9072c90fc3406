"""Files are complete or not there, also where a write fails; a folder has one process."""

import os
from pathlib import Path

import pytest

from mingpt.core.atomic_io import locked, open_atomic, remove_drafts, write_atomic
from mingpt.core.errors import CheckpointError


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_reader_sees_the_old_file_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, b"old")
    with open(path, "rb") as reader:
        with open_atomic(path) as file:
            file.write(b"new, longer")
            file.flush()
            assert path.read_bytes() == b"old"
        assert reader.read() == b"old"  # another file took its place: its own bytes did not change
    assert files(tmp_path) == {"a.json": b"new, longer"}


def test_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, rename = [], os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append("sync"))
    monkeypatch.setattr(os, "replace", lambda *names: calls.append("rename") or rename(*names))
    write_atomic(tmp_path / "a", b"x")
    assert calls == ["sync", "rename", "sync"]  # at the end the folder


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_write_that_fails_leaves_the_old_file_alone(tmp_path: Path, kind: type[BaseException]) -> None:
    path, error = tmp_path / "a", kind(28, "No space left on device")
    write_atomic(path, b"old")

    def fail() -> None:
        with open_atomic(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(kind) as failed:
        fail()
    assert files(tmp_path) == {"a": b"old"}
    if isinstance(failed.value, OSError):
        assert failed.value.filename == str(path)


def test_drafts_of_the_named_files_are_removed_and_no_others(tmp_path: Path) -> None:
    for name in (".a.0123abcd.tmp", ".b.0123abcd.tmp", "a", ".a.txt"):
        (tmp_path / name).write_bytes(b"x")
    remove_drafts(tmp_path, ["a"])
    assert sorted(files(tmp_path)) == [".a.txt", ".b.0123abcd.tmp", "a"]


def test_folder_is_held_once_and_free_afterwards(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(CheckpointError, match="another process is training"), locked(tmp_path):
        pytest.fail("held twice")
    with locked(tmp_path):
        pass
