"""The view Train: settings as a form, `chargpt train` as a process of its own, stop and resume.  No torch.

A training goes on when the page or its server ends.  What it prints is in the run folder's output.log.
"""

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mingpt.benchmarks.worker_process import with_ours
from mingpt.cli.play.catalogue import OUTPUT, Catalogue, last_error
from mingpt.core.atomic_io import LOCK, holder
from mingpt.core.errors import MingptError, UsageError, require
from mingpt.core.run_files.records import is_run
from mingpt.data.text_files import STDIN
from mingpt.models.config import CONFIGS
from mingpt.runs import config as settings
from mingpt.runs.run_dir import DEFAULT_NAME

BEGINS_WITHIN = 120.0  # seconds: importing PyTorch and tokenizing a text
POLL = 0.1  # seconds
PLACE = "system.work_dir"
SETTING = re.compile(r"\w+\.\w+")  # its key
NOT_HERE = ("trainer.resume", "trainer.resume_changed")  # settings that have requests of their own
OURS = (b"mingpt", b"chargpt")  # in the command of a process that may be stopped


class NotAllowedError(MingptError):
    """The page may only read."""


def form(family: str) -> list[dict[str, Any]]:
    """Return what the form shows of each setting of a family: the source of `chargpt train --help`.

    Raises:
        UsageError: there is no such family.
    """
    CONFIGS[family]
    return [each for each in settings.flags(family).described() if each["name"] not in NOT_HERE]


class Training:
    """Starts, stops and resumes training.

    Args:
        catalogue: where runs are, and where new ones go.
        allowed: False: nothing of this.
    """

    def __init__(self, catalogue: Catalogue, allowed: bool) -> None:
        self._catalogue, self._allowed = catalogue, allowed

    async def start(self, given: Mapping[str, Any]) -> str:
        """Begin a run with these settings, by their keys, and return its name once it has.

        Raises:
            UsageError: a wrong setting, as the command says it; any other MingptError is what the process ended with.
        """
        self._require_allowed()
        for key in given:  # no file of settings, and nothing that prints and ends, as --help
            require(bool(SETTING.fullmatch(key)), f"--{key}", given[key], "there is no such setting")
        for key in NOT_HERE:
            require(key not in given, key, given.get(key), "has a request of its own, /api/resume")
        path = given.get("data.path")
        require(path != STDIN, "data.path", path, "a run that the page starts has no standard input")
        place = given.get(PLACE)
        require(place is None or isinstance(place, str), PLACE, place, "must name a folder below the root, or be null")
        words = [f"--{key}={_word(value)}" for key, value in given.items() if key != PLACE]
        settings.parse(words)
        folder = self._catalogue.place(place) if place else self._free()
        require(not is_run(folder), PLACE, place, "already holds a run; resume it, or name a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            await self._run(folder, words)
        except MingptError:
            if not is_run(folder):
                for name in (OUTPUT, LOCK):
                    (folder / name).unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # there are other files
                    folder.rmdir()
            raise
        return folder.relative_to(self._catalogue.root).as_posix()

    async def resume(self, name: str) -> str:
        """Go on with a run that was stopped.

        Raises:
            MingptError: it is at work, or what the process ended with.
        """
        self._require_allowed()
        folder = self._catalogue.folder(name)
        if holder(folder) is not None:
            raise UsageError(f"{name}: is training already")
        await self._run(folder, ["--trainer.resume=True"])
        return name

    def stop(self, name: str) -> None:
        """Let a run stop after its current step, with a checkpoint.

        Raises:
            UsageError: it is not at work, or another machine or program is at it.
        """
        self._require_allowed()
        process = holder(self._catalogue.folder(name))
        if process is None:
            raise UsageError(f"{name}: is not training")
        if not _is_ours(process):
            raise UsageError(f"{name}: its process is not known to be a chargpt here; stop it where it was started")
        try:
            os.kill(process, signal.SIGTERM)
        except OSError as error:
            raise UsageError(f"{name}: can't be stopped: {error.strerror}") from None

    def _require_allowed(self) -> None:
        if not self._allowed:
            raise NotAllowedError("this page only reads; start it with `chargpt play --train=True`")

    def _free(self) -> Path:
        names = itertools.chain([DEFAULT_NAME], (f"{DEFAULT_NAME}-{number}" for number in itertools.count(2)))
        return next(self._catalogue.root / name for name in names if not (self._catalogue.root / name).exists())

    async def _run(self, folder: Path, words: list[str]) -> None:
        """Start `chargpt train` in `folder`, and wait until it is at work."""
        command = [sys.executable, "-m", "mingpt", "train", *words, f"--{PLACE}={folder}"]
        if (folder / OUTPUT).is_symlink():
            raise UsageError(f"{folder / OUTPUT}: a link; a run has its own files alone")
        with open(folder / OUTPUT, "wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=with_ours(),
                start_new_session=True,
            )
        threading.Thread(target=process.wait, daemon=True).start()  # so that it never is a zombie
        until = time.monotonic() + BEGINS_WITHIN
        while process.poll() is None and time.monotonic() < until:
            if is_run(folder) and holder(folder) in (process.pid, 0):
                return
            await asyncio.sleep(POLL)
        if process.poll():
            raise UsageError(last_error(folder) or f"the training ended at once, with exit code {process.returncode}")


def _is_ours(process: int) -> bool:
    """Whether a process is a command of this program, as far as this machine tells."""
    if process <= 0:
        return False
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
    return any(name in words for name in OURS)


def _word(value: Any) -> str:
    """A setting's value as a flag has it."""
    if isinstance(value, list):
        return json.dumps(value)
    return "null" if value is None else str(value)
