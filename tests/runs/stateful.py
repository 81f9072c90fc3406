"""The settings of a run that carries a state from block to block."""

import dataclasses
from pathlib import Path
from typing import Any

from mingpt.runs import config as settings

STEPS, EPOCH = 12, 5
STATEFUL = {  # 20 lanes of 40 tokens: every fifth step begins anew
    "model.type": "rnn",
    "model.cell": "lstm",
    "model.n_layer": 2,
    "model.n_embd": 6,
    "model.embd_pdrop": 0.1,
    "model.resid_pdrop": 0.2,
    "data.stateful": True,
    "trainer.batch_size": 20,
    "trainer.max_iters": STEPS,
}


def on(folder: Path, **trainer: Any) -> Any:
    """The configuration that `folder` was made with, to be resumed there with other `trainer` settings."""
    config = settings.read(folder / "config.yaml")
    return dataclasses.replace(
        config,
        system=dataclasses.replace(config.system, work_dir=str(folder)),
        trainer=dataclasses.replace(config.trainer, **{"resume": True, **trainer}),
    )
