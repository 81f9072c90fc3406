"""What stands in the files that a path names: strict UTF-8 whatever the locale and the platform, a block at a time.

A path is a file; several with commas between; a folder, for all files in it; a pattern, as `texts/**/*.txt`; or `-` for
standard input.  A file whose own name has a comma or a star is that file.  Several files are one text, as `cat` joins
them, in the order of their names, so that it is the same on every machine; those between commas in the order given.
`~` is the home, also after a comma.  In what `absolute` makes, a comma that belongs to a name stands as `[,]`.
"""

import codecs
import contextlib
import difflib
import glob
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mingpt.core import paths
from mingpt.core.errors import DataError
from mingpt.core.safe_parsing import require_ordinary
from mingpt.data.encodings import converted, remedy, unmarked

DEFAULT_PATH = "input.txt"  # what shakespeare.py makes where there is none
TINY_PATH = "tinyshakespeare"
DOWNLOADED = (TINY_PATH, "text8", "enwik8")  # what downloads.py gets by these names
STDIN = "-"
PREPARED = "prepared.json"  # in folders of ids, which preparing.py writes

BLOCK_BYTES = 1 << 20  # read and decoded at a time
# The rule for an empty one:
NEEDED = "--data.path=FILE names a file with text in it; training needs more tokens than data.block_size"
EXAMINED = 4096  # bytes of a file's start by which is guessed what it is
NEWLINE = b"\n"
NEAR = 0.8  # from 0 to 1: how similar two names are, of which one may be meant by the other

_MARKED_UP = {  # endings of files that other programs read as more than text: what then is read as letters
    ".csv": "commas and quotes",
    ".tsv": "tabs",
    ".json": "brackets and quotes",
    ".jsonl": "brackets and quotes",
}


@dataclass(frozen=True)
class Text:
    """A text and where it came from.

    source:  for people: where its files lie
    place:   a path that names it from any folder; `-` where it came from standard input, and is kept nowhere
    content: the characters, with no byte order mark at a file's start
    sha256:  of the bytes as they were read (byte order marks included)
    """

    source: str
    place: str
    content: str
    sha256: str


def files_of(path: str) -> list[str]:
    """The files that `path` names, in order; [`-`] for standard input.

    Raises:
        DataError: a folder without files, a pattern that fits none, an empty name.  A file itself may be missing.
    """
    if path == STDIN:
        return [STDIN]
    path = paths.expanded(path)
    if os.path.isdir(path):
        return _files_in(path)
    if os.path.lexists(path):
        return [path]
    if len(parts := _parts(path)) > 1:
        return [name for part in parts for name in files_of(part)]
    if glob.has_magic(path):
        return _fitting(path)
    return [path]


def taken_as_text(files: Sequence[str]) -> str | None:
    """One line where `files` have a form that is not read as such; None where none has."""
    marks_of = {name: _MARKED_UP.get(os.path.splitext(name)[1].lower()) for name in files}
    found = {name: marks for name, marks in marks_of.items() if marks and os.path.exists(name)}
    if not found:
        return None
    first, others = next(iter(found)), len(found) - 1
    more = f" and {others:,} other file{'s' * (others > 1)}" if others else ""
    marks = ", ".join(dict.fromkeys(found.values()))
    return f"{paths.shown(first)}{more}: read as plain text, {'their' if others else 'its'} {marks} included"


def is_name(path: str) -> bool:
    """Whether `path` stands for a text by itself: standard input, or what is downloaded or made where it is missing."""
    return path in (STDIN, *DOWNLOADED) or (path == DEFAULT_PATH and not os.path.lexists(path))


def absolute(path: str, folder: str | Path | None = None) -> str:
    """Return `path` such that it names the same files from any folder; unchanged if `is_name`.

    Args:
        folder: that it is relative to; None: the current one.

    Raises:
        UsageError: the current folder was removed.
    """
    if is_name(path) or not path:
        return path
    there = paths.absolute(path, folder)
    if os.path.lexists(there):
        return there
    if len(parts := _parts(path)) > 1:
        return ",".join(_in_a_list(absolute(part, folder)) for part in parts)
    if os.path.isabs(paths.expanded(path)):
        return paths.expanded(path)
    return os.path.join(_literally(paths.here() if folder is None else paths.absolute(folder)), path)


def is_relative(path: str) -> bool:
    """Whether any of the files that `path` names depends on the current folder."""
    return not all(os.path.isabs(paths.expanded(part)) for part in _parts(path))


def shown(path: str) -> str:
    """`path`, or a list or pattern of them, as a person would type it in the current folder."""
    if is_name(path):
        return path
    typed = _shown(path)
    return os.path.join(os.curdir, typed) if is_name(typed) else typed


def _shown(path: str) -> str:
    if os.path.lexists(path):
        return paths.shown(path)
    if not any(os.path.isabs(part) for part in _parts(path)):
        return path
    with contextlib.suppress(OSError):
        home = os.getcwd()
        escaped = os.path.join(_literally(home), "")
        return ",".join(
            paths.shown(os.path.join(home, part.removeprefix(escaped)) if part.startswith(escaped) else part)
            for part in _parts(path)
        )
    return path


def _parts(path: str) -> list[str]:
    """What stands between the commas that belong to no name."""
    return [part.strip() for part in re.split(r"(?<!\[),|,(?!\])", path)]


def _in_a_list(path: str) -> str:
    return _literally(path) if os.path.lexists(path) else path


def _literally(path: str) -> str:
    """A pattern that fits `path` alone; `path` itself, where nothing in it would be read as a pattern or a list."""
    return glob.escape(path).replace(",", "[,]")


def is_there(path: str) -> bool:
    """Whether every file that `path` names exists."""
    try:
        return all(os.path.exists(name) for name in files_of(path))
    except DataError:
        return False


def chunks(files: Sequence[str], digest: Any, sizes: list[int] | None = None) -> Iterator[str]:
    """The characters of `files`, one after the other, in chunks of at most a megabyte.

    Args:
        digest: a hashlib object that is updated with every byte.
        sizes: is given the number of bytes of every block.

    Raises:
        DataError: a file that is missing, unreadable or not UTF-8; names it.
    """
    for name in files:
        with opened(name) as file:
            yield from decoded(name, file, digest, sizes)


def decoded(name: str, file: BinaryIO, digest: Any, sizes: list[int] | None = None) -> Iterator[str]:
    """The rest of `file`; strict UTF-8, so that nothing is replaced or guessed.  A byte order mark is left out."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    start, size, lines = b"", 0, 1
    while True:
        block = file.read(BLOCK_BYTES)
        digest.update(block)
        if not start and (wide := unmarked(block[:EXAMINED])):
            found = f"{named(name)} looks like {wide} without a byte order mark"
            raise DataError(f"data.path: {found}: {converted(shown(name), wide)}")
        start, size = start or block[:EXAMINED], size + len(block)
        if sizes is not None:
            sizes.append(len(block))
        try:
            yield decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:  # its object ends where what was read so far ends
            content, at = error.object, size - len(error.object) + error.start
            place = f"at offset {at}, line {lines + content[: error.start].count(NEWLINE):,}"
            found = f"{named(name)} is not UTF-8: byte 0x{content[error.start]:02x} {place}"
            raise DataError(f"data.path: {found}; {remedy(shown(name), start, content)}") from None
        lines += block.count(NEWLINE)
        if not block:
            return


@contextlib.contextmanager
def given_as(setting: str) -> Iterator[None]:
    """Let errors of a text begin with the setting that named it, where that is not data.path."""
    try:
        yield
    except DataError as error:
        raise DataError(re.sub("^data.path:", f"{setting}:", str(error))) from None


def named(path: str) -> str:
    """How messages call a path."""
    return "standard input" if path == STDIN else repr(shown(path))


@contextlib.contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """`name` to read bytes from, `-` for standard input.

    Raises:
        DataError: it can't be read.
    """
    if name == STDIN:
        if sys.stdin is None or sys.stdin.isatty():
            raise DataError("data.path: standard input is a terminal; pipe a text into it")
        yield sys.stdin.buffer
        return
    try:
        require_ordinary(name)
        file = open(name, "rb")  # noqa: SIM115 - closed below; an error of what is done with it is not one of opening
    except FileNotFoundError:
        raise DataError(f"data.path: there is no file {named(name)}{_near_miss(paths.shown(name))}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise DataError(f"data.path: cannot read {named(name)}: {reason(error)}") from None
    with file:
        try:
            yield file
        except OSError as error:
            raise DataError(f"data.path: cannot read {named(name)}: {reason(error)}") from None


def _files_in(folder: str) -> list[str]:
    """All files below it but the hidden, by their paths."""
    if os.path.exists(os.path.join(folder, PREPARED)):
        raise DataError(f"data.path: {named(folder)} is prepared: it holds ids and no text; only training reads it")
    found: list[str] = []

    def reject(error: OSError) -> None:
        raise DataError(f"data.path: cannot read {named(error.filename)}: {reason(error)}") from None

    for home, folders, names in os.walk(folder, onerror=reject):
        folders[:] = [each for each in folders if not each.startswith(".")]
        seen = (os.path.join(home, name) for name in names if not name.startswith("."))
        found += [path for path in seen if os.path.isfile(path)]
    if not found:
        raise DataError(f"data.path: {named(folder)} is a folder without a file")
    return sorted(found)


def _fitting(pattern: str) -> list[str]:
    found = sorted(path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))
    if not found:
        raise DataError(f"data.path: no file fits {named(pattern)}")
    return found


def _near_miss(path: str) -> str:
    """'; did you mean ...?' where a file of a close name lies in the same folder, or a special name is near."""
    folder, name = os.path.split(path)
    plain = re.sub("[^a-z]", "", name.lower().removesuffix(".txt"))
    if not folder and difflib.get_close_matches(plain, [TINY_PATH, "shakespeare"], cutoff=0.9):
        names = f"{TINY_PATH!r} (1 MB) and {DEFAULT_PATH!r} (all of Shakespeare's plays)"
        return f"; the names that need no file are {names}"
    stem, ending = os.path.splitext(name.lower())
    try:
        listed = sorted(os.listdir(folder or "."), key=lambda entry: (entry.lower().endswith(ending), entry))
    except OSError:
        return f"; there is no folder {folder!r}"
    # Without the ending, which too many share for it to count; of equal names that with the same one stays.
    there = {os.path.splitext(entry.lower())[0]: entry for entry in listed}
    close = difflib.get_close_matches(stem, there, n=1, cutoff=NEAR)
    return f"; did you mean {os.path.join(folder, there[close[0]])!r}?" if close else ""


def reason(error: Exception) -> str:
    """An exception in one line, without the numbers and paths that are elsewhere in the message."""
    cause = getattr(error, "reason", error)  # what urllib wraps
    return " ".join(str(getattr(cause, "strerror", None) or cause).split()) or type(error).__name__
