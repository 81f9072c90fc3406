"""This project's steps as peers.py times them: training by its Trainer, checks and records included, and generation.

Each takes a `shape`, with a GPT's sizes and what else it needs, and the optimizer's settings, as the peers have them.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch

from mingpt.benchmarks.options.base import VOCABULARY, gpt2
from mingpt.core.torchrun_env import VARIABLES
from mingpt.data.batches import Batches
from mingpt.distributed.ddp_fsdp import DistConfig, joined
from mingpt.distributed.strategy import SINGLE_PROCESS, ProcessGroup
from mingpt.distributed.threads import keep_threads
from mingpt.inference.generate import Sampling
from mingpt.inference.generate import generate as sample
from mingpt.model import GPT
from mingpt.models.config import GPTConfig
from mingpt.trainer import Trainer
from mingpt.training.trainer_config import TrainerConfig

SIZES = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")
STAYING = ExitStack()  # what a step needs as long as the process lives

Settings = dict[str, Any]
Step = Callable[[], object]


def generate(shape: Settings, optimizer: Settings) -> Step:
    """Generation with the cache."""
    model, prompt = GPT(_config(shape)).eval(), torch.randint(VOCABULARY, (shape["batch"], shape["prompt"]))
    return lambda: list(sample(model, prompt, shape["tokens"], Sampling()))


def train(shape: Settings, optimizer: Settings, processes: ProcessGroup = SINGLE_PROCESS) -> Step:
    """A training step."""
    model = GPT(_config(shape, **dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), shape["dropout"])))
    config = TrainerConfig(
        **optimizer,
        max_iters=1_000_000,
        batch_size=shape["batch_size"],
        accumulation=shape.get("accumulation", 1),
        optimizer="adamw",
        schedule="constant",
        compile="always" if shape["compile"] else "never",
    )
    vocabulary = model.config.vocab_size
    ids = np.random.default_rng(0).integers(vocabulary, size=1_000_000).astype(np.min_scalar_type(vocabulary))
    batches = Batches(ids, block_size=shape["block_size"], batch_size=shape["batch_size"], seed=0)
    STAYING.enter_context(keep_threads())
    trainer = Trainer(config, model.train(), batches, device=shape["device"], processes=processes)
    if trainer.compile_failure:  # another step than the one that is wanted would be timed
        raise RuntimeError(f"torch.compile failed ({trainer.compile_failure})")

    def step() -> None:
        trainer.step()
        trainer.sync_stop()

    return step


def train_by_operation(shape: Settings, optimizer: Settings) -> Step:
    """The same with each operation divided among the threads, as PyTorch does by itself, instead of the batch."""

    class OneAfterTheOther(ProcessGroup):
        allows_threads = False

    return train(shape, optimizer, OneAfterTheOther())


def _train_through(strategy: str, shape: Settings, optimizer: Settings) -> Step:
    """The same by the strategy of several processes, with this as the only one that a launch has."""
    single = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "LOCAL_WORLD_SIZE": 1}
    variables = {**single, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}  # any that is free
    os.environ.update((name, str(variables[name])) for name in VARIABLES)
    processes = STAYING.enter_context(joined(DistConfig(strategy=strategy), torch.device(shape["device"])))
    return train(shape, optimizer, processes)


train_ddp, train_fsdp = partial(_train_through, "ddp"), partial(_train_through, "fsdp")


def _config(shape: Settings, **dropouts: Any) -> GPTConfig:
    return gpt2(**{name: shape[name] for name in SIZES if name in shape}, **dropouts)
