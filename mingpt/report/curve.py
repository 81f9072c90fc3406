"""loss.png: a run's curve against the lines that counting alone reaches.  Made from the run folder's files only."""

import json
from pathlib import Path
from typing import Any

TITLE = "Held-out loss against what counting characters reaches"


def draw(run_dir: Path) -> Path:
    """Draw metrics.jsonl and baselines.json of `run_dir` into its loss.png, and return that path."""
    from matplotlib.figure import Figure  # 0.5 s, and only where a picture is drawn

    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    lines: dict[str, float] = json.loads((run_dir / "baselines.json").read_text(encoding="utf-8"))
    figure = Figure(figsize=(9, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    steps = [record["step"] for record in records]
    axes.plot(steps, _smoothed([r["train_loss"] for r in records]), color="#9aa7b8", lw=1.2, label="training, smoothed")
    judged = [(r["step"], r.get("val_loss", r.get("val_loss_part"))) for r in records]
    judged = [point for point in judged if point[1] is not None]
    if judged:
        axes.plot(*zip(*judged, strict=True), color="#0b5cad", lw=2, marker="o", ms=4, label="held out")
        _label(axes, judged[-1], steps[0])
    for name, loss in lines.items():
        axes.axhline(loss, color="#b4642d", lw=0.8, ls="--", zorder=0)
        axes.annotate(
            f"{name} {loss:.2f}", (1, loss), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8
        )
    axes.set(xlabel="optimizer step", ylabel="nats per token", title=TITLE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper center")
    figure.savefig(run_dir / "loss.png")
    return run_dir / "loss.png"


def _label(axes: Any, point: tuple[int, float], first: int) -> None:
    axes.annotate(
        f"{point[1]:.3f}",
        point,
        textcoords="offset points",
        xytext=(-6, -14),
        ha="right",
        color="#0b5cad",
        weight="bold",
    )


def _smoothed(values: list[float], keep: float = 0.9) -> list[float]:
    """A running average that starts at the first value."""
    smooth, out = values[0], []
    for value in values:
        smooth = keep * smooth + (1 - keep) * value
        out.append(smooth)
    return out
