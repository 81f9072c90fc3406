"""Summary of a run before its first step, logged and in its folder: size, expected cost, environment."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mingpt.core.atomic_io import sha256
from mingpt.data.dataset import Corpus
from mingpt.model import FAMILIES
from mingpt.models.base import LanguageModel
from mingpt.models.config import ModelConfig, NeuralConfig
from mingpt.report.formatting import counted, expected, millions
from mingpt.runs import metrics_log, run_dir
from mingpt.runs.config import Config
from mingpt.trainer import Trainer
from mingpt.training.profiling import expected_memory, peak_matmul_flops
from mingpt.utils import training_type

logger = logging.getLogger(__name__)

NO_VALIDATION = "this model sees the tokens that it predicts, so it has no validation loss and generates no samples"
FEW_BLOCKS = 8  # of a validation set, below which a run warns
STEP_SECONDS = 0.0025  # of a step, and again of each layer, however few the tokens (two cores, Intel Xeon, 2026-11-29)
FILLS = (
    "this model predicts masked tokens from both sides, so it has no validation loss and generates no samples; it is "
    "scored by its pseudo-likelihood"
)


def describe(folder: Path, config: Config, trainer: Trainer, corpus: Corpus, prompts: Sequence[str]) -> None:
    """Write environment.json and config.yaml of a run that is about to begin, and log its size and expected cost.

    Args:
        prompts: what its samples begin with.
    """
    vocabulary = sha256(corpus.tokenizer.to_json().encode())
    text = {
        "text": corpus.place,
        "text_sha256": corpus.sha256,
        "vocabulary_sha256": vocabulary,
        "prompts": list(prompts),
    }
    model = {
        "parameters": trainer.model.parameter_count,
        "flops_per_token": trainer.model.flops_per_token(),
    }
    attention = kernels(trainer.model.config, trainer.device)
    how = {"pieces_at_once": trainer.pieces}  # with the threads, what the rounding of a step depends on
    made = {"model": model, "attention": attention, "defaults": config.usual()}
    more = {**text, **trainer.processes.described, **how, **made}
    run_dir.write_json(folder, "environment.json", metrics_log.environment(trainer.device, **more))
    run_dir.write_config(folder, config)  # last: where it lies, a run is
    logger.info(_announcement(trainer))
    for line in [*without_effect(config), *_short_validation(trainer.model, corpus, config.data.block_size)]:
        logger.warning(line)
    if not trainer.model.autoregressive:
        logger.info(why_no_validation(trainer.model))


def without_effect(config: Config) -> list[str]:
    """Return a sentence for each valid setting that has no effect in training."""
    model = replace(config.model, block_size=config.data.block_size)
    return [*model.notes(), *config.trainer.notes()]


def _short_validation(model: LanguageModel, corpus: Corpus, block_size: int) -> list[str]:
    """Return a sentence if the validation set has too few blocks for a precise loss, and the model has a loss."""
    tokens = len(corpus.data.validation)
    if tokens >= FEW_BLOCKS * block_size or not (model.autoregressive or model.infills):
        return []
    return [
        f"the validation set has {counted(tokens, 'token')}, fewer than {FEW_BLOCKS} blocks of {block_size}: its loss "
        "is imprecise; take a longer text or a larger --data.val_fraction"
    ]


def kernels(config: ModelConfig, device: torch.device) -> list[dict[str, Any]]:
    """Which kernel each attention layer trains with, and why.

    Raises:
        UsageError: the one that was asked for can't serve.
    """
    return FAMILIES[config.type].kernels(config, device, training_type(device))


def mfu_of(trainer: Trainer) -> Callable[[float], float]:
    """Return tokens per second -> model FLOPs utilisation (Chowdhery et al. 2022, appendix B).

    That is the fraction of the peak matmul FLOP/s of all devices, which is measured here, on one of them.
    """
    peak = trainer.processes.size * peak_matmul_flops(trainer.device)
    return lambda tokens_per_second: 3 * trainer.model.flops_per_token() * tokens_per_second / peak


def why_no_validation(model: LanguageModel) -> str:
    """Return why a model that is not autoregressive has no validation loss, and what it has instead."""
    return FILLS if model.infills else f"{NO_VALIDATION}: its training loss is all there is to see"


def _announcement(trainer: Trainer) -> str:
    """What is about to be trained, and about what it will take."""
    model, config, left = trainer.model, trainer.config, trainer.config.max_iters - trainer.progress.step
    name = FAMILIES[model.config.type].__name__  # type(model) is another's where it is shared out
    if not left:
        return f"{name}: nothing left to do: the run has made all its steps ({config.max_iters:,})"
    if model.config.count_based:
        return f"{name}: counts the training text in one step on {trainer.device}"
    tokens = config.batch_size * model.config.block_size
    flops = 3 * model.flops_per_token() * tokens * left
    seconds = flops / (model.expected_mfu * peak_matmul_flops(trainer.device)) / trainer.processes.size
    assert isinstance(model.config, NeuralConfig)
    seconds = max(seconds, STEP_SECONDS * (1 + model.config.n_layer) * left)
    memory = expected_memory(model, tokens // (trainer.processes.size * trainer.micro_batches), trainer.processes)
    each = " each" if trainer.processes.size > 1 else ""
    return (
        f"{name}: {counted(model.parameter_count, 'parameter')}, {millions(model.flops_per_token())} MFLOP per "
        f"token; {counted(left, 'step')} of {counted(tokens, 'token')} on {trainer.device} with "
        f"{counted(torch.get_num_threads(), 'thread')}{trainer.processes}: {expected(seconds, memory)}{each}"
    )
