"""What `chargpt bench all` may be told."""

from dataclasses import dataclass

from mingpt.benchmarks.options.base import positive, writable_figure


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
        writable_figure(self.figure)
