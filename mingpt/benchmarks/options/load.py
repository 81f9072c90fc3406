"""Options of `chargpt bench load`."""

from dataclasses import dataclass

from mingpt.benchmarks.benchmark import BENCHMARKS, Benchmark, run_of
from mingpt.benchmarks.options.base import Rounds, parse_peers, positive
from mingpt.core.errors import require

CLONES = ("nanogpt",)


@dataclass(frozen=True, kw_only=True)
class Options(Rounds):
    """Time training and decoding next to 0, 1, 2 and 4 busy single-threaded processes.

    `ours-openmp` is the same training step with each operation divided among the threads instead of the batch.

    Attributes:
        seconds: length of each turn, at least one step
        peers: nanogpt=FOLDER, a clone of karpathy/nanoGPT; null: ours alone
    """

    seconds: float = 2.0
    peers: str | None = None
    rounds: int = 3
    threads: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "threads")
        require(self.seconds > 0, "seconds", self.seconds, "must be above 0")
        parse_peers(self.peers, CLONES)


BENCHMARKS.add("load")(
    Benchmark(
        "Time training and decoding next to busy processes.",
        Options,
        run_of("load"),
        ratio="",
        clones=CLONES,
        lengthy="some minutes, in which it keeps the machine busy",
    )
)
