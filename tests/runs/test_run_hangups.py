"""A closed terminal saves, what is ignored stays so, and a reader that has gone ends no training."""

import errno
import io
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from mingpt.cli import main
from mingpt.core.streams import lasting
from mingpt.runs import checkpoint, run

HANGUP = signal.SIGHUP


def send_at(step: int, number: int) -> list[Any]:
    return [lambda trainer, record: os.kill(os.getpid(), number) if record["step"] == step else None]


def test_closed_terminal_saves_the_step_that_was_made(tmp_path: Path, tiny: Any, trace: Any) -> None:
    before = signal.getsignal(HANGUP)
    stopped = run.train(tiny(tmp_path / "run"), callbacks=send_at(5, HANGUP))
    assert signal.getsignal(HANGUP) == before
    assert (stopped.stopped, checkpoint.steps(tmp_path / "run")) == ("SIGHUP", [stopped.progress.step])
    run.train(tiny(tmp_path / "run", {"trainer.resume": True}))
    run.train(tiny(tmp_path / "whole"))
    assert trace(tmp_path / "run") == trace(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, HANGUP])
def test_signal_that_the_parent_ignores_stays_ignored(tmp_path: Path, tiny: Any, number: int) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        done = run.train(tiny(tmp_path / "run", {"trainer.max_iters": 3}), callbacks=send_at(2, number))
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert (done.stopped, done.progress.step) == (None, 3)


@pytest.fixture
def unread() -> Any:
    """A text stream into a pipe whose reader has gone."""
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, "w", encoding="utf-8", buffering=1) as stream:
        yield stream


@pytest.mark.full
def test_reader_that_has_gone_ends_no_training(
    tmp_path: Path, text_file: Path, unread: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", unread)
    small = ["--model.n_layer=1", "--model.n_embd=16", "--data.block_size=8", "--wandb.mode=disabled"]
    place = [f"--data.path={text_file}", f"--system.work_dir={tmp_path / 'run'}", "--trainer.max_iters=4"]
    assert main.main([*small, *place]) == 0
    assert checkpoint.steps(tmp_path / "run") == [4]
    assert sys.stdout is unread
    print("and what is printed later is no error", flush=True)


def test_full_disk_under_the_output_ends_no_work_and_is_raised_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        name = "<stdout>"

        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "full")

    def work() -> None:
        with lasting():
            print("x")
            done.append(True)

    done: list[bool] = []
    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OSError, match="full: '<stdout>'"):
        work()
    assert done


def test_closed_terminal_and_missing_streams_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, "gone")

        def flush(self) -> None:
            raise OSError(errno.EIO, "gone")

        def fileno(self) -> int:
            raise ValueError

        encoding = "utf-8"

    monkeypatch.setattr(sys, "stdout", Closed())
    monkeypatch.setattr(sys, "stderr", None)
    with lasting():
        print("x", flush=True)
        assert sys.stdout.encoding == "utf-8"
        assert sys.stderr is None
