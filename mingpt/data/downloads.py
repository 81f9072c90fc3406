"""Texts that are downloaded once, by name, into the user's cache: known files, whose SHA-256 is checked every time.

A download is checked before anything is kept: its size, its SHA-256, and those of the text that an archive holds.  It
is written to a file without a name, which disappears with this process, and the text is renamed to its place at the
end, so that a full disk, a lost connection or a killed process leave nothing behind.
"""

import contextlib
import errno
import hashlib
import logging
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mingpt.core.atomic_io import open_atomic
from mingpt.core.errors import DataError
from mingpt.data.text_files import TINY_PATH, reason

logger = logging.getLogger(__name__)

TIMEOUT_S = 20.0  # of each wait for the network
AT_ONCE = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class Archive:
    """A zip archive that holds a text.

    Attributes:
        member: name of the text in it
        bytes: its exact size
        sha256: of the archive
    """

    member: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Download:
    """A text that is downloaded.

    Attributes:
        url: address of the text, or of its archive
        file: its name in the cache
        bytes: its exact size
        sha256: of the text
        archive: the archive that is downloaded; None: the text itself is
        fractions: the published fractions of its validation and test set, in bytes; None: it has no published split
    """

    url: str
    file: str
    bytes: int
    sha256: str
    archive: Archive | None = None
    fractions: tuple[float, float] | None = None


# The author of enwik8 publishes its size, MD5 and SHA-1 (mattmahoney.net/dc/textdata.html) and no SHA-256.  Those here
# are what several projects that download the files have published, each the same.
DOWNLOADS: dict[str, Download] = {
    TINY_PATH: Download(
        url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        file="tinyshakespeare.txt",
        bytes=1_115_394,
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
    "text8": Download(
        url="http://mattmahoney.net/dc/text8.zip",
        file="text8",
        bytes=100_000_000,
        sha256="6e890197040d37d85beb962ae1f041ff1d9a9ca8d20c7d99c85027eebf51dca7",
        archive=Archive("text8", 31_344_016, "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232"),
        fractions=(0.05, 0.05),
    ),
    "enwik8": Download(
        url="http://mattmahoney.net/dc/enwik8.zip",
        file="enwik8",
        bytes=100_000_000,
        sha256="2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8",
        archive=Archive("enwik8", 36_445_475, "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc"),
        fractions=(0.05, 0.05),
    ),
}


def split_by_bytes(sha256: str) -> bool:
    """True if the text with this SHA-256 has a published split, which is of its bytes; wherever the text lies."""
    return any(each.sha256 == sha256 and each.fractions is not None for each in DOWNLOADS.values())


def published_split(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the published fractions, by their settings, of the text that data.path names; {} where it has none."""
    path = given.get("data.path")
    fractions = DOWNLOADS[path].fractions if isinstance(path, str) and path in DOWNLOADS else None
    return dict(zip(("data.val_fraction", "data.test_fraction"), fractions, strict=True)) if fractions else {}


def check_split(path: str, val_fraction: float, test_fraction: float) -> None:
    """Warn of sets that are not those of the published split that the text `path` has, if it has one."""
    published = published_split({"data.path": path})
    if published and [*published.values()] != [val_fraction, test_fraction]:
        sets = ", ".join(f"{key}={value}" for key, value in published.items())
        logger.warning(f"{path}: its published split is {sets}; losses on another one don't compare with papers")


def stored(name: str) -> str:
    """Return the path of the text `name` in the cache, downloaded if it isn't there or isn't the right one.

    Raises:
        DataError: it can't be downloaded, or not be kept.
    """
    download, paths = DOWNLOADS[name], places(name)
    for path in paths:
        if os.path.isfile(path) and _sha256_of(path) == download.sha256:
            return path
        if os.path.lexists(path):
            logger.warning(f"{path} is not {name} (its sha256 differs): downloading it again")
    if os.path.lexists(name):
        logger.warning(f"{name} is a download; --data.path={os.path.join(os.curdir, name)} takes the file of that name")
    for path in paths:
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _download(download, path)
        except _DownloadError as error:
            what = f"the file {download.archive.member} in {download.url}" if download.archive else download.url
            by_hand = f"put {what} at {path} by hand (sha256 {download.sha256})"
            raise DataError(f"cannot download {name}: {error}; {by_hand}") from None
        except OSError as error:
            failed = f"{name} cannot be kept at {path}: {reason(error)}"
            if error.errno == errno.ENOSPC or path == paths[-1]:
                break
            logger.warning(f"{failed}; trying {paths[-1]}")
        else:
            logger.info(f"downloaded {name}, {download.bytes:,} bytes, to {path}")
            return path
    needed = download.bytes + (download.archive.bytes if download.archive else 0)
    raise DataError(f"{failed}; {needed / 1e6:,.0f} MB are needed there; XDG_CACHE_HOME=FOLDER names another place")


def places(name: str) -> list[str]:
    """Return where the text `name` is kept: in the user's cache, or, if that can't be written, a temporary folder."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    folder = cache if os.path.isabs(cache) else os.path.expanduser("~/.cache")  # a relative one does not count
    folders = [folder] if os.path.isabs(folder) else []  # else there is no user's home
    return [os.path.join(each, "mingpt", DOWNLOADS[name].file) for each in (*folders, tempfile.gettempdir())]


class _DownloadError(Exception):
    """Why a download failed, in words."""


def _download(download: Download, path: str) -> None:
    """Download a text to `path`, where it appears once it is known to be the right one.

    Raises:
        _DownloadError: nothing came, or another file.
        OSError: it can't be written.
    """
    from http.client import HTTPException  # here, since their import takes as long as half of a command line's check
    from urllib.request import urlopen

    failures = (OSError, HTTPException)
    archive = download.archive
    with tempfile.TemporaryFile(dir=os.path.dirname(path)) as file:
        if archive:
            logger.info(f"downloading {download.file}: {archive.bytes / 1e6:,.0f} MB from {download.url}")
        with _as_failure(failures):
            answer = urlopen(download.url, timeout=TIMEOUT_S)
        with answer:
            size, sha256 = (archive.bytes, archive.sha256) if archive else (download.bytes, download.sha256)
            _copy(_blocks(answer.read, failures), file, size, sha256)
        file.seek(0)
        with _opened(file, archive) as text, open_atomic(Path(path)) as kept:
            _copy(_blocks(text.read, (zipfile.BadZipFile, zlib.error, EOFError)), kept, download.bytes, download.sha256)


@contextlib.contextmanager
def _opened(file: BinaryIO, archive: Archive | None) -> Iterator[BinaryIO]:
    """Open the text that a downloaded file holds, or is."""
    if archive is None:
        yield file
        return
    with contextlib.ExitStack() as opened:
        with _as_failure((zipfile.BadZipFile, KeyError)):
            text = opened.enter_context(opened.enter_context(zipfile.ZipFile(file)).open(archive.member))
        yield text  # type: ignore[misc]


def _blocks(read: Callable[[int], bytes], failures: tuple[type[Exception], ...]) -> Iterator[bytes]:
    while True:
        with _as_failure(failures):
            block = read(AT_ONCE)
        if not block:
            return
        yield block


def _copy(blocks: Iterator[bytes], file: BinaryIO, size: int, sha256: str) -> None:
    """Write `blocks`, of which no more than `size` bytes are taken, and check their size and SHA-256."""
    digest, written = hashlib.sha256(), 0
    for block in blocks:
        written += len(block)
        if written > size:
            raise _DownloadError(f"what came is longer than {size:,} bytes")
        digest.update(block)
        file.write(block)
    file.flush()
    if written < size:
        raise _DownloadError(f"{written:,} of {size:,} bytes came")
    if digest.hexdigest() != sha256:
        raise _DownloadError(f"what came has sha256 {digest.hexdigest()}")


@contextlib.contextmanager
def _as_failure(kinds: tuple[type[Exception], ...]) -> Iterator[None]:
    """Raise errors of these kinds as _DownloadError."""
    try:
        yield
    except kinds as error:
        getattr(error, "close", lambda: None)()  # an HTTPError holds the connection
        raise _DownloadError(reason(error)) from None


def _sha256_of(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
