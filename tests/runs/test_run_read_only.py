"""A run folder that can't be written is still sampled, evaluated and drawn; a message says where pictures may go."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from mingpt.cli import main
from mingpt.core.atomic_io import write_atomic
from mingpt.runs import run


@pytest.fixture
def read_only(tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder that takes no file; by answers of the system, since rights don't bind an administrator."""
    folder = run.train(tiny(tmp_path / "run", {"trainer.max_iters": 1})).folder
    access, opened = os.access, os.open

    def denied(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & os.O_CREAT and Path(path).parent == folder:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return opened(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).absolute() != folder and access(path, mode))
    monkeypatch.setattr(os, "open", denied)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize(("verb", "name"), [("attention", "attention.png"), ("causality", "causality.png")])
@pytest.mark.thin(1)
def test_picture_of_a_read_only_run_names_the_folder_and_another_place(
    read_only: Path, capsys: pytest.CaptureFixture[str], verb: str, name: str
) -> None:
    assert main.main([verb, "--run=run", "--text=abc"]) == 2
    said = f"error: out=run/{name}: run can't be written; name another place, as --out={name}\n"
    assert capsys.readouterr().err == said
    assert main.main([verb, "--run=run", "--text=abc", f"--out={name}"]) == 0
    assert Path(name).is_file()


def test_page_of_a_read_only_run_names_the_folder_and_another_place(
    read_only: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["report", "run"]) == 2
    assert "run can't be written; name another place, as --out=report.html" in capsys.readouterr().err


def test_read_only_run_is_evaluated(read_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["eval", "--run=run"]) == 0
    capsys.readouterr()


def test_error_of_a_draft_names_the_file_that_was_asked_for(read_only: Path) -> None:
    with pytest.raises(OSError, match="Read-only") as raised:
        write_atomic(read_only / "x.json", b"")
    assert raised.value.filename == str(read_only / "x.json")
