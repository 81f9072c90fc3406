"""A loss curve in characters: training as braille dots, validation as points, n-gram baselines as dashed rows.

A cell of the terminal holds 2 x 4 dots.  Rows and dots are counted from the top; the x axis is the whole run, so that
the curve grows to the right as the run goes on.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from rich.text import Text

from mingpt.core.run_files.curves import moving_average
from mingpt.report.loss_plot import labels

BUCKETS = 512  # of steps whose losses are kept as one, more than a terminal has columns of dots
BRAILLE, DOTS = 0x2800, ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a cell, by row and column
STYLES = {"training": "default", "validation": "bold cyan", "baselines": "yellow", "axes": "bright_black"}
EARLY = 0.02  # of a run, its steep beginning: may leave the picture at the top once there is more
LEAST_RANGE = 0.4  # nats that are shown at least
WIDE = 60  # columns from which on the baselines' labels have their losses
TITLED = 9  # rows from which on there is a legend


class History:
    """The losses of a run of so many steps, thinned to what a terminal can show."""

    def __init__(self, steps: int) -> None:
        self.steps, self.validation = steps, list[tuple[int, float]]()
        self.baselines: Mapping[str, float] = {}
        self._smooth = moving_average(min(steps / 1000, 0.9))  # of a short run each step is seen
        self._sums = [[0.0, 0.0, 0.0] for _ in range(BUCKETS)]  # of steps, of losses, and how many

    def add(self, step: int, training: float, validation: float | None = None) -> None:
        """Take the losses after a step, in nats, from 1."""
        bucket = self._sums[min((step - 1) * BUCKETS // self.steps, BUCKETS - 1)]
        for place, value in enumerate((step, self._smooth(training), 1)):
            bucket[place] += value
        if validation is not None:
            self.validation.append((step, validation))

    @property
    def training(self) -> list[tuple[float, float]]:
        """Smoothed training losses, each with its step, in order."""
        return [(step / number, loss / number) for step, loss, number in self._sums if number]


@dataclass(frozen=True)
class Area:
    """The cells of a plot, and what they stand for: steps 0 to `steps`, losses `low` to `high` from the bottom."""

    columns: int
    rows: int
    steps: int
    low: float
    high: float
    cells: dict[tuple[int, int], tuple[str, str]] = field(default_factory=dict)  # (row, column): character, style
    dots: dict[tuple[int, int], int] = field(default_factory=dict)

    def x(self, step: float) -> int:
        """The column of dots of a step."""
        return round(step / self.steps * (2 * self.columns - 1))

    def y(self, loss: float) -> int:
        """The row of dots of a loss; what lies outside is at the border."""
        share = (self.high - loss) / (self.high - self.low)
        return round(min(max(share, 0), 1) * (4 * self.rows - 1))

    def line(self, points: Iterable[tuple[float, float]]) -> None:
        """Dots along straight lines between (step, loss) points."""
        last: tuple[int, int] | None = None
        for step, loss in points:
            x, y = self.x(step), self.y(loss)
            from_x, from_y = last or (x, y)
            length = max(abs(x - from_x), abs(y - from_y), 1)
            for part in range(length + 1):
                self._dot(from_x + round((x - from_x) * part / length), from_y + round((y - from_y) * part / length))
            last = x, y

    def _dot(self, x: int, y: int) -> None:
        cell = y // 4, x // 2
        self.dots[cell] = self.dots.get(cell, 0) | DOTS[y % 4][x % 2]

    def dash(self, row: int) -> None:
        """A dashed line through a row, under the dots."""
        for column in range(self.columns):
            if (row, column) not in self.dots:
                self.cells[row, column] = "╌", STYLES["baselines"]

    def row(self, number: int) -> Text:
        """A row of cells: characters over dots."""
        cells = [self.cells.get((number, column)) or self._dotted(number, column) for column in range(self.columns)]
        runs = groupby(cells, key=lambda cell: cell[1])  # few styles a row make it quick to print
        return Text.assemble(*(("".join(cell[0] for cell in run), style) for style, run in runs))

    def _dotted(self, row: int, column: int) -> tuple[str, str]:
        dots = self.dots.get((row, column))
        return (chr(BRAILLE + dots), STYLES["training"]) if dots else (" ", STYLES["training"])


def draw(history: History, width: int, height: int) -> list[Text]:
    """The plot of what `history` has, one step at least, as `height` lines of `width` cells at most."""
    low, high = _range(history)
    title = height >= TITLED
    rows = height - 1 - title
    ticks = _ticks(low, high, rows)
    margin = max(len(name) for name in ticks.values())
    names = _names(history.baselines, low, high, rows, losses=width >= WIDE)
    right = max([len(name) + 1 for name in names.values()], default=0)
    area = Area(max(width - margin - 1 - right, 8), rows, history.steps, low, high)
    area.line(history.training)
    for loss in history.baselines.values():
        if low <= loss <= high:
            area.dash(area.y(loss) // 4)
    for step, loss in history.validation:
        area.cells[area.y(loss) // 4, area.x(step) // 2] = "●", STYLES["validation"]
    marks = {area.y(tick) // 4: name for tick, name in ticks.items()}
    lines = [_legend(history)] if title else []
    for row in range(rows):
        edge = f"{marks[row]:>{margin}}┤" if row in marks else f"{'':>{margin}}│"
        name = (f" {names[row]}", STYLES["baselines"]) if row in names else ""
        lines.append(Text.assemble((edge, STYLES["axes"]), area.row(row), name))
    return [*lines, Text(f"{'':>{margin}}{_steps(history.steps, area.columns + 1)}", STYLES["axes"])]


def _range(history: History) -> tuple[float, float]:
    """The lowest and the highest loss shown."""
    points = [*history.training, *history.validation]
    late = [loss for step, loss in points if step > EARLY * history.steps] or [loss for _, loss in points]
    high = min(max(late), history.training[0][1] + 1)  # one that explodes leaves at the top
    low = min([*late, *history.baselines.values()])
    pad = max(0.02 * (high - low), (LEAST_RANGE - (high - low)) / 2)
    return min(low, high) - pad, high + pad


def _ticks(low: float, high: float, rows: int) -> dict[float, str]:
    """Round losses with their labels, three rows apart or more."""
    least = (high - low) * 3 / max(rows, 3)
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
    digits = max(-math.floor(math.log10(step) + 1e-9), 0)
    first, last = math.ceil(low / step), math.floor(high / step)
    return {number * step: f"{number * step:.{digits}f}" for number in range(first, last + 1)} or {high: f"{high:.2f}"}


def _names(baselines: Mapping[str, float], low: float, high: float, rows: int, losses: bool) -> dict[int, str]:
    """Labels by their rows: at their lines, moved apart where these are close together."""
    shown = {name: loss for name, loss in baselines.items() if low <= loss <= high}
    nats_per_row, names, above = (high - low) / rows, dict[int, str](), rows
    for height, text in labels(shown, apart=nats_per_row, low=low, high=high):
        above = min(int((high - height) / nats_per_row), above - 1)
        if above >= 0:
            names[above] = text if losses else text.rpartition(" ")[0]
    return names


def _legend(history: History) -> Text:
    parts = [("nats per token: ", STYLES["axes"]), ("⠒ training", STYLES["training"])]
    parts += [("  ● validation", STYLES["validation"])] if history.validation else []
    parts += [("  ╌ n-gram", STYLES["baselines"])] if history.baselines else []
    return Text.assemble(*parts)


def _steps(steps: int, columns: int) -> str:
    """The labels of the x axis: the first step, the last, and the middle where there is room."""
    end = f"{steps:,} steps"
    middle = f"{steps // 2:,}" if steps >= 4 and columns >= 2 * len(end) + 12 else ""
    half = f"0{middle:>{columns // 2}}" if middle else "0"
    return f"{half}{end:>{max(columns - len(half), 0)}}"
