"""The tiny runs that campaigns work on, as words of the command, and what is asked of their folders afterwards."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mingpt.runs import run
from tests.runs.conftest import config_of, trace_of, without_frills, write_text
from tests.runs.stateful import STATEFUL

LONG = {"trainer.max_iters": 12, "trainer.save_every": 1, "trainer.eval_every": 3, "trainer.sample_every": 5}
KINDS: Mapping[str, Mapping[str, Any]] = {  # families, optimizers, schedules, accumulation, dropout, carried states
    "muon, linear, 2 parts": {},
    "adamw, cosine, 4 parts": {
        "trainer.optimizer": "adamw",
        "trainer.schedule": "cosine",
        "trainer.accumulation": 4,
        "model.rope": True,
    },
    "carried LSTM": {**STATEFUL, **LONG},
}


def words_of(home: Path, folder: Path, changes: Mapping[str, Any]) -> list[str]:
    """The command of a tiny run on the text of `home`, which is written where there is none."""
    text = home / "text.txt"
    if not text.exists():
        write_text(text)
    config = home / f"{folder.name}.yaml"
    config.write_text(config_of(text, folder, changes).to_yaml(), encoding="utf-8")
    return [f"--config={config}"]


def whole(home: Path, name: str, changes: Mapping[str, Any]) -> Path:
    """The folder of a tiny run that nothing disturbs, made in this process, with one save at its end."""
    words_of(home, home / name, changes)
    with without_frills():
        run.train(config_of(home / "text.txt", home / name, {**changes, "trainer.save_every": 0}))
    return home / name


def differences(folder: Path, undisturbed: Path) -> str:
    """What `folder` has learned otherwise, lacks, or has left lying about; empty where all is well."""
    try:
        ours, theirs = trace_of(folder), trace_of(undisturbed)
    except Exception as error:  # whatever it is, this trial is lost
        return repr(error)
    found = [name for name in ours if ours[name] != theirs[name]]
    names = {path.name for path in folder.rglob("*")}
    found += [f"stray {name}" for name in names if name.endswith(".tmp") or (name[0] == "." and name != ".lock")]
    found += [f"no {path.name}" for path in undisturbed.iterdir() if not (folder / path.name).exists()]
    return ", ".join(found)
