"""Checks before the first trial: whether each variant can be trained, and whether their results can be compared."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from mingpt.core.errors import UsageError
from mingpt.core.paths import path_of
from mingpt.data.batches import ContiguousStreams
from mingpt.data.data_config import DataConfig
from mingpt.data.dataset import Corpus, prepare
from mingpt.data.splits import require_long_enough
from mingpt.experiments.base import Trial
from mingpt.experiments.trials import naming
from mingpt.model import build
from mingpt.models.base import LanguageModel
from mingpt.models.config import ModelConfig, NeuralConfig
from mingpt.runs import checkpoint, compatibility, summary
from mingpt.runs.checkpoint import Checkpoint
from mingpt.runs.config import Config
from mingpt.utils import pick_device


def trainable(trials: Iterable[Trial]) -> None:
    """Check what would stop a run before its first step: text, tokenizer, device, kernels, weights to start from.

    Raises:
        MingptError: of the kind that the run would have raised; names the combination.
    """
    corpora: dict[DataConfig, Corpus] = {}
    for trial in {trial.variant: trial for trial in trials}.values():  # a seed changes nothing here
        with naming(trial.variant):
            for number, config in enumerate(trial.configs):
                _check(config, _corpus(config.data, corpora), first=number == 0)


def _corpus(data: DataConfig, known: dict[DataConfig, Corpus]) -> Corpus:
    """The text cut and tokenized, once for all that differ in nothing else than how it is read."""
    key = replace(data, block_size=1, stateful=False)
    if key not in known:
        known[key] = prepare(key)
    return known[key]


def _check(config: Config, corpus: Corpus, first: bool) -> None:
    device = pick_device(config.trainer.device)
    summary.kernels(replace(config.model, block_size=config.data.block_size), device)
    require_long_enough(corpus.data, block_size=config.data.block_size, source=corpus.source)
    if config.data.stateful:
        cut = {"block_size": config.data.block_size, "batch_size": config.trainer.batch_size, "seed": 0}
        ContiguousStreams(corpus.data.train, **cut, source=corpus.source)
    folder = config.pretrained_folder
    if first and folder is not None:  # a later stage begins with the one before it, which is not there yet
        _check_weights(config, corpus, checkpoint.newest(path_of(folder)))


def _check_weights(config: Config, corpus: Corpus, saved: Checkpoint) -> None:
    compatibility.require_same_vocabulary(saved, corpus.tokenizer)
    rows = max(corpus.tokenizer.vocab_size, compatibility.rows_of(saved))
    model: ModelConfig = replace(config.model, vocab_size=rows, block_size=config.data.block_size)
    compatibility.require_same_model(model, saved)


def uncompared(variants: Mapping[str, Config]) -> list[str]:
    """Which variants will have no validation loss to be compared by, in words; [] where all have one.

    Raises:
        UsageError: none will have one, or a pseudo-likelihood in its place.
    """
    models = {name: _smallest(config.model) for name, config in variants.items()}
    without = [name for name, model in models.items() if not model.autoregressive]
    if without and not any(model.autoregressive or model.infills for model in models.values()):
        raise UsageError(
            f"nothing could be compared: {_named(without)} would have no validation loss, since such a model sees the "
            "tokens that it predicts"
        )
    return [f"{_named(without)} will have no validation loss, so no significance test is made of it"] if without else []


def without_effect(variants: Mapping[str, Config]) -> list[str]:
    """What of the variants has no effect, each line with those that it is true of."""
    found: dict[str, list[str]] = {}
    for name, config in variants.items():
        for line in summary.without_effect(config):
            found.setdefault(line, []).append(name)
    return [line if len(names) == len(variants) else f"{_named(names)}: {line}" for line, names in found.items()]


def _smallest(config: ModelConfig) -> LanguageModel:
    """A model of the same kind that costs nothing to make."""
    least: dict[str, Any] = {"n_layer": 1, "resid_pdrop": 0.0} if isinstance(config, NeuralConfig) else {}
    with torch.random.fork_rng(devices=[]):
        return build(replace(config, **least, vocab_size=2, block_size=2))


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
