"""As much of wandb as the mirror's process asks for; FAKE_WANDB says in which way it fails, FAKE_WANDB_LOG where to
write down what it was asked."""

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

WAY, LOG = os.environ.get("FAKE_WANDB", ""), os.environ.get("FAKE_WANDB_LOG", "")
Settings = Table = SimpleNamespace


def note(**said: Any) -> None:
    if LOG:
        with Path(LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(said, default=vars) + "\n")


def fails(place: str) -> None:
    """Fail here, if it is here that this one fails."""
    note(place=place)
    if f"{place} hangs" == WAY:
        time.sleep(3600)
    if f"{place} exits" == WAY:
        sys.exit(3)
    if f"{place} raises" == WAY:
        raise RuntimeError("no such project\nand a second line")


def login(prompt: bool = True) -> bool:
    if prompt:
        input()
    return WAY != "no key"


def init(**asked: Any) -> Any:
    note(asked=asked, environment={name: value for name, value in os.environ.items() if name.startswith("WANDB")})
    fails("init")
    return SimpleNamespace(log=log, finish=finish)


def log(record: dict[str, Any], step: int | None = None) -> None:
    note(step=step, record=record)
    if step == 10:
        fails("log")


def finish(exit_code: int = 0) -> None:
    fails("finish")
    note(finished=exit_code)


if WAY == "missing":
    raise ModuleNotFoundError("No module named 'wandb'", name="wandb")
fails("import")
