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


def parse_peers(text: str | None, kinds: Sequence[str]) -> dict[str, str]:
    """`KIND=FOLDER,...` -> the folder of each kind.

    Raises:
        UsageError: an unknown kind, or no such folder.
    """
    peers = dict(pair.partition("=")[::2] for pair in (text or "").split(",") if pair)
    for kind, path in peers.items():
        require(kind in kinds, "peers", f"{kind}={path}", f"must be of {', '.join(kinds)}")
        require(Path(path).is_dir(), "peers", f"{kind}={path}", "must be KIND=FOLDER of a clone")
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
