"""Options of `chargpt bench processes`."""

from dataclasses import dataclass

from mingpt.benchmarks.benchmark import BENCHMARKS, Benchmark, run_of
from mingpt.benchmarks.options.base import Timing, positive
from mingpt.core.errors import require

WARMUP = 10  # steps that are not timed
BATCH, ACCUMULATION = 12, 3


@dataclass(frozen=True, kw_only=True)
class Options(Timing):
    """Train with several processes and with one, and compare losses, speed, and what a kill costs.

    Attributes:
        processes: processes that share a training
        steps: steps of each training
        kills: trainings by each strategy, besides these, of which one process is killed at a random moment; torchrun
            starts them again
        threads: CPU threads of each process
    """

    processes: int = 2
    steps: int = 50
    kills: int = 0
    rounds: int = 2
    threads: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "threads")
        require(self.processes >= 2, "processes", self.processes, "must be at least 2")
        require(self.steps > WARMUP, "steps", self.steps, f"must be above {WARMUP}, which are not timed")
        require(self.kills >= 0, "kills", self.kills, "must be 0 or more")
        parts = self.processes * -(-ACCUMULATION // self.processes)
        require(BATCH % parts == 0, "processes", self.processes, f"must share a batch of {BATCH} blocks evenly")


BENCHMARKS.add("processes")(
    Benchmark(
        "Train with several processes and with one.",
        Options,
        run_of("distributed"),
        ratio="times as many tokens per second as one process",
        lengthy="some three minutes",
    )
)
