"""What a run writes down while it goes: metrics.jsonl (the record of truth), samples.jsonl, environment.json, wandb.

Nothing here can change or stop training.
"""

import json
import os
import platform
import queue
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

import torch

from mingpt.errors import require
from mingpt.files import write_atomic
from mingpt.version import VERSION

Record = dict[str, Any]
Say = Callable[[str], None]
WANDB_MODES = ("offline", "online", "disabled")


class JsonLines:
    """A file of one JSON object a line, appended to and flushed line by line.

    Args:
        path: made when missing.
        until: keep earlier lines up to this step only, as a resumed run writes the later ones again.
    """

    def __init__(self, path: Path, until: int) -> None:
        if path.exists():
            kept = [line for line in read_lines(path) if line["step"] <= until]
            write_atomic(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._file: TextIO = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()

    def write(self, record: Record) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Everything written so far survives a power cut."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read_lines(path: Path) -> list[Record]:
    """The objects of a .jsonl file; a last line that a crash cut short is left out."""
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def environment(device: torch.device, **more: Any) -> Record:
    """What a result depends on besides its settings: versions, machine, threads, commit."""
    packages = ("torch", "numpy", "einops", "safetensors")
    return {
        "python": platform.python_version(),
        "packages": {"mingpt": VERSION, **{name: metadata.version(name) for name in packages}},
        "platform": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "git_commit": _git_commit(),
        **more,
    }


def _git_commit() -> str | None:
    """The commit of this source tree, with `+` where files differ from it."""
    here = Path(__file__).parent
    try:
        ask = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
        return subprocess.run(ask, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


@dataclass(frozen=True, kw_only=True)
class WandbConfig:
    """The mirror at Weights & Biases.

    Attributes:
        mode: offline: written into the run folder, sent nowhere; online: sent as it goes; disabled: not at all
        project: where `online`, or a later `wandb sync`, puts the run
        name: of the run there; null: the run folder's
    """

    mode: str = "offline"
    project: str = "mingpt"
    name: str | None = None

    def __post_init__(self) -> None:
        require(self.mode in WANDB_MODES, "wandb.mode", self.mode, f"must be one of {', '.join(WANDB_MODES)}")


@dataclass
class WandbMirror:
    """Copies of every record to wandb, from a thread of its own: slow, broken or missing, training never waits.

    Args:
        id: names the run there; a resumed run passes the same and goes on in it.
    """

    config: WandbConfig
    folder: Path
    id: str
    settings: Record
    say: Say
    patience: float = 5.0  # seconds that the end of a run waits for what is still unsent
    _queue: "queue.Queue[tuple[str, Any] | None]" = field(default_factory=queue.Queue)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        if self.config.mode != "disabled":
            self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
            self._thread.start()

    def log(self, record: Record) -> None:
        self._put("metrics", record)

    def sample(self, step: int, prompt: str, text: str) -> None:
        self._put("sample", (step, prompt, text))

    def finish(self) -> None:
        """Wait, for `patience` seconds at most, until the mirror is complete."""
        if self._thread is None:
            return
        self._queue.put(None)
        self._thread.join(self.patience)
        if self._thread.is_alive():
            self.say("wandb did not finish in time and was left behind; metrics.jsonl is complete")

    def _put(self, kind: str, content: Any) -> None:
        if self._thread is not None and self._thread.is_alive():
            self._queue.put((kind, content))

    def _work(self) -> None:
        try:
            self._mirror()
        except Exception as error:  # a mirror must never break a run, whatever a library of that size raises
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            self.say(f"wandb stopped ({reason}); training goes on, metrics.jsonl is complete")

    def _mirror(self) -> None:
        import wandb  # 1.4 s, and only where it is wanted

        if self.config.mode == "online" and not wandb.login(prompt=False):
            raise RuntimeError("no API key: `wandb login` stores one")
        run = wandb.init(
            mode=self.config.mode,  # type: ignore[arg-type]  # one of WANDB_MODES
            project=self.config.project,
            name=self.config.name or self.folder.name,
            id=self.id,
            resume="allow",
            dir=str(self.folder),
            config=self.settings,
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )
        samples: list[tuple[int, str, str]] = []
        while (item := self._queue.get()) is not None:
            kind, content = item
            if kind == "metrics":
                run.log({k: v for k, v in content.items() if k != "step"}, step=content["step"])
            else:
                samples.append(content)
        if samples:
            run.log({"samples": wandb.Table(columns=["step", "prompt", "text"], data=samples)})
        run.finish()
