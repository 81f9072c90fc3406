"""How the cost of a training step grows: with parameters, tokens, the block's length and the window.

Along each axis one size doubles while all else stays as it is.  A step is the Trainer's own: forward, backward, clip,
optimizer, uncompiled.  Positions are rotary: learned ones are parameters, of which a longer block would have more.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from mingpt.benchmarks.attention import slope
from mingpt.benchmarks.base import machine_of, summary
from mingpt.benchmarks.options.base import VOCABULARY
from mingpt.benchmarks.options.scaling import Options
from mingpt.distributed.threads import cpu_threads, keep_threads
from mingpt.model import GPT
from mingpt.models.base import LanguageModel
from mingpt.models.config import GPTConfig
from mingpt.report import figures
from mingpt.report.palette import INK, Palette
from mingpt.trainer import Trainer
from mingpt.training.profiling import Spread, measure
from mingpt.training.trainer_config import TrainerConfig
from mingpt.utils import pick_device

logger = logging.getLogger(__name__)

CAPTION = (
    "Time of a training step as one size doubles and all else stays as it is. Dots: medians, with quartiles; lines: "
    "the powers fitted to all sizes and to the larger half."
)
WARMUP = 2  # steps of each before any is timed: the first makes the optimizer's averages
PICTURE, ROOM = (6.4, 5.8), 1.5  # inches; heights of what a panel shows, so that its legend stands above that


@dataclass(frozen=True)
class Shape:
    """What trains on what: a model's width, (batch, block) tokens, and the window; None: none."""

    width: int
    batch: int
    block: int
    window: int | None = None

    @property
    def tokens(self) -> int:
        return self.batch * self.block


@dataclass(frozen=True)
class Axis:
    """One way to grow.

    Attributes:
        size: (shape, model) -> the size that doubles; None: unbounded.
        label: what that is called.
        fixed: what stays as it is, of a `shape`.
        letter: letter of the size in a formula.
    """

    size: Callable[[Shape, LanguageModel], int | None]
    label: str
    fixed: str
    letter: str


AXES = {
    "parameters": Axis(
        lambda shape, model: model.parameter_count,
        "parameters P (the width doubles)",
        "{shape.tokens:,} tokens in blocks of {shape.block}",
        "P",
    ),
    "tokens": Axis(
        lambda shape, model: shape.tokens,
        "tokens T in a step (the batch doubles)",
        "width {shape.width}, blocks of {shape.block}",
        "T",
    ),
    "block": Axis(
        lambda shape, model: shape.block, "block length N", "width {shape.width}, {shape.tokens:,} tokens", "N"
    ),
    "window": Axis(
        lambda shape, model: shape.window, "window w", "width {shape.width}, a block of {shape.block:,}", "w"
    ),
}


def shapes(options: Options) -> dict[str, list[Shape]]:
    """Axis -> what is timed along it, the smallest first; along the window the last has none."""

    def doubling(most: int) -> list[int]:
        return [most >> halvings for halvings in reversed(range(options.sizes))]

    width, batch, block, length = options.width, options.batch, options.block, options.length
    windows = [*doubling(length // 2), None]
    return {
        "parameters": [Shape(wider, batch, block) for wider in doubling(options.most_width)],
        "tokens": [Shape(width, rows, block) for rows in doubling(options.most_batch)],
        "block": [Shape(width, length // positions, positions) for positions in doubling(length)],
        "window": [Shape(width, 1, length, window) for window in windows],
    }


def trainer(shape: Shape, options: Options, device: torch.device) -> Trainer:
    """One that trains a model of random weights, at every step on the same random tokens."""
    config = GPTConfig(
        n_layer=options.layers,
        n_query_head=options.heads,
        n_embd=shape.width,
        block_size=shape.block,
        window=shape.window,
        vocab_size=VOCABULARY,
        rope=True,
    )
    how = TrainerConfig(
        max_iters=WARMUP + options.rounds, batch_size=shape.batch, optimizer=options.optimizer, compile="never"
    )
    torch.manual_seed(0)
    inputs, targets = torch.randint(VOCABULARY, (2, shape.batch, shape.block))
    return Trainer(how, GPT(config).train(), lambda step: (inputs, targets), device=device)


def run(options: Options) -> dict[str, Any]:
    """Time every axis, its sizes alternating.

    Returns:
        What the last line of `chargpt bench growth` prints, a row per axis: its sizes, ms of a step at each, and the
        exponent of time in size, of all sizes and of the larger half; for the window also ms without one.
    """
    device = pick_device(options.device, "device")
    with cpu_threads(options.threads), keep_threads():
        rows = {axis: _row(axis, found, options, device) for axis, found in shapes(options).items()}
        machine = {**machine_of(device), "threads": torch.get_num_threads()}
    if options.figure is not None:
        draw(rows, Path(options.figure))
        logger.info(f"figure: {options.figure}")
    return {"bench": "growth", **asdict(options), **machine, "rows": rows}


def _row(axis: str, found: Sequence[Shape], options: Options, device: torch.device) -> dict[str, Any]:
    made = [trainer(shape, options, device) for shape in found]
    contestants = {str(place): one.step for place, one in enumerate(made)}
    seconds = measure(contestants, device, rounds=options.rounds, warmup=WARMUP).values()
    sizes = [AXES[axis].size(shape, one.model) for shape, one in zip(found, made, strict=True)]
    spreads = {size: spread for size, spread in zip(sizes, seconds, strict=True) if size is not None}
    larger = dict([*spreads.items()][len(spreads) // 2 :])
    row = {
        "fixed": AXES[axis].fixed.format(shape=found[0]),
        "sizes": [*spreads],
        "ms": [summary(spread, 1e-3) for spread in spreads.values()],
        "slope": summary(exponent(spreads)),
        "slope_larger": summary(exponent(larger)),
        "larger_from": min(larger),
        "none_ms": next((summary(s, 1e-3) for size, s in zip(sizes, seconds, strict=True) if size is None), None),
    }
    for line in _lines(axis, row):
        logger.info(line)
    return row


def exponent(spreads: Mapping[int, Spread]) -> Spread:
    """p of seconds ~ size^p, by least squares on logarithms, in each round: a drifting machine adds little."""
    rounds = zip(*(spread.values for spread in spreads.values()), strict=True)
    return Spread(tuple(slope([*spreads], values) for values in rounds))


def _lines(axis: str, row: Mapping[str, Any]) -> Iterator[str]:
    """What a person reads of one axis."""
    yield f"{AXES[axis].label}; {row['fixed']}"
    yield f"{AXES[axis].letter:>12} {'ms a step':>10}   quartiles"
    sizes = [f"{size:,}" for size in row["sizes"]]
    times = [*row["ms"], *([row["none_ms"]] if row["none_ms"] else [])]
    for size, ms in zip([*sizes, "none"], times, strict=False):
        yield f"{size:>12} {ms['median']:10.4g}   {ms['q1']:.4g} to {ms['q3']:.4g}"
    for name, found in (("all sizes", row["slope"]), (f"from {row['larger_from']:,} on", row["slope_larger"])):
        yield f"  {name}: {AXES[axis].letter}^{found['median']:.2f} ({found['q1']:.2f} to {found['q3']:.2f})"


def draw(rows: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """A panel per axis, both of its scales logarithmic, so that a power of the size is a straight line."""
    panels = [{"axis": axis, **row} for axis, row in rows.items()]
    slopes = "; ".join(
        f"{axis}: {AXES[axis].letter}^{row['slope_larger']['median']:.2f} in the larger half"
        for axis, row in rows.items()
    )
    figures.measured(_panels, panels, alt=f"Time of a step: {slopes}", caption=CAPTION).save(path)


def _panels(rows: list[dict[str, Any]], figure: Any, look: Palette) -> None:
    figure.set_size_inches(*PICTURE)
    for row, axes in zip(rows, figure.subplots(2, 2).flat, strict=True):
        _panel(row, axes, look)


def _panel(row: Mapping[str, Any], axes: Any, look: Palette) -> None:
    """Medians with their quartiles; the fitted powers through them, their exponents in the legend."""
    sizes, times, axis = row["sizes"], [ms["median"] for ms in row["ms"]], AXES[row["axis"]]
    apart = [[ms["median"] - ms["q1"] for ms in row["ms"]], [ms["q3"] - ms["median"] for ms in row["ms"]]]
    axes.errorbar(sizes, times, apart, fmt="o", ms=4, lw=1.2, color=INK, zorder=3)
    larger = sizes.index(row["larger_from"])
    for name, start, found in (("all sizes", 0, row["slope"]), ("larger half", larger, row["slope_larger"])):
        power = found["median"]
        x, level = sizes[start:], _level(sizes[start:], times[start:], power)
        label = f"{name}: ${axis.letter}^{{{power:.2f}}}$"
        axes.plot(x, [level * size**power for size in x], label=label, **{**look.line(name), "marker": None})
    if row["none_ms"]:
        axes.axhline(row["none_ms"]["median"], label="no window", **{**look.line("no window"), "marker": None})
    axes.set(xscale="log", yscale="log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, low * (high / low) ** ROOM)
    axes.set_xticks(sizes, [_short(size) for size in sizes])
    axes.set_xticks([], minor=True)
    figures.finish(axes, xlabel=axis.label, ylabel="ms a step", title=row["fixed"])
    axes.legend(loc="upper left", frameon=False, labelcolor=INK, handlelength=2.4)


def _level(sizes: Sequence[float], times: Sequence[float], power: float) -> float:
    """a of the line a size^power that lies nearest, by least squares on logarithms."""
    return math.exp(fmean(math.log(time / size**power) for size, time in zip(sizes, times, strict=True)))


def _short(size: int) -> str:
    """Three digits of what is too long for its place below an axis."""
    unit, letter = (1e6, "M") if size >= 1e6 else (1e3, "k")
    return f"{size / unit:.3g}{letter}" if size >= 1e4 else str(size)
