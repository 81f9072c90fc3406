"""Trained models beyond the length that they were trained at, and along it; and samples of their text."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mingpt.core.safe_parsing import Many, Number, Whole
from mingpt.data.dataset import Corpus, prepare
from mingpt.experiments.base import Lab, Measurement, Row, Trial, VariantFields
from mingpt.experiments.measurements.summaries import bands, by_variant, groups, in_table, interval, mean
from mingpt.inference.evaluate import validation_loss
from mingpt.model import build
from mingpt.models.base import LanguageModel
from mingpt.report.figure_layout import log_ticks
from mingpt.report.fonts import in_lines
from mingpt.report.palette import INK, MARKERS, Palette
from mingpt.report.panels import (
    COLUMNS,
    HEIGHT,
    LETTERS,
    LOSS,
    REST,
    Band,
    draw_bands,
    fit_height,
    name_baseline,
    others,
)
from mingpt.runs import compatibility, run
from mingpt.runs.checkpoint import newest
from mingpt.runs.trained_run import Run

PROMPT = "Fie, what madness doth unfold?"
TIMES = (1, 2, 4)  # the trained length
TOKENS = 16384  # of the validation set, by which a length is evaluated
BLOCKS, AT_ONCE = 256, 64
EARLY = 5  # positions that a block begins with
FIRST = 16  # positions that a gain from context is measured from
GAIN_ROW = 0.42  # inches


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
    found = bands(rows, "block", "nats")
    figure.suptitle(f"Beyond the trained length, {rows[0]['trained']}")
    label = "validation loss, nats per token"
    axes = draw_bands(figure, found, look, x_label="block length at evaluation", y_label=label)
    fit_height(figure, axes)
    for each in axes:
        log_ticks(each.xaxis, {row["block"] for row in rows})
    name_baseline(figure, [*found])


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
    """Draw a panel for each variant against the first; below, the gain from context of all."""
    found = {variant: _along_block(own) for variant, own in by_variant(rows).items()}
    longest = max(len(row["nats"]) for row in rows)
    above, below = figure, None
    if ranges_of(rows):
        heights = REST + HEIGHT * -(-len(others([*found])) // COLUMNS), 1.0 + GAIN_ROW * len(found)
        above, below = figure.subfigures(2, 1, height_ratios=heights)
        figure.set_figheight(sum(heights))
    label = "validation loss, nats per token"
    axes = draw_bands(above, found, look, x_label="position in the block", y_label=label)
    for each in axes:
        each.set_label(LOSS)
        log_ticks(each.xaxis, [at for at in (1, 4, 16, 64, 256, 1024) if at <= longest])
    name_baseline(above, [*found])
    if below is None:
        fit_height(figure, axes)
    else:
        _draw_gains(by_variant(rows), below, look)


def _along_block(rows: Sequence[Row]) -> Band:
    """The loss in some two dozen stretches of the block, each by its first position."""
    size = min(len(row["nats"]) for row in rows)
    edges = np.unique(np.geomspace(1, size + 1, 24).astype(int))
    found = [interval([mean_over(row, a, b) for row in rows]) for a, b in itertools.pairwise(edges)]
    middle, low, high = zip(*found, strict=True)
    return Band(at=[int(edge) for edge in edges[:-1]], middle=middle, low=low, high=high)


def mean_over(row: Row, first: int, end: int) -> float:
    """The mean loss at positions `first` to `end` - 1 of a block, counted from 1."""
    return float(np.mean(row["nats"][first - 1 : end - 1]))


def ranges_of(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """The first and last positions of the ranges whose gain is shown, each twice as far back as the one before."""
    size = min(len(row["nats"]) for row in rows)
    doubled = [FIRST * 2**power for power in range(size.bit_length())]
    return [(at + 1, min(2 * at, size)) for at in doubled if at < size]


def gain(row: Row, first: int, last: int) -> float:
    """The gain from context: the mean loss at the first 16 positions minus that at positions `first` to `last`."""
    return mean_over(row, 1, FIRST + 1) - mean_over(row, first, last + 1)


def _draw_gains(variants: Mapping[str, Sequence[Row]], figure: Any, look: Palette) -> None:
    axes, ranges = figure.subplots(), ranges_of([row for own in variants.values() for row in own])
    for place, (variant, own) in enumerate(variants.items()):
        for number, (first, last) in enumerate(ranges):
            height = place + 0.64 * ((number + 0.5) / len(ranges) - 0.5)
            middle, low, high = interval([gain(row, first, last) for row in own])
            axes.plot([low, high], [height, height], color=look.colour(variant), ls="-", lw=1.6)
            axes.plot([middle], [height], color=look.colour(variant), ls="none", mew=0, ms=5, marker=MARKERS[number])
    for number, (first, last) in enumerate(ranges):
        name = f"positions {first} to {last}"
        axes.plot([], [], color=INK, ls="none", mew=0, ms=5, marker=MARKERS[number], label=name)
    axes.set_yticks(range(len(variants)), [in_lines(variant, LETTERS) for variant in variants])
    axes.set_ylim(len(variants) - 0.5, -0.5)
    axes.set_xlabel(f"gain from context: loss at 1 to {FIRST} minus loss, nats")
    figure.legend(loc="outside lower left", frameon=False, ncols=2, fontsize=9, labelcolor=INK, handlelength=1.0)


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
    """The mean loss at the first positions of a block and over its later half, and the gains from context."""
    size, table = len(rows[0]["nats"]), []
    early, late = f"loss at positions 1 to {min(EARLY, size)}", f"at {size // 2 + 1} to {size}"
    for variant, own in by_variant(rows).items():
        found = {"variant": variant, early: in_table([mean_over(row, 1, EARLY + 1) for row in own])}
        found[late] = in_table([mean_over(row, size // 2 + 1, size + 1) for row in own])
        for first, last in ranges_of(rows):
            found[f"gain at {first} to {last}"] = in_table([gain(row, first, last) for row in own])
        table.append(found)
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
    caption=f"Validation loss in blocks as long as in training and longer, over {TOKENS:,} tokens of the validation "
    "set, not all. Line: mean over seeds; shaded: 95 % t-interval. Grey in each panel: the baseline.",
)
loss_by_position = Measurement(
    "loss-by-position",
    _by_position,
    _draw_by_position,
    _position_table,
    of_runs=True,
    of_model=True,
    caption="Validation loss at each position of a block. Line: mean over seeds and blocks; shaded: 95 % t-interval "
    "over seeds; grey in each panel: the baseline. Dashed across: what n-gram models reach on the same text. Below, "
    f"where blocks are longer than {FIRST}, the gain from context: mean loss at the first {FIRST} positions minus that "
    "further on. The first positions have little context, so even a 6-gram gains.",
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
