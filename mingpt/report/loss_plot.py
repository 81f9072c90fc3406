"""loss.png: a run's curve against the lines that n-gram models reach.  Made from the run folder's files only."""

from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mingpt.core.atomic_io import save_picture
from mingpt.core.run_files.curves import moving_average
from mingpt.core.run_files.reading import Line, each_line, evaluated_loss, read_losses
from mingpt.core.run_files.records import TrainedStep
from mingpt.report.palette import COLOURS, LINE, PAPER, QUIET
from mingpt.report.plotting import figure_settings, new_figure

TITLE = "Validation loss, and what n-gram models reach"
NOT_EVALUATED = "Training loss; there is no validation loss to compare with anything"


def draw(run_dir: Path) -> Path:
    """Draw metrics.jsonl and baselines.json of `run_dir` into its loss.png, and return that path."""
    with figure_settings():
        return save_picture(figure(run_dir), run_dir / "loss.png")


def figure(run_dir: Path) -> Any:
    """Return what `draw` draws, a matplotlib Figure."""
    steps, losses, evaluations = array("q"), array("d"), []  # numbers alone, however many steps there are
    for line in each_line(run_dir / "metrics.jsonl", Line, TrainedStep):
        steps.append(line["step"])
        losses.append(line["train_loss"])
        loss = evaluated_loss(line)
        evaluations += [] if loss is None else [(line["step"], loss)]
    lines = read_losses(run_dir / "baselines.json") if evaluations else {}  # of the validation set
    with figure_settings():
        return _drawn(steps, losses, evaluations, lines)


def _drawn(
    steps: Sequence[int], losses: Sequence[float], evaluations: Sequence[tuple[int, float]], lines: Mapping[str, float]
) -> Any:
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(figsize=(9, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    smooth = [*map(moving_average(), losses)]
    alone = len(steps) == 1  # an n-gram model makes one step: no line, but a point
    axes.plot(steps, smooth, "o" if alone else "-", ms=4, color=QUIET, alpha=0.7, lw=1.2, label="training, smoothed")
    if evaluations:
        axes.plot(*zip(*evaluations, strict=True), color=COLOURS[0], lw=2, marker="o", ms=4, label="validation")
        axes.annotate(
            f"{evaluations[-1][1]:.3f}",
            evaluations[-1],
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            color=COLOURS[0],
            weight="bold",
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1},
        )
    for loss in lines.values():
        axes.axhline(loss, color=LINE, lw=0.8, ls="--", zorder=0)
    axes.set_ylim(bottom=min([*lines.values(), axes.get_ylim()[0] + 0.1]) - 0.1)
    if alone:
        axes.set_xlim(steps[0] - 1, steps[0] + 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    low, high = axes.get_ylim()
    for height, text in labels(lines, apart=0.04 * (high - low), low=low, high=high):
        axes.annotate(text, (1.01, height), xycoords=("axes fraction", "data"), va="center", color=LINE, fontsize=9)
    axes.set(xlabel="optimizer step", ylabel="nats per token", title=TITLE if evaluations else NOT_EVALUATED)
    axes.legend(frameon=False, loc="upper center")
    return figure


def labels(lines: Mapping[str, float], *, apart: float, low: float, high: float) -> list[tuple[float, str]]:
    """Where to write each line's name, from the lowest: at its height; those that would collide spread about their
    middle, `apart` from each other, all within `low` to `high` as far as there is room.
    """
    ordered = sorted(lines.items(), key=lambda line: line[1])
    crowds: list[list[float]] = []  # heights of lines whose labels stand in one column
    for _, loss in ordered:
        crowds.append([loss])
        while len(crowds) > 1 and _column(crowds[-1], apart, low, high)[0] < (
            _column(crowds[-2], apart, low, high)[-1] + apart
        ):
            last = crowds.pop()
            crowds[-1] += last
    heights = [height for crowd in crowds for height in _column(crowd, apart, low, high)]
    return [(height, f"{name} {loss:.2f}") for height, (name, loss) in zip(heights, ordered, strict=True)]


def _column(losses: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Heights of labels `apart` from each other about the middle of their lines, moved to within the borders."""
    length = apart * (len(losses) - 1)
    bottom = max(min(sum(losses) / len(losses) - length / 2, high - length), low)
    return [bottom + apart * place for place in range(len(losses))]
