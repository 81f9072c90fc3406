"""Nothing printed ends a command: odd encodings, closed and redirected streams, and pictures that can't be drawn."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mingpt.core import streams
from mingpt.report import loss_plot

ROOT = Path(__file__).parents[2]
ODD = "naïve — 中文\n" * 40


def stream(encoding: str, errors: str = "strict") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors, newline="\n")


def printed(stream: Any, text: str) -> bytes:
    taken = streams._encoding_all(stream)
    print(text, file=taken, flush=True)
    return taken.buffer.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_redirected_output_is_utf8(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    assert printed(stream(encoding), ODD) == f"{ODD}\n".encode()


def test_encoding_that_is_asked_for_stays_and_escapes_what_it_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    assert printed(stream("cp1252"), "é — 中") == b"\xe9 \x97 \\u4e2d\n"
    monkeypatch.setenv("PYTHONIOENCODING", "ascii:surrogateescape")
    assert printed(stream("ascii", "surrogateescape"), "é") == b"\\xe9\n"


def test_own_dots_and_dashes_are_ascii_where_the_stream_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert printed(stream("ascii"), "step 1 · loss – é·–") == b"step 1 - loss - \\xe9--\n"


def test_names_of_files_stay_the_bytes_that_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    name = os.fsdecode(b"\xff.txt")
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    assert printed(stream("utf-8", "surrogateescape"), name) == b"\xff.txt\n"
    assert printed(stream("utf-8"), name) == b"\\udcff.txt\n"


def _chargpt(folder: Path, *words: str, before: str = "", **variables: str) -> "subprocess.CompletedProcess[bytes]":
    command = ["bash", "-c", f'exec "$@" {before}', "bash", sys.executable, str(ROOT / "chargpt.py"), *words]
    return subprocess.run(command, cwd=folder, env={**os.environ, **variables}, capture_output=True, timeout=300)


@pytest.mark.full
def test_training_ends_well_with_an_ascii_stream_and_a_backend_that_is_not_there(
    tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    (tmp_path / "odd.txt").write_text(ODD, encoding="utf-8")
    foreign = {"PYTHONIOENCODING": "ascii", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    ended = _chargpt(tmp_path, *tiny, "--data.path=odd.txt", "--system.work_dir=run", **foreign)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"\\u2500" not in ended.stdout  # rules are drawn in ASCII, too
    assert b"\\xb7" not in ended.stdout
    assert b"\\u" in ended.stdout
    assert b"curve: " in ended.stdout
    assert (tmp_path / "run" / "loss.png").is_file()


@pytest.mark.full
def test_closed_streams_are_no_error_and_no_file_takes_their_place(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    (tmp_path / "odd.txt").write_text(ODD, encoding="utf-8")
    words = (*tiny, "--data.path=odd.txt", "--system.work_dir=run")
    ended = _chargpt(tmp_path, *words, before="<&- >&- 2>&-")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [line[:8] for line in lines] == ['{"step":'] * 3


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("No module", name="matplotlib"), RuntimeError("no\nfont"), MemoryError()]
)
def test_picture_that_fails_is_one_line_after_a_complete_run(
    chargpt: Any, tiny: tuple[str, ...], text_file: Path, tmp_path: Path, monkeypatch: Any, error: Exception
) -> None:
    def fails(folder: Path) -> Path:
        raise error

    monkeypatch.setattr(loss_plot, "draw", fails)
    ended = chargpt(*tiny, f"--data.path={text_file}", f"--system.work_dir={tmp_path / 'run'}")
    assert (ended.code, ended.err) == (0, "")
    about = [line for line in ended.out.splitlines() if "loss.png: not made (" in line]
    assert len(about) == 1
    assert about[0].endswith("; the run is complete without it")
    assert "validation loss" in ended.out
