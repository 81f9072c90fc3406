"""Trained models beyond the length that they were trained at, and along it; and samples of their text."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mingpt.core.safe_parsing import Many, Number, Whole
from mingpt.data.dataset import Corpus, prepare
from mingpt.experiments.base import Lab, Measurement, Row, Trial, VariantFields
from mingpt.experiments.measurements.summaries import by_variant, groups, mean, mean_lines
from mingpt.inference.evaluate import validation_loss
from mingpt.model import build
from mingpt.models.base import LanguageModel
from mingpt.report.figure_layout import log_ticks
from mingpt.report.fonts import plain
from mingpt.report.palette import Palette
from mingpt.runs import compatibility, run
from mingpt.runs.checkpoint import newest
from mingpt.runs.trained_run import Run

PROMPT = "Fie, what madness doth unfold?"
TIMES = (1, 2, 4)  # the trained length
TOKENS = 16384  # of the validation set, by which a length is evaluated
BLOCKS, AT_ONCE = 256, 64
EARLY = 5  # positions that a block begins with


def last_runs(lab: Lab) -> Iterator[tuple[Trial, Run, Corpus]]:
    """Each trial's last stage, with its text."""
    for trial in lab.trials:
        trained = run.load(trial.folders[-1])
        yield trial, trained, prepare(trained.config.data)


def longer(trained: Run, block_size: int) -> LanguageModel:
    """The same weights for a longer block; learned positions beyond the trained ones are new, as at a start."""
    torch.manual_seed(0)
    model = build(replace(trained.model.config, block_size=block_size))
    compatibility.start_from(model, newest(trained.folder), trained.tokenizer)
    return model.to(trained.model.device).eval()


def _extrapolation(lab: Lab) -> list[Row]:
    rows = []
    for trial, trained, corpus in last_runs(lab):
        size = trained.model.config.block_size
        for times in TIMES:
            model = longer(trained, times * size)
            loss = validation_loss(model, corpus.data.validation, trained.tokenizer, at_most=TOKENS)
            rows.append(trial.row(trained=size, block=times * size, nats=loss.nats))
    return rows


def _draw_extrapolation(rows: list[Row], figure: Any, look: Palette) -> None:
    axes = figure.subplots()
    mean_lines(axes, rows, look, "block", "nats")
    log_ticks(axes.xaxis, {row["block"] for row in rows})
    axes.set(xlabel="block length at evaluation", ylabel="validation loss, nats per token")
    axes.set_title(f"Beyond the trained length, {rows[0]['trained']}")


@torch.no_grad()
def _by_position(lab: Lab) -> list[Row]:
    """Return the mean loss at each position of a block of the validation set, which shows how much context is used."""
    rows = []
    for trial, trained, corpus in last_runs(lab):
        windows = validation_blocks(trained, corpus, BLOCKS)
        nats = torch.cat([_nats(trained.model, part) for part in windows.split(AT_ONCE)])
        rows.append(trial.row(blocks=len(windows), nats=nats.double().mean(0).tolist()))
    return rows


def _nats(model: LanguageModel, windows: Tensor) -> Tensor:
    """(b, t) losses of (b, t+1) windows."""
    logits, targets = model(windows[:, :-1]).logits, windows[:, 1:]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)


def validation_blocks(trained: Run, corpus: Corpus, at_most: int) -> Tensor:
    """Return (b, t+1) ids on the model's device: blocks with their targets, evenly spaced over the validation set."""
    size, ids = trained.model.config.block_size, corpus.data.validation
    starts = np.linspace(0, len(ids) - size - 1, min(at_most, max(len(ids) // size, 1))).astype(int)
    windows = np.stack([ids[at : at + size + 1] for at in starts]).astype(np.int64)
    return torch.from_numpy(windows).to(trained.model.device)


def _draw_by_position(rows: list[Row], figure: Any, look: Palette) -> None:
    axes = figure.subplots()
    for variant, own in by_variant(rows).items():
        nats = np.mean([row["nats"] for row in own], axis=0)
        edges = np.unique(np.geomspace(1, len(nats) + 1, 24).astype(int))
        binned = [nats[a - 1 : b - 1].mean() for a, b in itertools.pairwise(edges)]
        axes.plot(edges[:-1], binned, label=plain(variant), **look.line(variant, len(binned)))
    longest = max(len(row["nats"]) for row in rows)
    log_ticks(axes.xaxis, [2**power for power in range(longest.bit_length()) if 2**power <= longest])
    axes.set(xlabel="position in the block, from 1", ylabel="validation loss, nats per token")
    axes.set_title("Loss by position: mean over seeds and blocks")
    axes.legend(frameon=False)


def _side_by_side(lab: Lab) -> list[Row]:
    """Return what a model generates after PROMPT, of which characters that its vocabulary lacks are left out."""
    rows = []
    for trial, trained, _ in last_runs(lab):
        prompt = "".join(letter for letter in PROMPT if letter in known(trained))
        text = trained.generate(prompt, 300, seed=0, past_block="exact")
        rows.append({"arm": trial.variant, "prompt": prompt, "text": text})
    return rows


def _extrapolation_table(rows: list[Row]) -> list[Row]:
    return [
        {
            "variant": variant,
            "trained block": own[0]["trained"],
            **{f"loss at block {block}": mean(each, "nats") for (block,), each in groups(own, "block").items()},
        }
        for variant, own in by_variant(rows).items()
    ]


def _position_table(rows: list[Row]) -> list[Row]:
    """The mean loss at the first positions of a block, and over its later half."""
    size, table = len(rows[0]["nats"]), []
    for variant, own in by_variant(rows).items():
        nats = np.mean([row["nats"] for row in own], axis=0)
        early, late = f"loss at positions 1 to {min(EARLY, size)}", f"at {size // 2 + 1} to {size}"
        table.append({"variant": variant, early: float(nats[:EARLY].mean()), late: float(nats[size // 2 :].mean())})
    return table


def _sample_table(rows: list[Row]) -> list[Row]:
    words = {row["arm"]: row["text"].split() for row in rows}
    return [{"variant": variant, "words": len(own), "different words": len({*own})} for variant, own in words.items()]


def known(trained: Run) -> set[str]:
    """Every character that the vocabulary decodes to."""
    return {letter for token in range(trained.tokenizer.vocab_size) for letter in trained.tokenizer.decode([token])}


class BlocksFields(VariantFields):
    trained: Whole
    block: Whole
    nats: Number


class PositionsFields(VariantFields):
    nats: Many[Number]


class SamplesFields(VariantFields):
    text: str


extrapolation = Measurement(
    "extrapolation",
    _extrapolation,
    _draw_extrapolation,
    _extrapolation_table,
    of_runs=True,
    of_model=True,
    row=BlocksFields,
    caption="Validation loss in blocks as long as in training and longer. Line: mean of the seeds; shaded: "
    "their range.",
)
loss_by_position = Measurement(
    "loss-by-position",
    _by_position,
    _draw_by_position,
    _position_table,
    of_runs=True,
    of_model=True,
    caption="Validation loss at each position of a block: mean over seeds and blocks. Dashed across: what n-gram "
    "models reach on the same text.",
    row=PositionsFields,
    with_baselines=True,
)
side_by_side = Measurement(
    "samples",
    _side_by_side,
    table=_sample_table,
    of_runs=True,
    of_model=True,
    first_seed=True,
    row=SamplesFields,
)
