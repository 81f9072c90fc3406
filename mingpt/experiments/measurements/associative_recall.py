"""Associative recall, a task that needs memory alone: repeat a symbol after a number of others.

A text is a key, one of KEYS; then fillers, drawn from as many others; then a sign that asks.  The answer is all that is
scored, so that distance is the only difficulty.  Places are counted back as everywhere: the token last read, which is
the sign, is 1 back; the key is `distance` back.
"""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import TypedDict

from mingpt.core.atomic_io import write_atomic
from mingpt.core.errors import NotFiniteError
from mingpt.core.run_files.reading import read_lines
from mingpt.core.safe_parsing import Number, Whole
from mingpt.experiments.base import Lab, Measurement, Row, Sizes
from mingpt.experiments.base_config import model_config, task_config
from mingpt.experiments.measurements.summaries import groups, mean
from mingpt.model import build
from mingpt.models.base import LanguageModel, evaluating
from mingpt.models.config import CONFIGS
from mingpt.report.figure_layout import log_ticks
from mingpt.report.palette import INK, Palette
from mingpt.trainer import Record, Trainer
from mingpt.utils import derived_seed, pick_device

KEYS, FILLERS = 8, 8
ASK = KEYS + FILLERS
NOT_SCORED = -100  # a target that the loss leaves out
FRESH = 1024  # texts that accuracy is of
REACHED = 0.9  # accuracy from which on a distance is reached
LEARNED, LAST = 0.05, 10  # nats, the mean of so many steps below which training ends

# As many parameters as GPT within 3 %; GPT has a row for each of 64 positions.
MODELS: dict[str, dict[str, Any]] = {
    "GPT": {"type": "gpt", "n_layer": 2, "n_embd": 32},
    "Elman slide": {"type": "rnn", "n_layer": 1, "cell": "elman", "n_embd": 92},
    "Elman tanh": {"type": "rnn", "n_layer": 1, "cell": "elman_tanh", "n_embd": 92},
    "GRU": {"type": "rnn", "n_layer": 1, "cell": "gru", "n_embd": 66},
    "LSTM": {"type": "rnn", "n_layer": 1, "cell": "lstm", "n_embd": 58},
    "6-gram": {"type": "ngram", "order": 6},
}


@dataclass(frozen=True)
class Size:
    """How long it takes."""

    distances: Sequence[int]
    steps: int
    batch: int = 32
    seeds: Sequence[int] = (1, 2, 3)
    rates: Sequence[float] = (1e-3, 3e-3, 1e-2)


SIZES = Sizes(
    quick=Size((3, 5, 6, 16, 32), 400, rates=(3e-3, 1e-2)),
    standard=Size((4, 8, 16, 32, 64), 3000, seeds=(1, 2, 3, 4, 5), rates=(3e-3, 1e-2)),
    full=Size((3, 5, 6, 8, 16, 32, 64), 2000),
)
SO_FAR = "recall.jsonl"  # rows of models and distances that are finished, so that a stopped measurement goes on


def texts(count: int, distance: int, seed: int) -> tuple[Tensor, Tensor]:
    """(count, distance) ids, distance 2 or more, and the (count,) keys that each asks for."""
    draws = torch.Generator().manual_seed(seed)
    keys = torch.randint(KEYS, (count, 1), generator=draws)
    fillers = KEYS + torch.randint(FILLERS, (count, distance - 2), generator=draws)
    return torch.cat((keys, fillers, torch.full((count, 1), ASK)), 1), keys[:, 0]


def batch(size: Size, distance: int, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets, as a trainer takes them."""
    idx, keys = texts(size.batch, distance, derived_seed(seed, "recall", distance, step))
    targets = torch.full_like(idx, NOT_SCORED)
    targets[:, -1] = keys
    return idx, targets


@dataclass
class Until:
    """A callback that ends training once the answers are known."""

    losses: list[float] = field(default_factory=list)

    def __call__(self, trainer: Trainer, record: Record) -> None:
        self.losses = [*self.losses, record["train_loss"]][-LAST:]
        if len(self.losses) == LAST and sum(self.losses) / LAST < LEARNED:
            trainer.stop("learned")


def taught(settings: dict[str, Any], size: Size, distance: int, seed: int, rate: float) -> tuple[LanguageModel, int]:
    """Return a model after as many steps as it needs, or as there are, and their number.  An n-gram model is fitted to
    the texts of all steps at once, each with its answer after it."""
    torch.manual_seed(derived_seed(seed, "weights"))
    model = build(model_config(**settings, block_size=max(SIZES.full.distances), vocab_size=ASK + 1))
    batches = partial(batch, size, distance, seed)
    if model.config.count_based:
        pairs = [batches(step) for step in range(size.steps)]
        answered = [torch.cat((idx, targets[:, -1:]), 1).flatten() for idx, targets in pairs]
        model.fit(torch.cat(answered).numpy())
        return model, 1
    how = task_config(max_iters=size.steps, batch_size=size.batch, learning_rate=rate)
    trainer = Trainer(how, model, batches, seed=seed, device=pick_device("auto"), callbacks=[Until()])
    with suppress(NotFiniteError):  # it is evaluated as it then is
        trainer.run()
    return model, trainer.progress.step


def accuracy(model: LanguageModel, distance: int, seed: int) -> float:
    """Return the share of fresh texts whose key is the likeliest prediction.  Each seed has texts of its own, so that a
    learning rate is not evaluated on those that it was chosen on."""
    idx, keys = texts(FRESH, distance, derived_seed(seed, "fresh", distance))
    with evaluating(model):
        likeliest = model(idx.to(model.device)).logits[:, -1].argmax(-1).cpu()
    return (likeliest == keys).double().mean().item()


def _row(settings: dict[str, Any], size: Size, distance: int, seed: int, rate: float) -> Row:
    model, steps = taught(settings, size, distance, seed, rate)
    return {
        "distance": distance,
        "seed": seed,
        "accuracy": accuracy(model, distance, seed),
        "steps": steps,
        "learning_rate": None if model.config.count_based else rate,
        "parameters": model.parameter_count,
        "chance": 1 / KEYS,
    }


def best_rate(rates: Sequence[float], row: Callable[[float], Row]) -> float:
    """The learning rate of highest accuracy, of equal ones that of the fewest steps; a seed of its own decides."""

    def rank(rate: float) -> tuple[float, int]:
        tried = row(rate)
        return tried["accuracy"], -tried["steps"]

    return max(rates, key=rank)


def _take(lab: Lab) -> list[Row]:
    return measured(lab.pick(SIZES), lab.folder / SO_FAR)


def measured(size: Size, so_far: Path) -> list[Row]:
    """A row a model, distance and seed.

    Args:
        so_far: a file of the rows that an earlier call has made, and where each model and distance is added.
    """
    rows = read_lines(so_far)
    known = {(row["model"], row["distance"]) for row in rows}
    for name, distance in itertools.product(MODELS, size.distances):
        if (name, distance) not in known:
            rows += _at(name, size, distance)
            write_atomic(so_far, "".join(json.dumps(row) + "\n" for row in rows).encode())
    return rows


def _at(name: str, size: Size, distance: int) -> list[Row]:
    """Rows of one model at one distance, all seeds with the learning rate that is best there."""
    settings = MODELS[name]
    choose = partial(_row, settings, size, distance, 0)
    counts = CONFIGS[settings["type"]].count_based
    rate = size.rates[0] if counts else best_rate(size.rates, choose)
    return [{"model": name, **_row(settings, size, distance, seed, rate)} for seed in size.seeds]


def _draw(rows: list[Row], figure: Any, look: Palette) -> None:
    axes = figure.subplots()
    names = list(dict.fromkeys(row["model"] for row in rows))
    for place, name in enumerate(names):
        own = [row for row in rows if row["model"] == name]
        at = sorted({row["distance"] for row in own})
        means = [np.mean([row["accuracy"] for row in own if row["distance"] == distance]) for distance in at]
        shift = 2 ** (0.06 * (place - (len(names) - 1) / 2))  # so that no dot hides another
        axes.plot([each * shift for each in at], means, label=name, **{**look.line(name), "marker": None})
        axes.plot([row["distance"] * shift for row in own], [row["accuracy"] for row in own], **look.dots(name), ms=4)
    axes.axhline(rows[0]["chance"], color=INK, lw=1, ls=":")
    axes.annotate(
        f"chance, 1 in {round(1 / rows[0]['chance'])}",
        (0.01, rows[0]["chance"]),  # where no dot is: near the question all is recalled
        xycoords=("axes fraction", "data"),
        ha="left",
        va="bottom",
        fontsize=8,
    )
    log_ticks(axes.xaxis, {row["distance"] for row in rows})
    axes.set(
        xlabel="places back; 1 is the token last read, the question", ylabel="share recalled correctly", ylim=(0, 1.05)
    )
    axes.set_title(f"Recall of a symbol, at most {max(row['steps'] for row in rows)} steps of training")
    axes.legend(frameon=False)


def _table(rows: list[Row]) -> list[Row]:
    """Accuracy at each distance, and the largest up to which it is at least REACHED."""
    table = []
    for (name,), own in groups(rows, "model").items():
        at = {distance: mean(each, "accuracy") for (distance,), each in groups(own, "distance").items()}
        accuracies = {f"accuracy {distance} back": at[distance] for distance in sorted(at)}
        table.append({"variant": name, f"{REACHED:.0%} correct up to": reach(at), **accuracies})
    return table


def reach(accuracies: Mapping[int, float]) -> int:
    """Return the largest distance up to which accuracy is at least REACHED at all that were tried; 0: at none."""
    far = 0
    for distance in sorted(accuracies):
        if accuracies[distance] < REACHED:
            break
        far = distance
    return far


SMALLER = f"{SIZES.quick.steps} steps, {len(SIZES.quick.distances)} distances"


class RowFields(TypedDict):
    model: str
    distance: Whole
    accuracy: Number
    steps: Whole
    chance: Number


CAPTION = (
    "How often a model repeats a symbol that it read so many places before. Line: mean of the seeds; a dot for each "
    "seed; variants are shifted so that none hides another. Dotted: chance."
)
recall = Measurement(
    "recall",
    _take,
    _draw,
    _table,
    smaller=SMALLER,
    row=RowFields,
    caption=CAPTION,
    variant=lambda row: str(row["model"]),
)
