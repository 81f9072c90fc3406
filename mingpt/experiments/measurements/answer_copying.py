"""Whether a trained model copies its answers: its training loss, and which inputs move which of its outputs."""

from typing import Any

import numpy as np
import torch
from typing_extensions import TypedDict

from mingpt.core.run_files.curves import Curve, mean_curve
from mingpt.core.run_files.records import read_run
from mingpt.core.safe_parsing import Many, Number, Whole
from mingpt.experiments.base import Lab, Measurement, Row
from mingpt.experiments.measurements.context_length import last_runs
from mingpt.experiments.measurements.summaries import groups, mean
from mingpt.inference.causality import dependency_map, future_dependencies
from mingpt.report.fonts import plain
from mingpt.report.heatmaps import influence_square, token_name
from mingpt.report.palette import Palette

SHOWN = 24  # tokens of a map
ACROSS = 2  # maps beside each other
BAR = 0.05  # height of a colour bar, in those of a map
BARS = {
    True: "total variation distance, by an earlier input or its own (grey: not a bit moves)",
    False: "by a later input (pink: not a bit moves)",
}
TITLES = {"training": "training loss, smoothed", "held out": "validation loss"}


def _losses(lab: Lab) -> list[Row]:
    """Training loss of every run, smoothed; held-out loss where the run has one."""
    rows = []
    for cell in lab.cells:
        run = read_run(cell.folders[-1])
        for kind, curve in (("training", run.training()), ("held out", run.held_out())):
            if curve.steps:
                where = {"arm": cell.arm, "seed": cell.seed, "loss": kind}
                rows.append({**where, "steps": curve.steps, "nats": [round(loss, 5) for loss in curve.losses]})
    return rows


def _draw_losses(rows: list[Row], figure: Any, look: Palette) -> None:
    figure.suptitle("Loss in training, and on the validation text")
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), TITLES, strict=True):
        for arm in arms:
            own = [row for row in rows if (row["arm"], row["loss"]) == (arm, kind)]
            curves = [
                Curve(seed=row["seed"], steps=row["steps"], seconds=row["steps"], losses=row["nats"]) for row in own
            ]
            for curve in curves:
                axes.plot(curve.steps, curve.losses, color=look.colour(arm), ls="-", lw=0.7, alpha=0.4)
            if curves:
                middle = mean_curve(curves)
                label = plain(f"{arm} (n = {len(curves)})") if kind == "training" else None
                axes.plot(middle.steps, middle.losses, label=label, **look.line(arm, len(middle.steps)))
        without = [arm for arm in arms if (arm, kind) not in {(row["arm"], row["loss"]) for row in rows}]
        title = TITLES[kind] + "".join(f"; none for\n{arm}" for arm in without)
        axes.set_title(title, fontsize=8.5)
        axes.set(xlabel="optimizer step", ylim=(0, None))
    figure.axes[0].set_ylabel("nats per token")
    figure.axes[0].legend(frameon=False)


def _leaks(lab: Lab) -> list[Row]:
    """A row an output: how far each input, replaced, moves it."""
    rows = []
    for cell, trained, corpus in last_runs(lab):
        ids = corpus.data.validation[: min(SHOWN, trained.model.config.block_size)]
        map_ = dependency_map(trained.model, torch.from_numpy(ids.astype("int64")))
        for output, moved in enumerate(map_.tolist()):
            where = {"arm": cell.arm, "seed": cell.seed, "output": output}
            token = trained.tokenizer.decode(ids[output : output + 1].tolist())
            later = sum(i == output for i, _ in future_dependencies(map_))
            rows.append(
                {**where, "token": token, "later_inputs": later, "moved": [float(f"{each:.3g}") for each in moved]}
            )
    return rows


def _draw_leaks(rows: list[Row], figure: Any, look: Palette) -> None:
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    lines = -(-len(arms) // ACROSS)
    figure.set_size_inches(5.0, 1.6 + 2.7 * lines)
    figure.suptitle("Which inputs (columns) move which predictions (rows)")
    grid = figure.add_gridspec(lines + len(BARS), ACROSS, height_ratios=[*[1] * lines, *[BAR] * len(BARS)])
    panels = [figure.add_subplot(grid[place // ACROSS, place % ACROSS]) for place in range(len(arms))]
    for axes, arm in zip(panels, arms, strict=True):
        own = sorted((row for row in rows if row["arm"] == arm), key=lambda row: row["output"])
        moved = np.array([row["moved"] for row in own])
        halves = influence_square(axes, moved)
        names = [token_name(str(row["token"])) for row in own]
        axes.set_xticks(range(len(names)), names, fontsize=5)
        axes.set_yticks(range(len(names)), names, fontsize=5)
        axes.tick_params(length=0, pad=1)
        count = sum(row["later_inputs"] for row in own)
        axes.set_title(f"{plain(arm)}:\n{count or 'none'} by a later input", fontsize=8.5)
        axes.set_xlabel("input that is replaced", fontsize=8)
        axes.set_ylabel("prediction after this token", fontsize=8)
    for row, (own_or_earlier, said) in enumerate(BARS.items(), start=lines):
        beside = figure.add_subplot(grid[row, :])
        bar = figure.colorbar(halves[own_or_earlier], cax=beside, orientation="horizontal")
        bar.set_label(said, fontsize=8)
        bar.ax.tick_params(labelsize=7)


def _loss_table(rows: list[Row]) -> list[Row]:
    ends = [{**row, "end": row["nats"][-1]} for row in rows if row["loss"] == "training"]
    return [
        {"variant": arm, "last training loss, nats": mean(own, "end")} for (arm,), own in groups(ends, "arm").items()
    ]


def _leak_table(rows: list[Row]) -> list[Row]:
    size = max(row["output"] for row in rows) + 1
    return [
        {
            "variant": arm,
            "predictions moved by a later input": sum(row["later_inputs"] for row in own),
            "pairs": size * (size - 1) // 2,
        }
        for (arm,), own in groups(rows, "arm").items()
    ]


class LossesFields(TypedDict):
    arm: str
    seed: Whole
    loss: str
    steps: Many[Whole]
    nats: Many[Number]


class OutputsFields(TypedDict):
    arm: str
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
