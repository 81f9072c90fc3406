"""One process per run folder, on every file system; and none is locked by a process that is gone."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import pytest

from mingpt.core import atomic_io
from mingpt.core.atomic_io import LOCK, MARKER, locked
from mingpt.core.errors import CheckpointError
from mingpt.runs import checkpoint, run

ROOT = Path(__file__).parents[2]
DIE_HOLDING = """
import errno, filelock, os, sys
from pathlib import Path
from mingpt.core import atomic_io
def none(handle, blocking):
    raise OSError(errno.ENOLCK, "no locks")
filelock.lock_descriptor = none
with atomic_io.locked(Path(sys.argv[1])):
    os._exit(9)
"""


def failing(number: int) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return call


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP], ids=lambda number: errno.errorcode[number])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has no flock."""
    monkeypatch.setattr(filelock, "lock_descriptor", failing(request.param))


@pytest.mark.usefixtures("no_locks")
def test_file_system_without_locks_trains_and_rejects_a_second_process(tmp_path: Path, tiny: Any) -> None:
    refused: list[str] = []

    def second(trainer: Any, record: dict[str, Any]) -> None:
        with pytest.raises(CheckpointError) as raised, locked(tmp_path):
            pass
        refused.append(str(raised.value))

    run.train(tiny(tmp_path, {"trainer.max_iters": 1}), callbacks=[second])
    who = f"another process (process {os.getpid()} on {socket.gethostname()}) is training in this folder"
    assert who in refused[0]
    assert f"if that process is gone, remove {tmp_path / MARKER}" in refused[0]
    assert not (tmp_path / MARKER).exists()


def test_marker_of_a_killed_process_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert subprocess.run([sys.executable, "-c", DIE_HOLDING, str(tmp_path)], cwd=ROOT, check=False).returncode == 9
    assert (tmp_path / MARKER).exists()
    monkeypatch.setattr(filelock, "lock_descriptor", failing(errno.ENOLCK))
    with locked(tmp_path):
        assert (tmp_path / MARKER).exists()
    assert not (tmp_path / MARKER).exists()


def test_other_trouble_of_a_lock_is_not_called_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filelock, "lock_descriptor", failing(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), locked(tmp_path):
        pass


def test_lock_is_free_again_and_of_one_holder_in_a_process(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path), pytest.raises(CheckpointError, match="another process"), locked(tmp_path):
            pass
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_file_system_that_lacks_a_call_trains(
    tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing(number))
    run.train(tiny(tmp_path / "run", {"trainer.max_iters": 2}))
    assert checkpoint.steps(tmp_path / "run") == [2]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_disk_that_fails_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(os, "fsync", failing(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        atomic_io.write_atomic(tmp_path / "x", b"x")
    assert list(tmp_path.iterdir()) == []
