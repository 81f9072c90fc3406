"""Validation and training loss along all stages of every variant, and the starting document's values."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NotRequired

from mingpt.core.run_files.reading import each_line, evaluated_loss
from mingpt.core.run_files.records import read_run
from mingpt.core.safe_parsing import Number, Whole
from mingpt.experiments.base import Lab, Measurement, Row, VariantFields
from mingpt.experiments.measurements.summaries import bands, by_variant, groups, mean
from mingpt.report.palette import INK, Palette
from mingpt.report.panels import GREY, LOSS, Band, draw_band, draw_bands, fit_height, grid, name_baseline

HELD_OUT, TRAINING = "held_out", "training"  # keys of a row, which has one of them
APART = 25  # steps between two points of a training loss
SEED_STEPS = 600  # of each stage of the starting document
# Training loss after each stage, read off the starting document's pictures, about +-0.01: with dropout, one seed.
ABSOLUTE_MHA, ABSOLUTE_GQA, ROPE_MHA, ROPE_GQA = (2.07, 1.681), (2.09, 1.653), (2.04, 1.445), (2.03, 1.457)
References = Mapping[str, Sequence[float]]


def _take(lab: Lab) -> list[Row]:
    rows = []
    for trial in lab.trials:
        before = 0
        for number, (config, folder) in enumerate(zip(trial.configs, trial.folders, strict=True), start=1):
            for record in each_line(folder / "metrics.jsonl"):
                loss = evaluated_loss(record)
                if loss is not None:
                    rows.append(trial.row(stage=number, step=before + record["step"], held_out=loss))
            curve = read_run(folder).training()
            for step, loss in _sparse(curve.steps, curve.losses):
                rows.append(trial.row(stage=number, step=before + step, training=loss))
            before += config.trainer.max_iters
    return rows


def _sparse(steps: Sequence[int], losses: Sequence[float]) -> list[tuple[int, float]]:
    """Return the loss at every 25th step and at the last, equal steps of all runs: that of the last point so far."""
    ends = [*range(APART, steps[-1], APART), steps[-1]] if steps else []
    ends = [end for end in ends if end >= steps[0]]
    return [(end, [loss for step, loss in zip(steps, losses, strict=True) if step <= end][-1]) for end in ends]


LABEL_ROOM = 0.2  # of an axis's height, added below for the labels of the reference points


def _draw(rows: list[Row], figure: Any, look: Palette, *, references: References) -> None:
    """Draw validation loss, and to its left training loss, which rows of before 2026-11-30 lack."""
    evaluated, trained = ([row for row in rows if key in row] for key in (HELD_OUT, TRAINING))
    found, training = bands(evaluated, "step", HELD_OUT), bands(trained, "step", TRAINING)
    x_label, more = "step, all stages", {}
    figure.suptitle("Loss along all stages")
    if training:
        axes = _two_columns(figure, found, training, look, x_label)
        for name, pair in zip(found, zip(axes[::2], axes[1::2], strict=True), strict=True):
            for step, loss in reference_points(evaluated, name, references):
                _mark(pair[0], step, loss, look.colour(name))
                more = {"starting document, training loss": {**HOLLOW, "color": INK}}
        if more:
            low, high = axes[0].get_ylim()
            axes[0].set_ylim(low - LABEL_ROOM * (high - low), high)  # all share it
    else:
        axes = draw_bands(figure, found, look, x_label=x_label, y_label="validation loss, nats per token")
    for each in axes[1::2] if training else axes:
        each.set_label(LOSS)
    fit_height(figure, axes)
    name_baseline(figure, [*found], more)


def _two_columns(
    figure: Any, found: Mapping[str, Band], training: Mapping[str, Band], look: Palette, x: str
) -> list[Any]:
    """Draw a row for each variant: training loss, validation loss."""
    axes = grid(figure, [name for name in found for _ in (0, 1)], look, x_label=x, y_label="loss, nats per token")
    baseline = next(iter(found))
    for place, each in enumerate(axes):
        kind, name = (training, found)[place % 2], list(found)[place // 2]
        if name != baseline:
            draw_band(each, kind[baseline], **GREY)
        draw_band(each, kind[name], **look.line(name, len(kind[name].at)))
        each.set_title(f"{each.get_title()}: {('training', 'validation')[place % 2]}")
    return axes


HOLLOW: dict[str, Any] = {"ls": "none", "marker": "D", "ms": 6.5, "mfc": "none", "mew": 1.4}


def _mark(axes: Any, step: int, loss: float, colour: str) -> None:
    axes.plot([step], [loss], **HOLLOW, color=colour, zorder=3)
    how = {"xytext": (-5, -5), "textcoords": "offset points", "ha": "right", "va": "top", "fontsize": 9}
    axes.annotate(f"{loss:g}", (step, loss), color=INK, **how)


def reference_points(rows: Sequence[Row], variant: str, references: References) -> list[tuple[int, float]]:
    """Return (step, loss) of the starting document for a variant: after each stage that ends where the document's did,
    so that of shorter stages, as of a quick form's, there is none."""
    own = [row for row in rows if row["arm"] == variant]
    ends = {stage: max(row["step"] for row in each) for (stage,), each in groups(own, "stage").items()}
    found = [(stage * SEED_STEPS, loss) for stage, loss in enumerate(references.get(variant, ()), start=1)]
    return [(step, loss) for step, loss in found if ends.get(step // SEED_STEPS) == step]


def _table(rows: list[Row], *, references: References) -> list[Row]:
    """The mean losses at the end of each stage."""
    table: list[Row] = []
    for variant, own in by_variant(rows).items():
        known = dict(reference_points([row for row in own if HELD_OUT in row], variant, references))
        table.append({"variant": variant})
        for (stage,), each in groups(own, "stage").items():
            for key, name in ((HELD_OUT, "validation"), (TRAINING, "training")):
                steps = [row["step"] for row in each if key in row]
                ends = [row for row in each if key in row and row["step"] == max(steps)]
                if ends:
                    table[-1][f"{name} loss after stage {stage}"] = mean(ends, key)
            if stage * SEED_STEPS in known:
                table[-1][f"starting document, training, stage {stage}"] = known[stage * SEED_STEPS]
    return table


class RowFields(VariantFields):
    stage: Whole
    step: Whole
    held_out: NotRequired[Number]
    training: NotRequired[Number]


CAPTION = (
    "Loss by optimizer step, over all stages: training loss with dropout, smoothed (left, where it is on record), and "
    "validation loss. Line: mean over seeds; shaded: 95 % t-interval. Grey in each panel: the baseline. Dashed across: "
    "what n-gram models reach on the same text. Hollow, where stages have 600 steps as in the document that this "
    "project started from: its training loss, with dropout, one seed, read off its pictures to about ±0.01; in its "
    "second stage a step has 64 blocks, in ours 8."
)


def stage_curves(references: References) -> Measurement:
    """Return the measurement of an experiment in stages.

    Args:
        references: training loss after each stage in the starting document, by variant.
    """
    draw, table = partial(_draw, references=references), partial(_table, references=references)
    return Measurement(
        "loss-by-step", _take, draw, table, of_runs=True, row=RowFields, with_baselines=True, caption=CAPTION
    )
