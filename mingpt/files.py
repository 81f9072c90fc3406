"""Files that are whole or not there: atomic writes, checksums, and one process per folder."""

import contextlib
import glob
import hashlib
import io
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mingpt.errors import CheckpointError

try:  # advisory locks that the kernel drops with their process, so none is ever stale
    import fcntl
except ImportError:  # pragma: no cover - Windows, by best effort: no lock there
    fcntl = None  # type: ignore[assignment]


def write_atomic(path: Path, content: bytes) -> None:
    """Write `path` so that a reader, or a crash at any moment, sees the old file or the new one, never a part."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, allowed(0o666))
        os.replace(name, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(name)
        if isinstance(error, OSError) and error.filename is None:  # a write that fails doesn't say where
            error.filename = str(path)
        raise
    sync_folder(path.parent)


def allowed(mode: int) -> int:
    """Of these rights, those that a new file has by the umask, as one of `tempfile` has fewer."""
    mask = os.umask(0o077)  # the only way to ask, so for a moment it is the strictest
    os.umask(mask)
    return mode & ~mask


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


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` last through a power cut."""
    if os.name == "nt":  # pragma: no cover - a folder can't be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(content: bytes) -> str:
    """The hexadecimal digest that manifests and environment.json carry."""
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process alone.

    Raises:
        CheckpointError: another live process holds it.
    """
    with open(folder / ".lock", "a+b") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise CheckpointError(
                    f"{folder}: another process is training in this folder; wait for it, or choose another "
                    "--system.work_dir"
                ) from None
        yield
