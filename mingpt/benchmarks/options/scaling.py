"""Options of `chargpt bench growth`."""

from dataclasses import dataclass

from mingpt.benchmarks.benchmark import BENCHMARKS, Benchmark, run_of
from mingpt.benchmarks.options.base import ModelTiming, positive, writable_figure
from mingpt.core.errors import require
from mingpt.training.trainer_config import OPTIMIZERS, TrainerConfig

FEWEST = 3  # sizes of an axis, so that there are two in its larger half


@dataclass(frozen=True, kw_only=True)
class Options(ModelTiming):
    """Time a training step while one size doubles and all else stays as it is.

    Attributes:
        block: positions, where parameters or tokens grow
        batch: rows, where parameters grow
        sizes: how many of each axis, each twice the one before
        most_width: the largest width
        most_batch: the most rows
        length: the longest block; tokens of a step where the block or the window grows
        optimizer: adamw or muon
        figure: an .svg, .png or .pdf file to draw milliseconds and exponents in; null: none
    """

    layers: int = 2
    heads: int = 2
    width: int = 128
    block: int = 64
    batch: int = 16
    sizes: int = 6
    most_width: int = 512
    most_batch: int = 64
    length: int = 4096
    optimizer: str = TrainerConfig.optimizer
    rounds: int = 5
    figure: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "block", "batch")
        require(self.sizes >= FEWEST, "sizes", self.sizes, f"must be at least {FEWEST}, for a slope of the larger half")
        pairs, halvings = 2 * self.heads, self.sizes - 1  # rotary positions turn pairs of a head's numbers
        for name, unit in (
            ("width", pairs),
            ("most_width", pairs << halvings),
            ("most_batch", 1 << halvings),
            ("length", 2 << halvings),  # the largest window is half of it
        ):
            value = getattr(self, name)
            rule = f"must be a multiple of {unit}, with heads={self.heads} and sizes={self.sizes}"
            require(value >= unit and value % unit == 0, name, value, rule)
        require(self.optimizer in OPTIMIZERS, "optimizer", self.optimizer, f"must be one of {', '.join(OPTIMIZERS)}")
        writable_figure(self.figure)


BENCHMARKS.add("growth")(
    Benchmark("Time a training step as it grows along four axes.", Options, run_of("scaling"), ratio="")
)
