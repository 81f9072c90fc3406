"""The W&B logger: copies of every record to Weights & Biases, by a process of its own that training never waits for.

In which mode, and under which project and name: a setting that is given wins; then what wandb's own environment
variables (WANDB_DISABLED, WANDB_MODE, WANDB_PROJECT, WANDB_NAME); then offline, `mingpt`, the run folder's name.

Offline nothing is sent and no name looked up, wandb's telemetry included.  What wandb writes lies in the run folder's
`wandb/`, unless WANDB_CACHE_DIR or WANDB_DATA_DIR name other places; its settings and a stored key are read from where
wandb keeps them.
"""

import contextlib
import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mingpt.core.errors import in_one_line, require
from mingpt.core.run_files.reading import Record
from mingpt.core.variants import choice

logger = logging.getLogger(__name__)

WANDB_MODES = ("offline", "online", "disabled")
ALIASES = {"dryrun": "offline", "run": "online"}  # names of modes that wandb still takes
TRUE = ("1", "t", "true", "y", "yes")
PROCESS = Path(__file__).with_name("wandb_process.py")


@dataclass(frozen=True, kw_only=True)
class WandbConfig:
    """Logger to Weights & Biases.

    Attributes:
        mode: offline: written into the run folder, sent nowhere; online: sent as it goes; disabled: not at all; null:
            by the environment (WANDB_DISABLED, WANDB_MODE), else offline
        project: where `online`, or a later `wandb sync`, puts the run; null: WANDB_PROJECT's, else mingpt
        name: name of the run there; null: WANDB_NAME's, else the run folder's
    """

    mode: str | None = choice(None, WANDB_MODES)
    project: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        known = self.mode is None or self.mode in WANDB_MODES
        require(known, "wandb.mode", self.mode, f"must be one of {', '.join(WANDB_MODES)}, or null")

    def resolved_mode(self, environment: Mapping[str, str] = os.environ) -> str:
        """Return the mode that is given, or the environment's, or offline.

        Raises:
            UsageError: WANDB_MODE is none of wandb's.
        """
        if self.mode is not None:
            return self.mode
        if environment.get("WANDB_DISABLED", "").lower() in TRUE:
            return "disabled"
        named = environment.get("WANDB_MODE", "").lower()
        mode = ALIASES.get(named, named) or "offline"
        require(
            mode in WANDB_MODES, "WANDB_MODE", named, f"must be one of {', '.join(WANDB_MODES)}; or give wandb.mode"
        )
        return mode


@dataclass
class WandbLogger:
    """Copies of every record to wandb, by another process: slow, broken or missing, training never waits.

    Args:
        id: names the run there; a resumed run passes the same and goes on in it.
    """

    config: WandbConfig
    folder: Path
    id: str
    settings: Record
    patience: float = 4.0  # seconds that the end of a run waits for what is still unsent
    _queue: "queue.Queue[Any]" = field(default_factory=queue.Queue)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.mode = self.config.resolved_mode()
        if self.mode != "disabled":
            self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
            self._thread.start()

    def log(self, record: Record) -> None:
        self._put(dict(record))  # sent later; what callbacks add until then is not for it

    def sample(self, step: int, prompt: str, text: str) -> None:
        self._put(["sample", step, prompt, text])

    def close(self) -> None:
        """Wait, for `patience` seconds at most, until all records are sent."""
        if self._thread is None:
            return
        self._queue.put(None)
        self._thread.join(self.patience)
        if self._thread.is_alive():
            logger.warning("wandb did not finish in time and was left behind; metrics.jsonl is complete")

    def _put(self, item: Any) -> None:
        if self._thread is not None and self._thread.is_alive():
            self._queue.put(item)

    def _work(self) -> None:
        try:
            failed = self._fed()
        except (OSError, TypeError, ValueError) as error:  # no such process, or a record that JSON can't hold
            failed = in_one_line(error)
        if failed:
            logger.warning(f"wandb stopped ({failed}); training goes on, metrics.jsonl is complete")

    def _fed(self) -> str:
        """Give a process of wandb all that comes; return why it failed, or nothing."""
        with subprocess.Popen(
            [sys.executable, "-P", str(PROCESS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=variables(self.mode, self.folder),
            start_new_session=True,  # Ctrl-C is the training's to answer
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                _send(process.stdin, self._asked())
                while (item := self._queue.get()) is not None:
                    _send(process.stdin, item)
                _send(process.stdin, ["end"])
                process.stdin.close()
            except BrokenPipeError:  # it has ended, and reported why
                with contextlib.suppress(BrokenPipeError):  # of what it hasn't taken
                    process.stdin.close()
            reason = process.stdout.read().decode(errors="replace").strip()
        return reason or (f"its process ended with {process.returncode}" if process.returncode else "")

    def _asked(self) -> dict[str, Any]:
        """What `wandb.init` is asked for."""
        return {
            "mode": self.mode,
            "project": self.config.project or os.environ.get("WANDB_PROJECT") or "mingpt",
            "name": self.config.name or os.environ.get("WANDB_NAME") or self.folder.absolute().name,
            "id": self.id,
            "dir": str(self.folder.absolute()),
            "config": self.settings,
        }


def variables(mode: str, folder: Path) -> dict[str, str]:
    """Return the environment of a process that runs wandb; the caller's own is left as it is."""
    own = folder.absolute() / "wandb"
    places = {"WANDB_CACHE_DIR": str(own / "cache"), "WANDB_DATA_DIR": str(own / "data")}
    silent = {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"}  # the latter stops its telemetry, too
    found = {**places, **os.environ, **(silent if mode == "offline" else {"WANDB_MODE": mode})}
    return {name: value for name, value in found.items() if name != "WANDB_DISABLED"}


def _send(pipe: Any, item: Any) -> None:
    pipe.write(f"{json.dumps(item)}\n".encode())
    pipe.flush()
