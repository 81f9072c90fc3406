"""Options of `chargpt bench grouped`."""

from dataclasses import dataclass

from mingpt.benchmarks.benchmark import BENCHMARKS, Benchmark, run_of
from mingpt.benchmarks.options.base import Timing, positive
from mingpt.core.errors import require

STEPS = 20  # tokens written in one timing


@dataclass(frozen=True, kw_only=True)
class Options(Timing):
    """Time an attention layer with fewer and fewer key/value heads.

    Attributes:
        heads: query heads; every divisor of it is a number of key/value heads
        width: width of the residual stream
        length: positions; a token is written after that many, less the tokens written
        batch: rows
    """

    heads: int = 8
    width: int = 256
    length: int = 512
    batch: int = 8
    rounds: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "heads", "width", "batch")
        require(
            self.width % (2 * self.heads) == 0, "width", self.width, f"must be a multiple of 2 x heads={self.heads}"
        )
        require(self.length > STEPS, "length", self.length, f"must be above {STEPS}, the tokens written")


BENCHMARKS.add("grouped")(
    Benchmark(
        "Time a layer with fewer key/value heads.",
        Options,
        run_of("gqa"),
        ratio="times faster than with all key/value heads, both ways",
        takes=True,
    )
)
