"""Trained models beyond the length that they were trained at, and along it; and what they write."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import TypedDict

from mingpt.core.safe_parsing import Many, Number, Whole
from mingpt.data.dataset import Corpus, prepare
from mingpt.experiments.base import Cell, Lab, Measurement, Row
from mingpt.experiments.measurements.summaries import groups, mean
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
TOKENS = 16384  # of held-out text that a length is judged on
BLOCKS, AT_ONCE = 256, 64
EARLY = 5  # positions that a block begins with


def last_runs(lab: Lab) -> Iterator[tuple[Cell, Run, Corpus]]:
    """Each cell's last stage, with its text."""
    for cell in lab.cells:
        trained = run.load(cell.folders[-1])
        yield cell, trained, prepare(trained.config.data)


def longer(trained: Run, block_size: int) -> LanguageModel:
    """The same weights for a longer block; learned positions beyond the trained ones are new, as at a start."""
    torch.manual_seed(0)
    model = build(replace(trained.model.config, block_size=block_size))
    compatibility.start_from(model, newest(trained.folder), trained.tokenizer)
    return model.to(trained.model.device).eval()


def _extrapolation(lab: Lab) -> list[Row]:
    rows = []
    for cell, trained, corpus in last_runs(lab):
        size = trained.model.config.block_size
        for times in TIMES:
            loss = validation_loss(
                longer(trained, times * size), corpus.data.validation, trained.tokenizer, at_most=TOKENS
            )
            rows.append({"arm": cell.arm, "seed": cell.seed, "trained": size, "block": times * size, "nats": loss.nats})
    return rows


def _draw_extrapolation(rows: list[Row], figure: Any, look: Palette) -> None:
    axes = figure.subplots()
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm]
        blocks = sorted({row["block"] for row in own})
        losses = [[row["nats"] for row in own if row["block"] == block] for block in blocks]
        label = plain(f"{arm} (n = {len(losses[0])})")
        axes.plot(blocks, [float(np.mean(each)) for each in losses], label=label, **look.line(arm, len(blocks)))
        span = ([end(each) for each in losses] for end in (min, max))
        axes.fill_between(blocks, *span, alpha=0.15, lw=0, color=look.colour(arm))
    log_ticks(axes.xaxis, {row["block"] for row in rows})
    axes.set(xlabel="block length at evaluation", ylabel="validation loss, nats per token")
    axes.set_title(f"Beyond the trained length, {rows[0]['trained']}")
    axes.legend(frameon=False)


@torch.no_grad()
def _by_position(lab: Lab) -> list[Row]:
    """Mean loss of the targets at each position of a held-out block: how far back a model makes use of what it read."""
    rows = []
    for cell, trained, corpus in last_runs(lab):
        windows = held_out_windows(trained, corpus, BLOCKS)
        nats = torch.cat([_nats(trained.model, part) for part in windows.split(AT_ONCE)])
        means = nats.double().mean(0).tolist()
        rows.append({"arm": cell.arm, "seed": cell.seed, "blocks": len(windows), "nats": means})
    return rows


def _nats(model: LanguageModel, windows: Tensor) -> Tensor:
    """(b, t) losses of (b, t+1) windows."""
    logits, targets = model(windows[:, :-1]).logits, windows[:, 1:]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)


def held_out_windows(trained: Run, corpus: Corpus, at_most: int) -> Tensor:
    """(b, t+1) ids where the model is: blocks with their targets, spread evenly over the held-out text."""
    size, ids = trained.model.config.block_size, corpus.data.validation
    starts = np.linspace(0, len(ids) - size - 1, min(at_most, max(len(ids) // size, 1))).astype(int)
    windows = np.stack([ids[at : at + size + 1] for at in starts]).astype(np.int64)
    return torch.from_numpy(windows).to(trained.model.device)


def _draw_by_position(rows: list[Row], figure: Any, look: Palette) -> None:
    axes = figure.subplots()
    for arm in dict.fromkeys(row["arm"] for row in rows):
        nats = np.mean([row["nats"] for row in rows if row["arm"] == arm], axis=0)
        edges = np.unique(np.geomspace(1, len(nats) + 1, 24).astype(int))
        binned = [nats[a - 1 : b - 1].mean() for a, b in itertools.pairwise(edges)]
        axes.plot(edges[:-1], binned, label=plain(arm), **look.line(arm, len(binned)))
    longest = max(len(row["nats"]) for row in rows)
    log_ticks(axes.xaxis, [2**power for power in range(longest.bit_length()) if 2**power <= longest])
    axes.set(xlabel="position in the block, from 1", ylabel="validation loss, nats per token")
    axes.set_title("Loss by position: mean over seeds and blocks")
    axes.legend(frameon=False)


def _side_by_side(lab: Lab) -> list[Row]:
    """What a model writes after one prompt; its spelled part, where the text lacks a character of it."""
    rows = []
    for cell, trained, _ in last_runs(lab):
        prompt = "".join(letter for letter in PROMPT if letter in known(trained))
        rows.append(
            {"arm": cell.arm, "prompt": prompt, "text": trained.generate(prompt, 300, seed=0, past_block="exact")}
        )
    return rows


def _extrapolation_table(rows: list[Row]) -> list[Row]:
    return [
        {
            "variant": arm,
            "trained block": own[0]["trained"],
            **{f"loss at block {block}": mean(each, "nats") for (block,), each in groups(own, "block").items()},
        }
        for (arm,), own in groups(rows, "arm").items()
    ]


def _position_table(rows: list[Row]) -> list[Row]:
    """The mean loss at the first positions of a block, and over its later half."""
    size, table = len(rows[0]["nats"]), []
    for (arm,), own in groups(rows, "arm").items():
        nats = np.mean([row["nats"] for row in own], axis=0)
        early, late = f"loss at positions 1 to {min(EARLY, size)}", f"at {size // 2 + 1} to {size}"
        table.append({"variant": arm, early: float(nats[:EARLY].mean()), late: float(nats[size // 2 :].mean())})
    return table


def _sample_table(rows: list[Row]) -> list[Row]:
    words = {row["arm"]: row["text"].split() for row in rows}
    return [{"variant": arm, "words": len(own), "different words": len({*own})} for arm, own in words.items()]


def known(trained: Run) -> set[str]:
    """Every character that the vocabulary decodes to."""
    return {letter for token in range(trained.tokenizer.vocab_size) for letter in trained.tokenizer.decode([token])}


class BlocksFields(TypedDict):
    arm: str
    trained: Whole
    block: Whole
    nats: Number


class PositionsFields(TypedDict):
    arm: str
    nats: Many[Number]


class SamplesFields(TypedDict):
    arm: str
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
    beside_counts=True,
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
