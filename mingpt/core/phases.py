"""Time that a run spends by phase: training, evaluation, samples, checkpoints and so on."""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

TRAINING, START_UP = "training", "start-up"
LEAST = 0.005  # smallest fraction of the total with an entry of its own in `breakdown`


class HasClose(Protocol):
    """An object with a `close` method."""

    def close(self) -> None: ...


Closable = TypeVar("Closable", bound=HasClose)


class Phases:
    """Time spent per phase.

    Attributes:
        spent: seconds of this process, by phase
        after: seconds expected after the last step, by recurring phase
        began: start of the run, as time.perf_counter
        begins: called with the name of a phase that begins; a progress display may replace it
    """

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.after: dict[str, float] = {}
        self.began = time.perf_counter()
        self.begins: Callable[[str], None] = lambda name: None

    @property
    def between_steps(self) -> float:
        """Seconds spent so far in recurring phases."""
        return sum(self.spent[name] for name in self.after)

    @contextmanager
    def timed(self, name: str, *, after: float = 0.0) -> Iterator[None]:
        """Time the block inside as phase `name`.

        Args:
            name: name of the phase
            after: its expected duration after the last step, relative to now; 0: the phase doesn't recur
        """
        self.begins(name)
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        self.spent[name] += seconds
        if after:
            self.after[name] = after * seconds

    @contextmanager
    def closing(self, name: str, thing: Closable) -> Iterator[Closable]:
        """Close `thing` at the end, as phase `name`."""
        try:
            yield thing
        finally:
            with self.timed(name):
                thing.close()

    def note(self, path: Path, step: int) -> None:
        """Append the seconds per phase, up to step `step`, as a line of JSON to the file at `path`."""
        line = {"step": step, "total": time.perf_counter() - self.began, **self.spent}
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def breakdown(spent: Mapping[str, float], total: float) -> str:
    """Return seconds by phase, as in `95 s = training 86 + evaluation 3.4 + start-up 2.6 + other 0.9`.

    Phases below 0.5 % of the total, and untimed work, are in `other`.
    """
    named = {name: seconds for name, seconds in spent.items() if seconds >= LEAST * total}
    parts = sorted(named.items(), key=lambda part: -part[1])
    parts.append(("other", max(total - sum(named.values()), 0.0)))
    return f"{_short(total)} s = " + " + ".join(f"{name} {_short(seconds)}" for name, seconds in parts)


def _short(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < 9.95 else f"{seconds:,.0f}"
