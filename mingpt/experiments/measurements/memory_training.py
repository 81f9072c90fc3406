"""Small models trained on a task at one distance until they know it, or until they show no progress.

What was found is kept, a file for each task, distance and model, whose name is a hash of all that it depends on, as a
trial's: an experiment takes those that are there, also another experiment's or those that came with the repository.

    results/tasks/ID.json    task, distance, settings, learning rates that were tried, a row for each seed
"""

import json
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NotRequired

import torch
from torch import Tensor
from typing_extensions import TypedDict

from mingpt.core.atomic_io import write_atomic
from mingpt.core.errors import NotFiniteError
from mingpt.core.run_files.reading import Record, read_json
from mingpt.core.safe_parsing import Many, Named, Number, Whole
from mingpt.experiments.base import Row, Sizes
from mingpt.experiments.base_config import model_config, task_config
from mingpt.experiments.identity import trial_id
from mingpt.experiments.measurements.memory_tasks import NOT_SCORED, SYMBOLS, Task
from mingpt.model import build
from mingpt.models.base import LanguageModel, evaluating
from mingpt.models.config import ModelConfig
from mingpt.trainer import Record as StepRecord
from mingpt.trainer import Trainer
from mingpt.utils import derived_seed, pick_device

FRESH = 1024  # texts that accuracy is of
LEARNED, PROGRESS, STEPS, DIVERGED = "learned", "no progress", "all steps made", "not finite"  # why training ended
CHOOSES = 0  # the seed that a learning rate is chosen with


@dataclass(frozen=True)
class Recipe:
    """How models are trained on a task.

    Attributes:
        distances: distances, each with models of its own.
        steps: optimizer steps at most.
        seeds: seeds of weights and texts; a seed of its own chooses the learning rate.
        rates: AdamW's learning rates to choose among, for each model and distance.
        batch: texts of a step.
        learned: training loss, nats, mean of `learned_of` steps, below which training ends.
        patience: steps after which training ends as soon as the mean loss of `patience_of` of them is not `progress`
            nats below that of guessing.
        fitted: batches that an n-gram model is fitted to.
    """

    distances: Sequence[int]
    steps: int
    seeds: Sequence[int]
    rates: Sequence[float] = (1e-3, 3e-3, 1e-2)
    batch: int = 32
    learned: float = 0.05
    learned_of: int = 10
    patience: int = 2000
    patience_of: int = 100
    progress: float = 0.02
    fitted: int = 400


RECIPES = Sizes(
    quick=Recipe((4, 6, 12, 24), 400, seeds=(1, 2, 3), rates=(3e-3, 1e-2)),
    full=Recipe((4, 6, 12, 24, 48), 3000, seeds=(1, 2, 3, 4, 5)),
)
BLOCK = 2 * max(RECIPES.full.distances) + 4  # positions: twice the distance, and the symbols that are repeated


@dataclass
class EarlyStop:
    """A callback that ends training once the answers are known, or where nothing is learned."""

    recipe: Recipe
    why: str = STEPS
    losses: deque[float] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.losses = deque(maxlen=max(self.recipe.learned_of, self.recipe.patience_of))

    def __call__(self, trainer: Trainer, record: StepRecord) -> None:
        self.losses.append(record["train_loss"])
        if self.why != STEPS:  # the step after the one that ended training
            return
        if record["step"] >= self.recipe.learned_of and self._mean(self.recipe.learned_of) < self.recipe.learned:
            self.why = LEARNED
        elif record["step"] >= self.recipe.patience:
            guessing = math.log(SYMBOLS) - self.recipe.progress
            self.why = PROGRESS if self._mean(self.recipe.patience_of) > guessing else STEPS
        if self.why != STEPS:
            trainer.stop(self.why)

    def _mean(self, steps: int) -> float:
        return math.fsum([*self.losses][-steps:]) / steps


def batch(task: Task, recipe: Recipe, distance: int, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of a step, as a trainer takes them."""
    return task.texts(recipe.batch, distance, derived_seed(seed, task.name, distance, step))


def config_of(task: Task, settings: dict[str, Any]) -> ModelConfig:
    """Return the configuration of a model for a task, the same at each distance."""
    return model_config(**settings, block_size=BLOCK, vocab_size=task.vocabulary)


def train(
    task: Task, settings: dict[str, Any], recipe: Recipe, distance: int, seed: int, rate: float
) -> tuple[LanguageModel, int, str]:
    """Return a model, its number of steps, and why they ended.

    An n-gram model is fitted at once to the texts of some steps, each with its last answer.
    """
    torch.manual_seed(derived_seed(seed, "weights"))
    model = build(config_of(task, settings))
    batches = partial(batch, task, recipe, distance, seed)
    if model.config.count_based:
        pairs = [batches(step) for step in range(recipe.fitted)]
        answered = [torch.cat((idx, targets[:, -1:]), 1).flatten() for idx, targets in pairs]
        model.fit(torch.cat(answered).numpy())
        return model, 1, STEPS
    how = task_config(max_iters=recipe.steps, batch_size=recipe.batch, learning_rate=rate)
    stop = EarlyStop(recipe)
    trainer = Trainer(how, model, batches, seed=seed, device=pick_device("auto"), callbacks=[stop])
    try:
        trainer.run()
    except NotFiniteError:
        stop.why = DIVERGED  # it is evaluated as it is before that step
    return model, trainer.progress.step, stop.why


def accuracy(task: Task, model: LanguageModel, distance: int, seed: int) -> float:
    """Return the share of symbols of fresh texts that are the likeliest prediction at their place.

    Each seed has texts of its own, so that a learning rate is not evaluated on those that it was chosen on.
    """
    idx, targets = task.texts(FRESH, distance, derived_seed(seed, "fresh", distance))
    with evaluating(model):
        likeliest = model(idx.to(model.device)).logits.argmax(-1).cpu()
    scored = targets != NOT_SCORED
    return (likeliest == targets)[scored].double().mean().item()


def trained_row(task: Task, settings: dict[str, Any], recipe: Recipe, distance: int, seed: int, rate: float) -> Row:
    """Train a model; return what was found."""
    model, steps, ended = train(task, settings, recipe, distance, seed, rate)
    return {
        "distance": distance,
        "seed": seed,
        "accuracy": round(accuracy(task, model, distance, seed), 4),
        "at_twice": round(accuracy(task, model, 2 * distance, seed), 4),
        "steps": steps,
        "ended": ended,
        "learning_rate": None if model.config.count_based else rate,
        "parameters": model.parameter_count,
        "chance": 1 / SYMBOLS,
    }


def best(tried: Sequence[Row]) -> float:
    """Return the learning rate of the highest accuracy, of equal ones that of the fewest steps."""
    return float(max(tried, key=lambda row: (row["accuracy"], -row["steps"]))["learning_rate"])


class TaskRow(TypedDict):
    """What `trained_row` returns."""

    distance: Whole
    accuracy: Number
    steps: Whole
    chance: Number
    at_twice: NotRequired[Number]


class TaskRecord(TypedDict):
    """A kept file."""

    id: str
    rows: Many[TaskRow]
    tried: Many[TaskRow]
    model: Named[Any]


def rows_of(task: Task, settings: dict[str, Any], recipe: Recipe, distance: int, kept: Path) -> list[Row]:
    """Return a row for each seed, all with the learning rate that is best at this distance: kept ones, or trained now.

    Args:
        kept: folder of the files.

    Raises:
        CheckpointError: a kept file is damaged.
    """
    id_ = identity(task, settings, recipe, distance)
    known = read_json(kept / f"{id_}.json", TaskRecord)
    return list((known or _found(task, settings, recipe, distance, kept, id_))["rows"])


def identity(task: Task, settings: dict[str, Any], recipe: Recipe, distance: int) -> str:
    """Return the id of what is trained: of model, training, task and recipe."""
    training = asdict(task_config(batch_size=recipe.batch))
    stage = {f"model.{name}": value for name, value in asdict(config_of(task, settings)).items()}
    stage |= {f"trainer.{name}": value for name, value in training.items()}
    others = json.dumps([asdict(task), {**asdict(recipe), "distances": distance}], sort_keys=True)
    return trial_id([stage], [{"task": others}], CHOOSES)


def _found(task: Task, settings: dict[str, Any], recipe: Recipe, distance: int, kept: Path, id_: str) -> Record:
    counts = config_of(task, settings).count_based
    row = partial(trained_row, task, settings, recipe, distance)
    tried = [] if counts else [row(CHOOSES, rate) for rate in recipe.rates]
    rate = best(tried) if tried else 0.0
    rows = [row(seed, rate) for seed in recipe.seeds]
    found = {"id": id_, "task": task.name, "model": settings, "recipe": asdict(recipe), "tried": tried, "rows": rows}
    kept.mkdir(parents=True, exist_ok=True)
    write_atomic(kept / f"{id_}.json", (json.dumps(found, separators=(",", ":")) + "\n").encode())
    return found
