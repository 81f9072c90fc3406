"""Validation loss along all stages of every variant."""

from typing import Any

from mingpt.core.run_files.reading import each_line, evaluated_loss
from mingpt.core.safe_parsing import Number, Whole
from mingpt.experiments.base import Lab, Measurement, Row, VariantFields
from mingpt.experiments.measurements.summaries import by_variant, groups, mean, mean_lines
from mingpt.report.palette import Palette


def _take(lab: Lab) -> list[Row]:
    rows = []
    for trial in lab.trials:
        before = 0
        for number, (config, folder) in enumerate(zip(trial.configs, trial.folders, strict=True), start=1):
            for record in each_line(folder / "metrics.jsonl"):
                loss = evaluated_loss(record)
                if loss is not None:
                    rows.append(trial.row(stage=number, step=before + record["step"], held_out=loss))
            before += config.trainer.max_iters
    return rows


def _draw(rows: list[Row], figure: Any, look: Palette) -> None:
    axes = figure.subplots()
    mean_lines(axes, rows, look, "step", "held_out")
    axes.set(xlabel="optimizer step, all stages", ylabel="validation loss, nats per token")
    axes.set_title("Validation loss, all stages")


def _table(rows: list[Row]) -> list[Row]:
    """The mean loss at the end of each stage."""
    table: list[Row] = []
    for variant, own in by_variant(rows).items():
        table.append({"variant": variant})
        for (stage,), each in groups(own, "stage").items():
            end = max(row["step"] for row in each)
            ends = [row for row in each if row["step"] == end]
            table[-1][f"validation loss after stage {stage}"] = mean(ends, "held_out")
    return table


class RowFields(VariantFields):
    stage: Whole
    step: Whole
    held_out: Number


CAPTION = (
    "Validation loss by optimizer step, over all stages. Line: mean of the seeds; shaded: their range. Dashed across: "
    "what n-gram models reach on the same text."
)
stage_curves = Measurement(
    "loss-by-step", _take, _draw, _table, of_runs=True, row=RowFields, with_baselines=True, caption=CAPTION
)
