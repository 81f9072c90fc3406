"""Other people's code in processes of its own, as every project here calls its package by the same few names.

Both scripts are started alike, `python SCRIPT KIND ASK` with ASK in JSON: `peers.py` then makes steps, as many as it is
asked to and as often, since these are timed in turn; `speedrun_worker.py` makes one training and ends.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mingpt.core.errors import UsageError

SCRIPT = Path(__file__).with_name("peers.py")


def with_ours() -> dict[str, str]:
    """The environment of a process that imports this project, as this one did."""
    paths = (str(SCRIPT.parents[2]), os.environ.get("PYTHONPATH", ""))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def command(script: Path, kind: str, ask: Mapping[str, Any]) -> list[str]:
    """What starts a script of this folder."""
    return [sys.executable, str(script), kind, json.dumps(ask)]


def last_words(complaints: str) -> str:
    """Why a process ended, by the last line that it wrote to standard error."""
    return (complaints.strip().splitlines() or ["no reason given"])[-1]


class Worker:
    """A process that makes steps, of training or of writing, when asked."""

    def __init__(self, kind: str, path: str, shape: Mapping[str, Any]) -> None:
        self.kind = kind
        environment = None if path else with_ours()
        # A file, as a pipe without a reader would stop a talkative peer.
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by close()
        self.process = subprocess.Popen(
            command(SCRIPT, kind, {**shape, "path": path}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment,
        )
        if self._answer() != "ready":
            raise UsageError(f"peers={kind}={path}: does not start: {self._last_words()}")

    def steps(self, count: int) -> list[float]:
        """Seconds of each of `count` steps.

        Raises:
            UsageError: the process has ended; its last words.
        """
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # then there is no answer, either
            self.process.stdin.write(f"{count}\n")
            self.process.stdin.flush()
        answer = self._answer()
        if not answer:
            raise UsageError(f"peers={self.kind}: stopped: {self._last_words()}")
        seconds: list[float] = json.loads(answer)
        return seconds

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def _last_words(self) -> str:
        self.process.wait()
        self.errors.seek(0)
        return last_words(self.errors.read())
