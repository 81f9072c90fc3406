"""Whether a trained model copies its answers: its training loss, and which inputs move which of its outputs."""

from typing import Any

import numpy as np
import torch

from mingpt.core.run_files.curves import Curve, mean_curve
from mingpt.core.run_files.records import read_run
from mingpt.core.safe_parsing import Many, Number, Whole
from mingpt.experiments.base import Lab, Measurement, Row, VariantFields
from mingpt.experiments.measurements.context_length import last_runs
from mingpt.experiments.measurements.summaries import by_variant, mean
from mingpt.inference.causality import dependency_map, future_dependencies
from mingpt.report.fonts import plain
from mingpt.report.heatmaps import influence_square, token_name
from mingpt.report.palette import Palette

SHOWN = 24  # tokens of a map
ACROSS = 2  # maps in a row
BAR = 0.05  # height of a colour bar, in those of a map
BARS = {
    True: "total variation distance, by an earlier input or its own (grey: not a bit moves)",
    False: "by a later input (pink: not a bit moves)",
}
TITLES = {"training": "training loss, smoothed", "held out": "validation loss"}


def _losses(lab: Lab) -> list[Row]:
    """Training loss of every run, smoothed; validation loss where the run has one."""
    rows = []
    for trial in lab.trials:
        run = read_run(trial.folders[-1])
        for kind, curve in (("training", run.training()), ("held out", run.validation())):
            if curve.steps:
                nats = [round(loss, 5) for loss in curve.losses]
                rows.append(trial.row(loss=kind, steps=curve.steps, nats=nats))
    return rows


def _draw_losses(rows: list[Row], figure: Any, look: Palette) -> None:
    figure.suptitle("Loss in training, and on the validation text")
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), TITLES, strict=True):
        title = TITLES[kind]
        for variant, own in by_variant(rows).items():
            curves = [
                Curve(seed=row["seed"], steps=row["steps"], seconds=row["steps"], losses=row["nats"])
                for row in own
                if row["loss"] == kind
            ]
            for curve in curves:
                axes.plot(curve.steps, curve.losses, color=look.colour(variant), ls="-", lw=0.7, alpha=0.4)
            if curves:
                middle = mean_curve(curves)
                label = plain(f"{variant} (n = {len(curves)})") if kind == "training" else None
                axes.plot(middle.steps, middle.losses, label=label, **look.line(variant, len(middle.steps)))
            else:
                title += f"; none for\n{variant}"
        axes.set_title(title, fontsize=8.5)
        axes.set(xlabel="optimizer step", ylim=(0, None))
    figure.axes[0].set_ylabel("nats per token")
    figure.axes[0].legend(frameon=False)


def _leaks(lab: Lab) -> list[Row]:
    """Return a row per output: how far each input, replaced, moves it."""
    rows = []
    for trial, trained, corpus in last_runs(lab):
        ids = corpus.data.validation[: min(SHOWN, trained.model.config.block_size)]
        map_ = dependency_map(trained.model, torch.from_numpy(ids.astype("int64")))
        for output, moved in enumerate(map_.tolist()):
            token = trained.tokenizer.decode(ids[output : output + 1].tolist())
            later = sum(i == output for i, _ in future_dependencies(map_))
            short = [float(f"{each:.3g}") for each in moved]
            rows.append(trial.row(output=output, token=token, later_inputs=later, moved=short))
    return rows


def _draw_leaks(rows: list[Row], figure: Any, look: Palette) -> None:
    variants = by_variant(rows)
    lines = -(-len(variants) // ACROSS)
    figure.set_size_inches(5.0, 1.6 + 2.7 * lines)
    figure.suptitle("Which inputs (columns) move which predictions (rows)")
    grid = figure.add_gridspec(lines + len(BARS), ACROSS, height_ratios=[*[1] * lines, *[BAR] * len(BARS)])
    panels = [figure.add_subplot(grid[place // ACROSS, place % ACROSS]) for place in range(len(variants))]
    for axes, (variant, own) in zip(panels, variants.items(), strict=True):
        own.sort(key=lambda row: row["output"])
        moved = np.array([row["moved"] for row in own])
        halves = influence_square(axes, moved)
        names = [token_name(str(row["token"])) for row in own]
        axes.set_xticks(range(len(names)), names, fontsize=5)
        axes.set_yticks(range(len(names)), names, fontsize=5)
        axes.tick_params(length=0, pad=1)
        count = sum(row["later_inputs"] for row in own)
        axes.set_title(f"{plain(variant)}:\n{count or 'none'} by a later input", fontsize=8.5)
        axes.set_xlabel("input that is replaced", fontsize=8)
        axes.set_ylabel("prediction after this token", fontsize=8)
    for row, (own_or_earlier, label) in enumerate(BARS.items(), start=lines):
        bar = figure.colorbar(halves[own_or_earlier], cax=figure.add_subplot(grid[row, :]), orientation="horizontal")
        bar.set_label(label, fontsize=8)
        bar.ax.tick_params(labelsize=7)


def _loss_table(rows: list[Row]) -> list[Row]:
    ends = [{**row, "end": row["nats"][-1]} for row in rows if row["loss"] == "training"]
    return [{"variant": each, "last training loss, nats": mean(own, "end")} for each, own in by_variant(ends).items()]


def _leak_table(rows: list[Row]) -> list[Row]:
    size = max(row["output"] for row in rows) + 1
    return [
        {
            "variant": variant,
            "predictions moved by a later input": sum(row["later_inputs"] for row in own),
            "pairs": size * (size - 1) // 2,
        }
        for variant, own in by_variant(rows).items()
    ]


class LossesFields(VariantFields):
    seed: Whole
    loss: str
    steps: Many[Whole]
    nats: Many[Number]


class OutputsFields(VariantFields):
    output: Whole
    token: str
    later_inputs: Whole
    moved: Many[Number]


training_loss = Measurement(
    "loss-in-training",
    _losses,
    _draw_losses,
    _loss_table,
    of_runs=True,
    row=LossesFields,
    caption="Training loss (left) and validation loss (right) by optimizer step. Thick line: mean of the seeds; "
    "thin: each.",
)
leak_map = Measurement(
    "leak-map",
    _leaks,
    _draw_leaks,
    _leak_table,
    of_runs=True,
    of_model=True,
    first_seed=True,
    row=OutputsFields,
    caption="Which inputs (columns) move which predictions (rows). Blue: an earlier input or the last one, as it may "
    "be; red, above the diagonal: a later input, which the prediction must not see.",
)
