"""Files that are complete or not there: atomic writes, checksums, and one process per folder."""

import contextlib
import errno
import glob
import hashlib
import io
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mingpt.core.errors import CheckpointError
from mingpt.core.paths import shown

LOCK, MARKER = ".lock", ".lock.holder"  # a folder's, and in the place of it one where the file system has no locks
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)  # a file that must not be there yet
# What network and FUSE mounts answer that have no such call, or not of such a file.
IMPOSSIBLE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


def write_atomic(path: Path, content: bytes) -> None:
    """Write `path` so that a reader, or a crash at any moment, sees the old file or the new one, never a part."""
    with open_atomic(path) as file:
        file.write(content)


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` at the end, as with `write_atomic`; after an error none does."""
    name = draft_of(path)
    try:
        handle = os.open(name, NEW, 0o666)  # less what the umask takes, as of any new file
    except OSError as error:
        error.filename = str(path)  # what a person knows of, and not the draft
        raise
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            sync(file.fileno())
        os.replace(name, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(name)
        if isinstance(error, OSError) and error.filename is None:  # of a write that fails the error names no file
            error.filename = str(path)
        raise
    sync_folder(path.parent)


def draft_of(path: Path) -> Path:
    """A new name next to `path`, hidden, for what will take its place."""
    return path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"


def save_picture(figure: Any, path: Path) -> Path:
    """Write a matplotlib figure in the format that `path` ends in, and return `path`; a link there is replaced."""
    drawing = io.BytesIO()
    figure.savefig(drawing, format=path.suffix[1:])
    write_atomic(path, drawing.getvalue())
    return path


def remove_drafts(folder: Path, names: Iterable[str]) -> None:
    """Remove what a process that was killed inside `write_atomic` left of the files `names`."""
    for name in names:
        for draft in folder.glob(f".{glob.escape(name)}.*.tmp"):
            draft.unlink()


def sync(handle: int) -> None:
    """Make what was written last through a power cut, as far as the file system can."""
    with _where_possible():
        os.fsync(handle)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` last through a power cut, as far as the file system can."""
    if os.name == "nt":  # pragma: no cover - a folder can't be opened there
        return
    with _where_possible(errno.EACCES, errno.EPERM):  # a folder that may be written, but not listed
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def _where_possible(*also: int) -> Iterator[None]:
    """Skip a call that the file system doesn't have; `also`: more error numbers that mean so."""
    try:
        yield
    except OSError as error:
        if error.errno not in {*IMPOSSIBLE, *also}:
            raise


def sha256(content: bytes) -> str:
    """The hexadecimal digest in manifests and environment.json."""
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process alone.

    The kernel drops the lock with its process, so none is ever stale.  On a file system without locks (some network
    and FUSE mounts) a file names the holder's process and machine instead; it counts as long as that process lives,
    which another machine can't find out.

    Raises:
        CheckpointError: another process holds it; if that can't be seen to live, the message names the file to remove.
    """
    from filelock import lock_descriptor  # here, since its import takes as long as half of a command line's check

    with open(folder / LOCK, "a+b") as file:
        try:
            free = lock_descriptor(file.fileno(), blocking=False)
        except OSError as error:
            if error.errno not in {*IMPOSSIBLE, errno.ENOLCK}:
                raise
            with _marked(folder):
                yield
            return
        if not free:
            raise _held(folder)
        yield


def holder(folder: Path) -> int | None:
    """Return the id of the process that holds `folder`; 0 where it is unknown, None where none does.

    The lock is looked up in /proc/locks where that is there, which disturbs no process; else it is tried for a moment.
    """
    from filelock import lock_descriptor, unlock_descriptor

    if (folder / MARKER).exists():
        return 0
    try:
        lock = (folder / LOCK).stat()
    except OSError:
        return None
    if hasattr(os, "major"):
        name = f"{os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}:{lock.st_ino}"
        with contextlib.suppress(OSError):
            for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
                words = line.split()  # 1: FLOCK ADVISORY WRITE 1234 08:01:5678 0 EOF; "->" after the number: it waits
                if words[1:2] == ["FLOCK"] and words[5] == name:
                    return max(int(words[4]), 0)
    try:
        with open(folder / LOCK, "rb") as file:
            if not lock_descriptor(file.fileno(), blocking=False):
                return 0
            unlock_descriptor(file.fileno())
    except OSError:  # it may not be read, or knows no locks
        return None
    return None


@contextlib.contextmanager
def _marked(folder: Path) -> Iterator[None]:
    from filelock import MarkerSoftFileLock, Timeout

    marker = MarkerSoftFileLock(folder / MARKER, timeout=0)
    try:
        marker.acquire()
    except Timeout:
        owner = marker.owner
        who = f" (process {owner.pid} on {owner.hostname})" if owner else ""
        gone = f"; if that process is gone, remove {shown(folder / MARKER)}"
        raise _held(folder, who, gone) from None
    try:
        yield
    finally:
        marker.release()


def _held(folder: Path, who: str = "", gone: str = "") -> CheckpointError:
    return CheckpointError(
        f"{shown(folder)}: another process{who} is training in this folder; wait for it, or choose another "
        f"--system.work_dir{gone}"
    )
