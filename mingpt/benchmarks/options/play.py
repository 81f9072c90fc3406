"""What `chargpt bench play` may be told."""

from dataclasses import dataclass

from mingpt.benchmarks.benchmark import BENCHMARKS, Benchmark, run_of
from mingpt.benchmarks.options.base import Rounds
from mingpt.core.errors import require
from mingpt.core.paths import path_of
from mingpt.core.run_files.records import is_run


@dataclass(frozen=True, kw_only=True)
class Options(Rounds):
    """Time the page of `chargpt play`: its start, the first token after a click, what follows a pointer or a slider.

    Attributes:
        run: a run folder; null: one with the default settings, which is trained for a step
        starts: times that the server is started
    """

    run: str | None = None
    starts: int = 3
    rounds: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.starts >= 1, "starts", self.starts, "must be at least 1")
        there = self.run is None or is_run(path_of(self.run))
        require(there, "run", self.run, "must be a run folder (one with config.yaml), or null")


BENCHMARKS.add("play")(
    Benchmark(
        "Time the page of `chargpt play`.",
        Options,
        run_of("play"),
        ratio="",
        lengthy="a minute, most of it for a run to show",
    )
)
