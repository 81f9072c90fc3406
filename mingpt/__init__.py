"""mingpt: a small laboratory of generative text models.

    run = mingpt.train(mingpt.Config())
    run = mingpt.load("out/chargpt")
    print(run.generate("ROMEO:", 200))

    model = mingpt.GPT(mingpt.GPTConfig(vocab_size=65))
    for ids in mingpt.generate(model, prompt, 20, mingpt.Sampling()): ...

    mingpt.sweep({"model.rope": [True, False]}, seeds=3)    # a table; also of runs: mingpt.compare([run, "out/b"])

    print(mingpt.audit(model))    # does a score mean what it says? of any nn.Module, run or folder

    mingpt.export(run, "exported")
    mingpt.load(mingpt.import_folder("exported"))

    mingpt.play(run)    # see it at work, in a notebook

Importing this is light: names are looked up when first used (PEP 562).  examples/tour.ipynb uses most of them.
"""

import importlib
import logging
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mingpt.cli.play.notebook import play as play
    from mingpt.core.system_config import SystemConfig as SystemConfig
    from mingpt.data.data_config import DataConfig as DataConfig
    from mingpt.data.data_config import SampleConfig as SampleConfig
    from mingpt.experiments.sweep_command import sweep as sweep
    from mingpt.inference.generate import Sampling as Sampling
    from mingpt.inference.generate import generate as generate
    from mingpt.interop.audit.auditing import audit as audit
    from mingpt.interop.exporting import export as export
    from mingpt.interop.importing import import_folder as import_folder
    from mingpt.model import GPT as GPT
    from mingpt.models.base import LanguageModel as LanguageModel
    from mingpt.models.config import BiRNNConfig as BiRNNConfig
    from mingpt.models.config import GPTConfig as GPTConfig
    from mingpt.models.config import ModelConfig as ModelConfig
    from mingpt.models.config import ModelSettings as ModelSettings
    from mingpt.models.config import NGramConfig as NGramConfig
    from mingpt.models.config import RNNConfig as RNNConfig
    from mingpt.models.ngram import NGram as NGram
    from mingpt.models.rnn import RNN as RNN
    from mingpt.models.rnn import BidirectionalRNN as BidirectionalRNN
    from mingpt.report.tables import ComparisonTable as ComparisonTable
    from mingpt.report.tables import compare as compare
    from mingpt.runs.config import Config as Config
    from mingpt.runs.run import load as load
    from mingpt.runs.run import train as train
    from mingpt.runs.trained_run import Run as Run
    from mingpt.runs.wandb_log import WandbConfig as WandbConfig
    from mingpt.trainer import Trainer as Trainer
    from mingpt.training.trainer_config import TrainerConfig as TrainerConfig

_HOMES = {
    "BiRNNConfig": "mingpt.models.config",
    "BidirectionalRNN": "mingpt.models.rnn",
    "ComparisonTable": "mingpt.report.tables",
    "Config": "mingpt.runs.config",
    "DataConfig": "mingpt.data.data_config",
    "GPT": "mingpt.model",
    "GPTConfig": "mingpt.models.config",
    "LanguageModel": "mingpt.models.base",
    "ModelConfig": "mingpt.models.config",
    "ModelSettings": "mingpt.models.config",
    "NGram": "mingpt.models.ngram",
    "NGramConfig": "mingpt.models.config",
    "RNN": "mingpt.models.rnn",
    "RNNConfig": "mingpt.models.config",
    "Run": "mingpt.runs.trained_run",
    "SampleConfig": "mingpt.data.data_config",
    "Sampling": "mingpt.inference.generate",
    "SystemConfig": "mingpt.core.system_config",
    "Trainer": "mingpt.trainer",
    "TrainerConfig": "mingpt.training.trainer_config",
    "WandbConfig": "mingpt.runs.wandb_log",
    "audit": "mingpt.interop.audit.auditing",
    "compare": "mingpt.report.tables",
    "export": "mingpt.interop.exporting",
    "generate": "mingpt.inference.generate",
    "import_folder": "mingpt.interop.importing",
    "load": "mingpt.runs.run",
    "play": "mingpt.cli.play.notebook",
    "sweep": "mingpt.experiments.sweep_command",
    "train": "mingpt.runs.run",
}
__all__ = sorted(_HOMES)

logging.getLogger(__name__).addHandler(logging.NullHandler())  # nothing is printed unless a caller asks for it


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mingpt' has no attribute {name!r}")
    with warnings.catch_warnings():  # the caller's filters stay: packages far below set some as they are imported
        home = importlib.import_module(_HOMES[name])
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
