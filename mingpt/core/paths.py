"""Paths that people give: `~` is expanded, relative ones start at the current folder, messages show them so.

A folder whose name is a tilde is `./~`.
"""

import os
from pathlib import Path

from mingpt.core.errors import UsageError, require
from mingpt.core.registry import did_you_mean

PICTURES = (".png", ".svg", ".pdf")


def expanded(path: str) -> str:
    """`path` with the home in place of a leading `~` or `~name`; as it is where no such home is known."""
    try:
        return os.path.expanduser(path)
    except ValueError:  # a NUL in a user's name; opening the path reports it
        return path


def path_of(path: str | Path) -> Path:
    """`path` as given, but for `~`."""
    return Path(expanded(os.fspath(path)))


def here() -> str:
    """The current folder.

    Raises:
        UsageError: it was removed.
    """
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise UsageError("the current folder was removed; change to one that exists (`cd`)") from None


def absolute(path: str | Path, folder: str | Path | None = None) -> str:
    """`path`, which is relative to `folder`, as an absolute one; links and `..` stay, since they may belong together.

    Args:
        folder: None: the current one.

    Raises:
        UsageError: the current folder was removed, and the path depends on it.
    """
    there = expanded(os.fspath(path))
    if not os.path.isabs(there):
        there = os.path.join(here() if folder is None else absolute(folder), there)
    return str(Path(there))


def shown(path: str | Path) -> str:
    """`path` as a person would type it here: relative where it is the current folder or below it, else as it is."""
    text = os.fspath(path)
    try:
        home = os.getcwd()
    except OSError:  # it was removed, or may not be read
        return text
    if text == home:
        return os.curdir
    below = text.removeprefix(os.path.join(home, "")) if home != os.path.dirname(home) else text
    below = below.removeprefix(os.path.join(os.curdir, ""))
    if below.startswith("~") and not text.startswith("~"):  # else it would be the home
        return os.path.join(os.curdir, below)
    return below or text


def did_you_mean_folder(folder: Path) -> str:
    """` (did you mean 'rnn'?)`, the nearest folder next to one that is not there; nothing if none is near."""
    try:
        there = [] if folder.exists() else [each.name for each in folder.parent.iterdir() if each.is_dir()]
    except OSError:  # no folder has it, or that may not be read
        there = []
    return did_you_mean(folder.name, filter(str.isprintable, there))


def require_writable(out: Path) -> None:
    """Check that the result `out` can be written: in no folder, or one that takes nothing.

    Raises:
        UsageError: names the folder, and another way.
    """
    folder = out.parent
    require(folder.is_dir(), "out", shown(out), "must lie in a folder that there is")
    rule = f"{shown(folder)} can't be written; name another place, as --out={out.name}"
    require(os.access(folder, os.W_OK), "out", shown(out), rule)


def require_picture(out: Path) -> None:
    """Reject an `out` that can't be written or is in no format of pictures.

    Raises:
        UsageError: names the formats, or the folder.
    """
    require(out.suffix in PICTURES, "out", out, f"must end in {', '.join(PICTURES)}")
    require_writable(out)
