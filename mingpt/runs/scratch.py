"""A run whose `checkpoints` is a link, as on clusters to a scratch disk: allowed where it can't lead to others' files.

A run begins with a link only to an empty folder, in which it then stores a secret; environment.json has it, too.  It
goes on only where the two agree: a run folder of somebody else can't know the secret of a folder on this machine.
"""

import contextlib
import hmac
import secrets
from collections.abc import Iterator
from pathlib import Path

from mingpt.core.atomic_io import write_atomic
from mingpt.core.errors import CheckpointError
from mingpt.core.paths import shown
from mingpt.core.run_files.reading import read_json
from mingpt.core.safe_parsing import read_at_most

CHECKPOINTS, CONFIG, SECRET = "checkpoints", "config.yaml", "run-id.txt"
IN_ENVIRONMENT = "checkpoints_run_id"
LONGEST = 64  # bytes


@contextlib.contextmanager
def beginning(folder: Path) -> Iterator[None]:
    """Let a run that begins in `folder` keep its checkpoints behind a link; one that fails first leaves nothing there.

    Raises:
        CheckpointError: the link leads nowhere, or to files, be it only the secret of another run.
    """
    home = folder / CHECKPOINTS
    if not home.is_symlink():
        yield
        return
    if not home.is_dir():
        raise CheckpointError(f"{shown(home)}: a link to a folder that is not there; make that folder first")
    if found := [entry.name for entry in home.iterdir()]:
        killed = f", or remove its {SECRET} if that run was killed as it began" if found == [SECRET] else ""
        raise CheckpointError(f"{shown(home)}: a link to a folder with files in it; link an empty one{killed}")
    write_atomic(home / SECRET, secrets.token_hex(16).encode())
    try:
        yield
    finally:
        if not (folder / CONFIG).exists():
            (home / SECRET).unlink(missing_ok=True)


def check(folder: Path) -> None:
    """Check that a link, if `checkpoints` of the run in `folder` is one, leads to what that run has begun.

    Raises:
        CheckpointError: it leads elsewhere.
    """
    if not (folder / CHECKPOINTS).is_symlink():
        return
    expected, found = read_json(folder / "environment.json").get(IN_ENVIRONMENT), run_id(folder)
    if not (isinstance(expected, str) and found and hmac.compare_digest(expected.encode(), found.encode())):
        raise CheckpointError(
            f"{shown(folder / CHECKPOINTS)}: a link to a folder that this run has not begun; a run goes on in its own "
            "files, or in a linked folder that was empty when it began"
        )


def run_id(folder: Path) -> str | None:
    """Return the secret in the linked folder; None without a link or a secret."""
    home = folder / CHECKPOINTS
    if home.is_symlink() and not (home / SECRET).is_symlink():
        with contextlib.suppress(OSError, ValueError):
            return read_at_most(LONGEST, home / SECRET).decode("ascii")
    return None
