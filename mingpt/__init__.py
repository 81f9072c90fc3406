"""mingpt: a small laboratory of generative text models.

    run = mingpt.train(mingpt.Config())
    run = mingpt.load("out/chargpt")
    print(run.generate("ROMEO:", 200))

Importing this is light: names are looked up when first used (PEP 562).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mingpt.lm import ModelConfig as ModelConfig
    from mingpt.model import GPT as GPT
    from mingpt.run import load as load
    from mingpt.run import train as train
    from mingpt.settings import Config as Config
    from mingpt.trainer import Trainer as Trainer

_HOMES = {
    "Config": "mingpt.settings",
    "GPT": "mingpt.model",
    "ModelConfig": "mingpt.lm",
    "Trainer": "mingpt.trainer",
    "load": "mingpt.run",
    "train": "mingpt.run",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mingpt' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
