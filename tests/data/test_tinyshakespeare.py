"""The field's usual small file: downloaded once, whole, or not at all."""

import dataclasses
import hashlib
import io
import os
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from reading import refusal, write

from mingpt.data.downloads import DOWNLOADS
from mingpt.data.shakespeare import read_text
from mingpt.data.text_files import TINY_PATH

# ---- tinyshakespeare


TINY = b"First Citizen:\nBefore\n"


class Web:
    """Stands in for the network: hands out `data`, or raises it."""

    def __init__(self, data: bytes | Exception) -> None:
        self.data = data
        self.asked: list[str] = []

    def __call__(self, url: str, timeout: float) -> io.BytesIO:
        assert 0 < timeout <= 60
        self.asked.append(url)
        if isinstance(self.data, Exception):
            raise self.data
        return io.BytesIO(self.data)


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Web:
    fake = Web(TINY)
    monkeypatch.setattr(urllib.request, "urlopen", fake)
    stand_in = {"bytes": len(TINY), "sha256": hashlib.sha256(TINY).hexdigest()}
    monkeypatch.setitem(DOWNLOADS, TINY_PATH, dataclasses.replace(DOWNLOADS[TINY_PATH], **stand_in))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return fake


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "mingpt" / "tinyshakespeare.txt"


def test_file_is_downloaded_once(web: Web, cached: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = read_text(TINY_PATH)
    assert (first.content, first.source) == (TINY.decode(), str(cached))
    assert web.asked == [DOWNLOADS[TINY_PATH].url]
    assert caplog.messages == [f"downloaded tinyshakespeare, {len(TINY)} bytes, to {cached}"]
    assert read_text(TINY_PATH) == first
    assert web.asked == [DOWNLOADS[TINY_PATH].url]


@pytest.mark.parametrize("damage", [b"", TINY[:-1], TINY.replace(b"\n", b"\r\n"), b"\xff" + TINY])
def test_damaged_cache_is_not_used(web: Web, cached: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    cached.parent.mkdir(parents=True)
    cached.write_bytes(damage)
    assert read_text(TINY_PATH).content == TINY.decode()
    assert str(cached) in caplog.messages[0]
    assert cached.read_bytes() == TINY


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"<html>Log in</html>", "19 of 22 bytes came"),
        (b"<html>Log in to the network</html>", "what came is longer than 22 bytes"),
        (TINY[:-1] + b"?", "what came has sha256"),
        (urllib.error.URLError(socket.gaierror(-2, "Name or service not known")), "Name or service not known"),
        (TimeoutError("timed out"), "timed out"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_failed_download_is_explained_and_not_stored(
    web: Web, cached: Path, answer: bytes | Exception, says: str
) -> None:
    web.data = answer
    message = refusal(TINY_PATH)
    assert says in message
    assert str(cached) in message
    assert DOWNLOADS[TINY_PATH].sha256 in message
    assert DOWNLOADS[TINY_PATH].url in message
    assert not cached.exists()


def test_relative_cache_folder_is_not_used(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert read_text(TINY_PATH).place == str(tmp_path / "home" / ".cache" / "mingpt" / "tinyshakespeare.txt")


def test_file_named_like_the_corpus_can_be_read(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, b"mine", TINY_PATH)
    assert read_text(os.path.join(".", TINY_PATH)).content == "mine"
    assert web.asked == []


def test_constants_of_the_field_are_as_published() -> None:
    own = DOWNLOADS[TINY_PATH]
    assert own.sha256 == "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    assert own.bytes == 1_115_394
