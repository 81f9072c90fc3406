"""Options of `chargpt bench rnn`."""

from dataclasses import dataclass

from mingpt.benchmarks.benchmark import BENCHMARKS, Benchmark, run_of
from mingpt.benchmarks.options.base import Timing, positive


@dataclass(frozen=True, kw_only=True)
class Options(Timing):
    """Time a recurrence against PyTorch's own.

    Attributes:
        width: width of inputs and of hidden vectors
        length: length in steps
        batch: number of rows
    """

    width: int = 256
    length: int = 128
    batch: int = 32
    rounds: int = 15

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "width", "length", "batch")


BENCHMARKS.add("rnn")(
    Benchmark(
        "Time a recurrence against PyTorch's.",
        Options,
        run_of("rnn"),
        ratio="times faster than nn.RNN relu",
        takes=True,
    )
)
