"""What a benchmark is, and what all of them print."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mingpt.errors import require
from mingpt.probe import Spread
from mingpt.registry import Registry

Say = Callable[[str], None]


@dataclass(frozen=True)
class Benchmark:
    """One thing to time.

    Attributes:
        about: one sentence, for help.
        options: the dataclass of its settings.
        run: (options, say) -> what its last line prints as JSON.
    """

    about: str
    options: type
    run: Callable[[Any, Say], dict[str, Any]]


BENCHMARKS: Registry[Benchmark] = Registry("bench")


def parse_peers(text: str | None, clones: Sequence[str], packages: Sequence[str] = ()) -> dict[str, str]:
    """`CLONE=FOLDER,PACKAGE,...` -> the folder of each kind; "" for an installed package.

    Raises:
        UsageError: an unknown kind, a clone that isn't there, or a folder given for a package.
    """
    peers: dict[str, str] = {}
    for part in (text or "").split(","):
        kind, given, path = part.partition("=")
        if part:
            require(kind in (*clones, *packages), "peers", part, f"must be of {', '.join((*clones, *packages))}")
            require(
                kind in packages or bool(path and Path(path).is_dir()), "peers", part, "must be KIND=FOLDER of a clone"
            )
            require(kind in clones or not given, "peers", part, f"must be {kind} alone: it is an installed package")
            peers[kind] = path
    return peers


def summary(spread: Spread, unit: float = 1.0) -> dict[str, float]:
    """Median and quartiles, in `unit`s."""
    low, high = spread.quartiles
    return {"median": rounded(spread.median / unit), "q1": rounded(low / unit), "q3": rounded(high / unit)}


def rounded(value: float) -> float:
    """To four digits that count."""
    return float(f"{value:.4g}")


def ranking(seconds: dict[str, Spread]) -> str:
    """`a < b ~ c`: the fastest first; ~ where the quartiles of two neighbours overlap, so that neither is faster."""
    names = sorted(seconds, key=lambda name: seconds[name].median)
    line = names[0]
    for before, name in itertools.pairwise(names):
        line += f" {'<' if seconds[before].apart_from(seconds[name]) else '~'} {name}"
    return line
