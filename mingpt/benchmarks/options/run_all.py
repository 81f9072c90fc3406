"""Options of `chargpt bench all`."""

from dataclasses import dataclass

from mingpt.benchmarks.benchmark import BENCHMARKS, Benchmark, run_of
from mingpt.benchmarks.options.base import parse_peers, positive, writable_figure


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time everything that there is to time, each with its own defaults.

    Attributes:
        threads: CPU threads
        peers: KIND or KIND=FOLDER with commas between, given to each benchmark that knows the kind; null: ours alone
        speedrun: also train to a loss, which takes a quarter of an hour with a peer
        figure: an .svg, .png or .pdf file to draw the ratios in, with their quartiles; null: none
    """

    threads: int = 2
    peers: str | None = None
    speedrun: bool = False
    figure: str | None = None

    def __post_init__(self) -> None:
        positive(self, "threads")
        known = timed(lengthy=True).values()
        clones = dict.fromkeys(kind for benchmark in known for kind in benchmark.clones)
        packages = dict.fromkeys(kind for benchmark in known for kind in benchmark.packages)
        parse_peers(self.peers, tuple(clones), tuple(packages))
        writable_figure(self.figure)


def timed(*, lengthy: bool) -> dict[str, Benchmark]:
    """All but this one; the lengthy ones only where wanted."""
    found = {name: BENCHMARKS[name] for name in BENCHMARKS if BENCHMARKS[name].options is not Options}
    return {name: benchmark for name, benchmark in found.items() if lengthy or benchmark.lengthy == ""}


BENCHMARKS.add("all")(Benchmark("Run each of the others, one after the other.", Options, run_of("run_all"), ratio=""))
