"""What stands in the files that a path names: strict UTF-8 whatever the locale and the platform, a block at a time.

A path is a file; several with commas between; a folder, for all files in it; a pattern, as `texts/**/*.txt`; or `-` for
standard input.  A file whose own name has a comma or a star is that file.  Several files are one text, as `cat` joins
them, in the order of their names, so that it is the same on every machine; those between commas in the order given.
"""

import codecs
import contextlib
import difflib
import glob
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from mingpt.errors import DataError
from mingpt.untrusted import require_ordinary

DEFAULT_PATH = "input.txt"  # what corpora.py makes where there is none
TINY_PATH = "tinyshakespeare"  # what corpora.py downloads
STDIN = "-"
PREPARED = "prepared.json"  # in folders of ids, which prepared.py writes

BLOCK_BYTES = 1 << 20  # read and decoded at a time
NEEDED = "name a file with text in it; to train on, with more tokens than data.block_size"  # said of an empty one
JUDGED = 4096  # bytes of a file's start by which is guessed what it is
NEAR = 0.8  # from 0 to 1: how alike two names are, of which one may be meant by the other

_MARKS = {  # what other encodings start with; UTF-32 first, because its little-endian mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_OTHERS = {  # what files that are no text start with: what they are, and how text comes out of one
    b"\x89PNG": ("a PNG picture", ""),
    b"\xff\xd8\xff": ("a JPEG picture", ""),
    b"GIF8": ("a GIF picture", ""),
    b"%PDF": ("a PDF document", "`pdftotext {}`"),
    b"\x1f\x8b": ("packed by gzip", "`gzip -dc {} > text.txt`"),
    b"BZh": ("packed by bzip2", "`bzip2 -dc {} > text.txt`"),
    b"\xfd7zXZ": ("packed by xz", "`xz -dc {} > text.txt`"),
    b"\x28\xb5\x2f\xfd": ("packed by zstd", "`zstd -dc {} > text.txt`"),
    b"PK\x03\x04": ("packed by zip, as office documents are: save it as plain text", ""),
}
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
    if os.path.isdir(path):
        return _files_in(path)
    if os.path.lexists(path):
        return [path]
    if "," in path:
        return [name for part in path.split(",") for name in files_of(part.strip())]
    if glob.has_magic(path):
        return _fitting(path)
    return [path]


def taken_as_text(files: Sequence[str]) -> str | None:
    """One line where `files` have a form that is not read as such; None where there is nothing to say."""
    marks_of = {name: _MARKED_UP.get(os.path.splitext(name)[1].lower()) for name in files}
    found = {name: marks for name, marks in marks_of.items() if marks and os.path.exists(name)}
    if not found:
        return None
    first, others = next(iter(found)), len(found) - 1
    more = f" and {others:,} other file{'s' * (others > 1)}" if others else ""
    marks = ", ".join(dict.fromkeys(found.values()))
    return f"{first}{more}: read as plain text, {'their' if others else 'its'} {marks} included"


def absolute(path: str) -> str:
    """`path` as one that names the same files from any folder."""
    if path == STDIN or os.path.lexists(path):
        return path if path == STDIN else os.path.abspath(path)
    if "," in path:
        return ",".join(absolute(part.strip()) for part in path.split(","))
    if glob.has_magic(path):
        return os.path.join(glob.escape(os.getcwd()), path)
    return os.path.abspath(path)


def is_there(path: str) -> bool:
    """Whether every file that `path` names exists."""
    try:
        return all(os.path.exists(name) for name in files_of(path))
    except DataError:
        return False


def chunks(files: Sequence[str], digest: Any, sizes: list[int] | None = None) -> Iterator[str]:
    """The characters of `files`, one after the other, in chunks of at most a megabyte.

    Args:
        digest: of hashlib; is given every byte.
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
    start, size = b"", 0
    while True:
        block = file.read(BLOCK_BYTES)
        digest.update(block)
        start, size = start or block[:JUDGED], size + len(block)
        if sizes is not None:
            sizes.append(len(block))
        try:
            yield decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:  # its object ends where what was read so far ends
            at = size - len(error.object) + error.start
            found = f"{named(name)} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset {at}"
            raise DataError(f"data.path: {found}; {_remedy(name, start)}") from None
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
    return "standard input" if path == STDIN else repr(path)


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
        raise DataError(f"data.path: there is no file {name!r}{_near_miss(name)}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise DataError(f"data.path: cannot read {name!r}: {reason(error)}") from None
    with file:
        try:
            yield file
        except OSError as error:
            raise DataError(f"data.path: cannot read {name!r}: {reason(error)}") from None


def _files_in(folder: str) -> list[str]:
    """All files below it but the hidden, by their paths."""
    if os.path.exists(os.path.join(folder, PREPARED)):
        raise DataError(f"data.path: {folder!r} is prepared: it holds ids and no text; only training reads it")
    found: list[str] = []

    def refuse(error: OSError) -> None:
        raise DataError(f"data.path: cannot read {error.filename!r}: {reason(error)}") from None

    for home, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [each for each in folders if not each.startswith(".")]
        paths = (os.path.join(home, name) for name in names if not name.startswith("."))
        found += [path for path in paths if os.path.isfile(path)]
    if not found:
        raise DataError(f"data.path: {folder!r} is a folder without a file")
    return sorted(found)


def _fitting(pattern: str) -> list[str]:
    found = sorted(path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))
    if not found:
        raise DataError(f"data.path: no file fits {pattern!r}")
    return found


def _remedy(source: str, start: bytes) -> str:
    """What to do about bytes that are not UTF-8, judged by how they start."""
    marked = next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)
    if marked is None:
        kind, way = next((what for mark, what in _OTHERS.items() if start.startswith(mark)), ("", ""))
        if kind or b"\0" in start:
            unpacked = f": {way.format(shlex.quote(source))}" if way and source != STDIN else ""
            return f"it is no text, but {kind or 'binary, or UTF-16 without a mark (it holds NUL bytes)'}{unpacked}"
    guess = f"the start looks like {marked}" if marked else "if it is Latin-1"
    return f"{guess}: `iconv -f {marked or 'ISO-8859-1'} -t UTF-8 {shlex.quote(source)} > utf8.txt`"


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
    # Without the ending, which too many have to say anything; of equal names that with the same one stays.
    there = {os.path.splitext(entry.lower())[0]: entry for entry in listed}
    close = difflib.get_close_matches(stem, there, n=1, cutoff=NEAR)
    return f"; did you mean {os.path.join(folder, there[close[0]])!r}?" if close else ""


def reason(error: Exception) -> str:
    """An exception in one line, without the numbers and paths that are said elsewhere."""
    cause = getattr(error, "reason", error)  # what urllib wraps
    return " ".join(str(getattr(cause, "strerror", None) or cause).split()) or type(error).__name__
