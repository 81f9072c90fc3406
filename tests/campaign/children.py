"""The whole command in processes of its own, as many as one likes: forked from one that has loaded everything already.

A child calls `mingpt.cli.main.main` as `python chargpt.py` does, with what costs most of a tiny run left out.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from mingpt.cli import main
from tests.runs.conftest import without_frills

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["mingpt.cli.results", "mingpt.runs.run", "rich.console", "tests.campaign.children"])
PATIENCE = 60.0  # seconds until a child is taken for stuck


@dataclass
class Child:
    """A process that was started."""

    process: BaseProcess
    out: Path
    err: Path

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal, if it is still there."""
        assert self.process.pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    @property
    def alive(self) -> bool:
        return self.process.is_alive()

    def wait(self, patience: float = PATIENCE) -> int:
        """Its exit code, negative where a signal ended it.

        Raises:
            TimeoutError: it goes on for too long.
        """
        self.process.join(patience)
        if self.process.exitcode is None:
            self.kill()
            raise TimeoutError(f"no end after {patience} s")
        return self.process.exitcode

    @property
    def said(self) -> str:
        return self.out.read_text(encoding="utf-8")

    @property
    def complained(self) -> str:
        return self.err.read_text(encoding="utf-8")

    def wait_for(self, condition: Callable[[], bool]) -> bool:
        """Whether `condition` comes true before the child ends."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if not self.alive or time.monotonic() > deadline:
                return condition()
            time.sleep(0.0005)
        return True


def start(words: Sequence[str], logs: Path, prepare: Callable[..., Any] | None = None, *given: Any) -> Child:
    """`chargpt WORDS` with its output in `logs`.out and .err; `prepare(*given)`, of a module's top, is called first."""
    out, err = logs.with_suffix(".out"), logs.with_suffix(".err")
    process = CONTEXT.Process(target=_child, args=(list(words), out, err, prepare, given))
    process.start()
    return Child(process, out, err)


def _child(words: list[str], out: Path, err: Path, prepare: Callable[..., Any] | None, given: tuple[Any, ...]) -> None:
    with (
        open(out, "w", encoding="utf-8") as said,
        open(err, "w", encoding="utf-8") as complained,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(complained),
        without_frills(power_cuts=True),
    ):
        if prepare:
            prepare(*given)
        code = main.main(words)
    sys.exit(code)
