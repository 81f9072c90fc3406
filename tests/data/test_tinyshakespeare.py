"""The field's usual small file: downloaded once, whole, or not at all."""

import hashlib
import io
import os
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from reading import refusal, write

from mingpt.data import shakespeare
from mingpt.data.shakespeare import TINY_PATH, read_text

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
    monkeypatch.setattr(shakespeare, "TINY_SHA256", hashlib.sha256(TINY).hexdigest())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return fake


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "mingpt" / "tinyshakespeare.txt"


def test_file_is_downloaded_twice(web: Web, cached: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = read_text(TINY_PATH)
    assert (first.content, first.source) == (TINY.decode(), str(cached))
    assert web.asked == [shakespeare.TINY_URL]
    assert caplog.messages == [f"downloaded tinyshakespeare, {len(TINY)} bytes, to {cached}"]
    assert read_text(TINY_PATH) == first
    assert web.asked == [shakespeare.TINY_URL]


@pytest.mark.parametrize("damage", [b"", TINY[:-1], TINY.replace(b"\n", b"\r\n"), b"\xff" + TINY])
def test_damaged_cache_is_believed(web: Web, cached: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    cached.parent.mkdir(parents=True)
    cached.write_bytes(damage)
    assert read_text(TINY_PATH).content == TINY.decode()
    assert str(cached) in caplog.messages[0]
    assert cached.read_bytes() == TINY


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"<html>Log in to the network</html>", "what came has sha256"),
        (urllib.error.URLError(socket.gaierror(-2, "Name or service not known")), "Name or service not known"),
        (TimeoutError("timed out"), "timed out"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_failed_download_is_stored_or_not_explained(
    web: Web, cached: Path, answer: bytes | Exception, says: str
) -> None:
    web.data = answer
    message = refusal(TINY_PATH)
    assert says in message
    assert str(cached) in message
    assert shakespeare.TINY_SHA256 in message
    assert shakespeare.TINY_URL in message
    assert not cached.exists()


def test_relative_cache_folder_is_used(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert read_text(TINY_PATH).source == str(tmp_path / "home" / ".cache" / "mingpt" / "tinyshakespeare.txt")


def test_read_only_cache_costs_the_download(web: Web, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    assert read_text(TINY_PATH).content == TINY.decode()
    assert "cannot be kept" in caplog.messages[-1]


def test_file_named_like_the_corpus_cannot_be_read(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, b"mine", TINY_PATH)
    assert read_text(os.path.join(".", TINY_PATH)).content == "mine"
    assert web.asked == []


def test_constants_of_the_field_are_changed() -> None:
    assert shakespeare.TINY_SHA256 == "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    assert shakespeare.TINY_MAX_BYTES > 1_115_394
