"""Nothing that a default command does sends anything or looks a name up, wandb's own process included."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
ROOT = Path(__file__).parents[2]
TINY = [
    "--model.n_layer=1",
    "--model.n_embd=8",
    "--data.block_size=8",
    "--trainer.max_iters=2",
    "--trainer.eval_every=0",
]
BLOCKED = """
import os, socket

def blocked(*asked, **how):
    with open(os.environ["ASKED"], "a") as file:
        file.write(repr(asked) + chr(10))
    raise OSError("no names are looked up here")

for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
    setattr(socket, name, blocked)
"""
COMMANDS = """
import functools, sys
from mingpt.cli import main
from mingpt.runs import callbacks
from mingpt.runs.wandb_log import WandbLogger

callbacks.WandbLogger = functools.partial(WandbLogger, patience=120.0)  # so that all that is sent has been, at the end
for words in (sys.argv[1:], ["sample", "--max_new_tokens=3"], ["eval"], ["--help"], ["report", "out/chargpt"]):
    code = main.main(words)
    assert code == 0, (words, code)
"""


class Sink(ThreadingHTTPServer):
    """A server that takes whatever comes and remembers it."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        super().__init__(("127.0.0.1", 0), Taker)


class Taker(BaseHTTPRequestHandler):
    server: Sink

    def take(self) -> None:
        self.server.taken.append(f"{self.command} {self.path}")
        self.send_error(404)

    do_GET = do_POST = do_PUT = take  # noqa: N815 - the names that http.server looks for

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def sink() -> Iterator[Sink]:
    server = Sink()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """An environment whose Python looks up no name and notes that it was asked to; with a home of its own."""
    (tmp_path / "blocking").mkdir()
    (tmp_path / "blocking" / "sitecustomize.py").write_text(BLOCKED)
    (tmp_path / "home").mkdir()
    (tmp_path / "cwd").mkdir()
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "XDG"))}
    paths = os.pathsep.join((str(tmp_path / "blocking"), str(ROOT)))
    return {**plain, "PYTHONPATH": paths, "ASKED": str(tmp_path / "asked"), "HOME": str(tmp_path / "home")}


def _run(text_file: Path, tmp_path: Path, variables: dict[str, str], *before: str) -> Path:
    """The default commands, one after the other; return the run folder."""
    command = [*before, sys.executable, "-c", COMMANDS, *TINY, f"--data.path={text_file}"]
    ended = subprocess.run(command, cwd=tmp_path / "cwd", env=variables, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return tmp_path / "cwd" / "out" / "chargpt"


@pytest.mark.full
def test_default_commands_send_nothing_and_look_no_name_up(
    tmp_path: Path, text_file: Path, variables: dict[str, str], sink: Sink
) -> None:
    variables["WANDB_BASE_URL"] = f"http://127.0.0.1:{sink.server_port}"
    folder = _run(text_file, tmp_path, variables)
    assert sink.taken == []
    assert not (tmp_path / "asked").exists()
    assert list(folder.glob("wandb/offline-run-*/run-*.wandb"))  # it was mirrored
    written = {str(path.relative_to(tmp_path / "home")) for path in (tmp_path / "home").rglob("*") if path.is_file()}
    assert not [path for path in written if "wandb" in path]


def test_blocked_resolver_and_sink_would_notice(tmp_path: Path, variables: dict[str, str], sink: Sink) -> None:
    """Else the test above would hold of anything."""
    code = "import socket\ntry: socket.getaddrinfo('a', 1)\nexcept OSError: pass\n"
    code += (
        f"s = socket.socket(); s.connect(('127.0.0.1', {sink.server_port})); s.sendall(b'POST /x HTTP/1.0\\r\\n\\r\\n')"
    )
    code += "; s.recv(100)"
    subprocess.run([sys.executable, "-c", code], env=variables, check=True, timeout=60)
    assert sink.taken == ["POST /x"]
    assert (tmp_path / "asked").read_text().startswith("('a', 1)")


@pytest.mark.slow
def test_default_commands_work_without_a_network(tmp_path: Path, text_file: Path, variables: dict[str, str]) -> None:
    alone = ("unshare", "--net", "--map-root-user")
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("no network can be taken from a process here")
    assert list(_run(text_file, tmp_path, variables, *alone).glob("wandb/offline-run-*"))
