"""Options of `chargpt bench attention`."""

from dataclasses import dataclass

from mingpt.benchmarks.benchmark import BENCHMARKS, Benchmark, run_of
from mingpt.benchmarks.options.base import Timing, device_beside, parse_peers, positive
from mingpt.core.errors import require

PACKAGES = ("local-attention",)
SHORTEST = 1024  # positions, for slopes


@dataclass(frozen=True, kw_only=True)
class Options(Timing):
    """Time a sliding window, forward and backward in the type that training uses, in several ways.

    Attributes:
        length: positions
        window: keys that a query sees, its own included
        heads: query heads, and as many key heads
        width: width of a head
        peers: local-attention, the installed package; null: ours alone
        slopes: whether to time 1k positions, 2k, ... up to length, and fit how seconds and bytes grow
    """

    length: int = 16384
    window: int = 256
    heads: int = 4
    width: int = 64
    peers: str | None = None
    slopes: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "length", "window", "heads", "width")
        require(self.window <= self.length, "window", self.window, f"must be at most length={self.length}")
        least = 2 * SHORTEST if self.slopes else 1
        require(self.length >= least, "length", self.length, f"must be at least {least}, for a slope")
        peers = parse_peers(self.peers, (), PACKAGES)
        device_beside(self.peers, self.device)
        require(not (peers and self.slopes), "peers", self.peers, "must be null with slopes=True")


BENCHMARKS.add("attention")(
    Benchmark(
        "Time a sliding window in several ways.",
        Options,
        run_of("attention"),
        ratio="times faster than full attention",
        packages=PACKAGES,
    )
)
