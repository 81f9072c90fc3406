"""Texts that are downloaded by name: from a server on this machine, once, complete and right, or not at all."""

import dataclasses
import hashlib
import io
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reading import refusal

from mingpt.data import downloads
from mingpt.data.data_config import DataConfig
from mingpt.data.dataset import prepare
from mingpt.data.downloads import DOWNLOADS, Archive, published_split
from mingpt.data.memmap import load
from mingpt.data.prepare import write
from mingpt.data.shakespeare import read_text, text_files
from mingpt.runs import config as settings

TEXT = ("Zoë’s 🤗 and the cat, the dog;\n\n" * 3000).encode()
WIDE = ("中文字é🤗 and\n" * 500 + "中").encode()


def zipped(name: str = "text8", content: bytes = TEXT) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


@dataclasses.dataclass
class Server:
    """A server that answers every request with `body`, or as `answer` does."""

    url: str = ""
    body: bytes = b""
    asked: int = 0
    answer: Callable[[BaseHTTPRequestHandler], None] | None = None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server(body=zipped())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked += 1
            if made.answer:
                made.answer(self)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(made.body)))
            self.end_headers()
            self.wfile.write(made.body)

        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        made.url = f"http://127.0.0.1:{http.server_port}/text8.zip"
        yield made
        http.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> Path:
    """The cache folder, and text8 as a small text of the server."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    stand_in(monkeypatch, server, server.body)
    return tmp_path / "cache" / "mingpt"


def stand_in(monkeypatch: pytest.MonkeyPatch, server: Server, archive: bytes, content: bytes = TEXT) -> None:
    """Let text8 be `content` in `archive`."""
    own = dataclasses.replace(
        DOWNLOADS["text8"],
        url=server.url,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        archive=Archive("text8", len(archive), hashlib.sha256(archive).hexdigest()),
    )
    monkeypatch.setitem(DOWNLOADS, "text8", own)


def test_text_is_downloaded_once(server: Server, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = read_text("text8")
    assert first.content == TEXT.decode()
    assert (first.source, first.place) == (str(cache / "text8"), str(cache / "text8"))
    assert caplog.messages == [
        f"downloading text8: 0 MB from {server.url}",
        f"downloaded text8, {len(TEXT):,} bytes, to {cache / 'text8'}",
    ]
    assert read_text("text8") == first
    assert text_files("text8") == [str(cache / "text8")]
    assert server.asked == 1
    assert os.listdir(cache) == ["text8"]


@pytest.mark.parametrize("damage", [b"", TEXT[:-1], TEXT + b"\n", b"\xff" + TEXT[1:]], ids=len)
def test_damaged_cache_is_downloaded_again(
    server: Server, cache: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    cache.mkdir(parents=True)
    (cache / "text8").write_bytes(damage)
    assert read_text("text8").content == TEXT.decode()
    assert caplog.messages[0] == f"{cache / 'text8'} is not text8 (its sha256 differs): downloading it again"
    assert server.asked == 1


def short(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(zipped()[:50])


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        try:
            handler.wfile.write(bytes(1 << 20))
        except OSError:
            return


def silent(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    threading.Event().wait(0.5)


def no_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\r\n\r\nnonsense\r\n")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (short, "50 of {size:,} bytes came"),
        (endless, "what came is longer than {size:,} bytes"),
        (silent, "timed out"),
        (no_http, "nonsense"),
        (lambda handler: handler.send_error(404, "Not Found"), "Not Found"),
        (lambda handler: handler.connection.close(), ""),
    ],
    ids=["short", "endless", "silent", "no_http", "not_found", "closed"],
)
def test_failed_download_leaves_nothing_and_says_what_to_do(
    server: Server,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[BaseHTTPRequestHandler], None],
    said: str,
) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.1)
    server.answer = answer
    message = refusal("text8")
    assert message.startswith("cannot download text8: ")
    if answer is not no_http:
        assert said.format(size=len(server.body)) in message
    by_hand = f"put the file text8 in {server.url} at {cache / 'text8'} by hand"
    assert message.endswith(f"; {by_hand} (sha256 {DOWNLOADS['text8'].sha256})")
    assert os.listdir(cache) == []


def test_archive_of_another_checksum_is_not_opened(server: Server, cache: Path) -> None:
    server.body = bytes([*server.body[:40], server.body[40] ^ 1, *server.body[41:]])
    assert f"what came has sha256 {hashlib.sha256(server.body).hexdigest()}" in refusal("text8")
    assert os.listdir(cache) == []


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (zipped(content=TEXT[:-1] + b"?"), "what came has sha256"),
        (zipped(content=TEXT[:-1]), f"{len(TEXT) - 1:,} of {len(TEXT):,} bytes came"),
        (zipped(content=bytes(1 << 26)), f"what came is longer than {len(TEXT):,} bytes"),
        (zipped("other"), "no item named 'text8'"),
        (b"no archive", "not a zip file"),
        (zipped().replace(zipped()[60:80], bytes(20)), ""),
    ],
    ids=["changed", "short", "bomb", "other", "none", "damaged"],
)
def test_archive_that_holds_another_text_is_rejected(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, archive: bytes, said: str
) -> None:
    """Its own checksum holds here, so that only what it holds is wrong."""
    server.body = archive
    stand_in(monkeypatch, server, archive)
    message = refusal("text8")
    assert message.startswith("cannot download text8: ")
    assert said in message
    assert os.listdir(cache) == []


FULL = """
import dataclasses, resource, signal, sys
from mingpt.core.errors import DataError
from mingpt.data import downloads, shakespeare
url, archive, size, sha256, zipped, limit = sys.argv[1:]
own = dataclasses.replace(
    downloads.DOWNLOADS["text8"], url=url, bytes=int(size), sha256=sha256,
    archive=downloads.Archive("text8", int(archive), zipped),
)
downloads.DOWNLOADS["text8"] = own
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
try:
    shakespeare.read_text("text8")
except DataError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size there")
@pytest.mark.parametrize("limit", [100, 10_000], ids=["archive", "text"])
def test_full_disk_leaves_nothing_and_says_how_much_is_needed(server: Server, cache: Path, limit: int) -> None:
    own = DOWNLOADS["text8"]
    assert own.archive
    assert 100 < own.archive.bytes < 10_000 < own.bytes
    words = [own.url, str(own.archive.bytes), str(own.bytes), own.sha256, own.archive.sha256, str(limit)]
    ended = subprocess.run([sys.executable, "-c", FULL, *words], capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("text8 cannot be kept at ")
    assert "File too large; 0 MB are needed there; XDG_CACHE_HOME=FOLDER names another place" in ended.stdout
    assert os.listdir(cache) == []


def test_cache_that_can_not_be_written_is_replaced_by_a_temporary_folder(
    server: Server, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.parent.write_bytes(b"a file where the folder should be")
    place = tmp_path / "temporary" / "mingpt" / "text8"
    assert read_text("text8").place == str(place)
    assert caplog.messages[0].startswith(f"text8 cannot be kept at {cache / 'text8'}: ")
    assert caplog.messages[0].endswith(f"; trying {place}")
    assert read_text("text8").place == str(place)
    assert server.asked == 1


def test_file_of_the_same_name_is_read_by_its_path(
    server: Server, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text8").write_text("mine")
    assert read_text(os.path.join(".", "text8")).content == "mine"
    assert server.asked == 0
    assert read_text("text8").content == TEXT.decode()
    assert caplog.messages[0] == "text8 is a download; --data.path=./text8 takes the file of that name"


# ---- the published split


def test_published_sizes_and_splits() -> None:
    for name in ("text8", "enwik8"):
        assert DOWNLOADS[name].bytes == 100_000_000
        assert settings.parse([f"--data.path={name}"]).data.val_fraction == 0.05
        assert settings.parse([f"--data.path={name}"]).data.test_fraction == 0.05
        own = settings.parse([f"--data.path={name}", "--data.test_fraction=0"]).data
        assert (own.val_fraction, own.test_fraction) == (0.05, 0.0)
    plain = settings.parse(["--data.path=tinyshakespeare"]).data
    assert (plain.val_fraction, plain.test_fraction) == (0.1, 0.0)
    assert (
        published_split({}) == published_split({"data.path": None}) == published_split({"data.path": "./text8"}) == {}
    )


def test_another_split_than_the_published_one_is_warned_of(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    prepare(DataConfig(path="text8", val_fraction=0.05, test_fraction=0.05))
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    prepare(DataConfig(path="text8"))
    assert caplog.messages[-1].startswith(
        "text8: its published split is data.val_fraction=0.05, data.test_fraction=0.05;"
    )


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_sets_are_those_of_the_bytes_wherever_the_text_lies(
    server: Server, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A border inside a character moves to its beginning, in memory and in a prepared folder."""
    cut = [int(len(WIDE) * 0.9), int(len(WIDE) * 0.95)]
    assert all(WIDE[at] & 0xC0 == 0x80 for at in cut), "no border is inside a character, so this would prove less"
    server.body = zipped(content=WIDE)
    stand_in(monkeypatch, server, server.body, WIDE)
    expected = [WIDE[:at].decode("utf-8", "ignore") for at in cut]
    how: dict[str, Any] = {"tokenizer": kind, "val_fraction": 0.05, "test_fraction": 0.05, "block_size": 8}
    how |= {"vocab_size": 280} if kind == "bpe" else {}
    write(DataConfig(path="text8", **how), tmp_path / "prepared")
    (tmp_path / "moved").write_bytes(WIDE)
    of_path = [prepare(DataConfig(path=str(path), **how)) for path in ("text8", tmp_path / "moved")]
    prepared = load(tmp_path / "prepared", DataConfig(path=str(tmp_path / "prepared"), **how))
    for tokenizer, data in [*((each.tokenizer, each.data) for each in of_path), (prepared.tokenizer, prepared.data)]:
        texts = [tokenizer.decode(np.asarray(part).tolist()) for part in data if part is not None]
        assert texts == [expected[0], expected[1][len(expected[0]) :], WIDE.decode()[len(expected[1]) :]]
