"""Held-out loss along every stage of every arm: one line an arm, the mean of its seeds, all seeds' range shaded."""

from typing import Any

from typing_extensions import TypedDict

from mingpt.core.run_files.reading import each_line, judged
from mingpt.core.safe_parsing import Number, Whole
from mingpt.experiments.base import Lab, Measurement, Row
from mingpt.experiments.measurements.summaries import groups, mean
from mingpt.report.fonts import plain
from mingpt.report.palette import Palette


def _take(lab: Lab) -> list[Row]:
    rows = []
    for cell in lab.cells:
        before = 0
        for number, (config, folder) in enumerate(zip(cell.configs, cell.folders, strict=True), start=1):
            for record in each_line(folder / "metrics.jsonl"):
                loss = judged(record)
                if loss is not None:
                    where = {"arm": cell.arm, "seed": cell.seed, "stage": number}
                    rows.append({**where, "step": before + record["step"], "held_out": loss})
            before += config.trainer.max_iters
    return rows


def _draw(rows: list[Row], figure: Any, look: Palette) -> None:
    axes = figure.subplots()
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm]
        steps = sorted({row["step"] for row in own})
        losses = [[row["held_out"] for row in own if row["step"] == step] for step in steps]
        label = plain(f"{arm} (n = {len(losses[-1])})")
        axes.plot(steps, [sum(each) / len(each) for each in losses], label=label, **look.line(arm, len(steps)))
        span = ([end(each) for each in losses] for end in (min, max))
        axes.fill_between(steps, *span, alpha=0.15, lw=0, color=look.colour(arm))
    axes.set(xlabel="optimizer step, all stages", ylabel="validation loss, nats per token")
    axes.set_title("Validation loss, all stages")
    axes.legend(frameon=False)


def _table(rows: list[Row]) -> list[Row]:
    """The mean loss at the end of each stage."""
    table: list[Row] = []
    for (arm,), own in groups(rows, "arm").items():
        table.append({"variant": arm})
        for (stage,), each in groups(own, "stage").items():
            end = max(row["step"] for row in each)
            ends = [row for row in each if row["step"] == end]
            table[-1][f"validation loss after stage {stage}"] = mean(ends, "held_out")
    return table


class RowFields(TypedDict):
    arm: str
    stage: Whole
    step: Whole
    held_out: Number


CAPTION = (
    "Validation loss by optimizer step, over all stages. Line: mean of the seeds; shaded: their range. Dashed across: "
    "what n-gram models reach on the same text."
)
stage_curves = Measurement(
    "loss-by-step", _take, _draw, _table, of_runs=True, row=RowFields, beside_counts=True, caption=CAPTION
)
