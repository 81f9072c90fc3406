"""What an experiment will take, before it runs: its trials, and hours from a few measured steps of every variant."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mingpt.core.errors import DataError
from mingpt.data.prepared_folder import is_prepared
from mingpt.distributed.threads import cpu_threads, usable_threads
from mingpt.experiments.base import Experiment, Trial
from mingpt.experiments.trial_records import published
from mingpt.experiments.trials import Text, trials_of
from mingpt.model import build
from mingpt.models.base import LanguageModel
from mingpt.report.formatting import counted
from mingpt.runs.config import Config
from mingpt.runs.text_origin import sha256_of
from mingpt.trainer import Trainer
from mingpt.training.trainer_config import NGramTrainerConfig, TrainerConfig
from mingpt.utils import pick_device

STEPS = 2  # measured of each stage, after one that warms up
VOCABULARY = 65  # about what a text of characters has
VALIDATION = 111_540  # tokens of tinyshakespeare that the last evaluation takes
FORWARD = 1 / 3  # of a training step: what an evaluation of as many tokens takes


@dataclass(frozen=True)
class Cost:
    """A variant's trials that are left, all of them, and the CPU seconds of one, from its steps and evaluations."""

    variant: str
    left: int
    trials: int
    seconds: float


def lines(experiment: Experiment, form: str, kept: Path) -> Iterator[str]:
    """Yield the lines that show the cost of an experiment before it starts; none of one without trials.

    Args:
        kept: where records of finished trials lie.
    """
    costs: list[Cost] = []
    for cost in costs_of(experiment, form, kept):  # which takes seconds each, so it is shown at once
        costs.append(cost)
        took = f"{cost.seconds:,.0f} s of one core a trial, " if cost.left else ""
        yield f"  {cost.variant}: {took}{cost.left} of {cost.trials} left"
    if not costs:
        return
    trials, left = (sum(getattr(cost, name) for cost in costs) for name in ("trials", "left"))
    if not left:
        yield f"{counted(trials, 'trial')}, all finished"
        return
    rates = len(experiment.rates_of(form))
    hours = sum(cost.seconds * (cost.left + (rates if cost.left and cost.seconds else 0)) for cost in costs) / 3600
    cores, device = usable_threads(), pick_device(_device(experiment, form)).type
    more = f", and {rates} per variant to choose its learning rate" if rates else ""
    spent = f"{hours:.1f} hours" + (f" of one core, {hours / cores:.1f} of {cores}" if device == "cpu" else "")
    yield f"{counted(trials, 'trial')}, {trials - left} finished{more}; about {spent}, measured just now on {device}"


def costs_of(experiment: Experiment, form: str, kept: Path) -> Iterator[Cost]:
    """The cost of each variant, in order."""
    seeds = range(1, experiment.seeds_of(form) + 1)
    finished = {path.stem for path in kept.glob("*.json")} | {trial.get("id") for trial in published(kept)}
    by_variant: dict[str, list[Trial]] = {}
    for trial in _trials(experiment, form, seeds):
        by_variant.setdefault(trial.variant, []).append(trial)
    for variant, trials in by_variant.items():
        left = sum(trial.id not in finished for trial in trials)
        seconds = sum(_seconds(config) for config in trials[0].configs) if left else 0.0
        yield Cost(variant, left, len(trials), seconds)


def _trials(experiment: Experiment, form: str, seeds: range) -> list[Trial]:
    data = experiment.form(form).data
    try:
        digest = "" if is_prepared(data) else sha256_of(data)
    except DataError:
        digest = ""
    return trials_of(experiment, Path("budget"), Text(data, digest, None), seeds, form, {})


def _device(experiment: Experiment, form: str) -> str:
    return str(next(iter(experiment.stages(form).values()))[0].get("trainer.device", "auto"))


def _seconds(config: Config) -> float:
    """Of one stage: CPU seconds on a CPU, else wall seconds; 0 of an n-gram model."""
    if isinstance(config.trainer, NGramTrainerConfig):
        return 0.0
    model = build(replace(config.model, vocab_size=VOCABULARY, block_size=config.data.block_size), 0)
    step = _step_seconds(config, config.trainer, model)
    tokens = config.trainer.batch_size * config.data.block_size
    evaluations = config.trainer.max_iters // config.trainer.eval_every if config.trainer.eval_every else 0
    evaluated = evaluations * config.trainer.eval_tokens + VALIDATION
    return step * (config.trainer.max_iters + FORWARD * evaluated / tokens)


def _step_seconds(config: Config, how: TrainerConfig, model: LanguageModel) -> float:
    device = pick_device(config.trainer.device)
    shape = (config.trainer.batch_size, config.data.block_size + 1)
    ids = torch.randint(VOCABULARY, shape, generator=torch.Generator().manual_seed(0))
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    with cpu_threads(1):
        trainer = Trainer(how, model.to(device), lambda step: (ids[:, :-1], ids[:, 1:]), device=device)
        trainer.step()
        began = clock()
        for _ in range(STEPS):
            trainer.step()
        return (clock() - began) / STEPS
