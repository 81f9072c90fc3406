"""Options of `chargpt bench speedrun`."""

from dataclasses import dataclass

from mingpt.benchmarks.benchmark import BENCHMARKS, Benchmark, run_of
from mingpt.benchmarks.options.base import parse_peers, positive
from mingpt.core.errors import require
from mingpt.core.paths import path_of
from mingpt.runs import config

CLONES = ("nanogpt",)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train to nanoGPT's final CPU-recipe loss, on the CPU, next to nanoGPT where you have a clone of it.

    Both are evaluated on the complete validation set in separate blocks of 64 tokens; seconds are of training.

    Attributes:
        seeds: rounds, with seeds 0, 1, ...; in each, ours and the peer train once
        peers: nanogpt=FOLDER, a clone of karpathy/nanoGPT; null: ours alone
        recipe: our settings: a preset, or a file, as `chargpt train` takes with `--preset` and `--config`
        data: the text, as `data.path`
        threads: CPU threads of each process
    """

    seeds: int = 5
    peers: str | None = None
    recipe: str = "speedrun"
    data: str = "tinyshakespeare"
    threads: int = 2

    def __post_init__(self) -> None:
        positive(self, "seeds", "threads")
        there = self.recipe in config.PRESETS or path_of(self.recipe).is_file()
        require(there, "recipe", self.recipe, f"must be a file of settings, or one of {', '.join(config.PRESETS)}")
        parse_peers(self.peers, CLONES)


BENCHMARKS.add("speedrun")(
    Benchmark(
        "Time whole trainings to a loss.",
        Options,
        run_of("speedrun"),
        ratio="times sooner ours reaches the other's final loss (0: never)",
        clones=CLONES,
        lengthy="a quarter of an hour with a peer",
    )
)
