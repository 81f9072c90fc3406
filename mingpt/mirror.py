"""The mirror at Weights & Biases: copies of every record, from a thread that training never waits for."""

import queue
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mingpt.errors import require
from mingpt.report.reading import Record
from mingpt.say import Say

WANDB_MODES = ("offline", "online", "disabled")


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
    patience: float = 4.0  # seconds that the end of a run waits for what is still unsent
    _queue: "queue.Queue[tuple[str, Any] | None]" = field(default_factory=queue.Queue)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        if self.config.mode != "disabled":
            self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
            self._thread.start()

    def log(self, record: Record) -> None:
        self._put("metrics", record)

    def sample(self, step: int, prompt: str, text: str) -> None:
        self._put("sample", (step, prompt, text))

    def close(self) -> None:
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
        except BaseException as error:  # a mirror must never break a run, whatever a library of that size raises
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
