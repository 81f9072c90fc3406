"""What a run does, its steps and all else, by name: how long it has taken, and may take after the last step."""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

TRAINING, START_UP = "training", "start-up"
LEAST = 0.005  # of all time, what has a name of its own in `breakdown`


class HasClose(Protocol):
    """What can be closed."""

    def close(self) -> None: ...


Closable = TypeVar("Closable", bound=HasClose)


class Phases:
    """Times of evaluation, sampling and the like.

    Attributes:
        spent: seconds of this process, by name.
        after: seconds expected after the last step, by name, as measured so far, of what comes again and again.
        began: when it all began, on the clock of time.perf_counter.
        begins: called with a phase's name when it begins; whatever shows progress may put a function here.
    """

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.after: dict[str, float] = {}
        self.began = time.perf_counter()
        self.begins: Callable[[str], None] = lambda name: None

    @property
    def between_steps(self) -> float:
        """Seconds spent so far on what comes again and again between steps."""
        return sum(self.spent[name] for name in self.after)

    @contextmanager
    def timed(self, name: str, *, after: float = 0.0) -> Iterator[None]:
        """Time what is done inside.

        Args:
            after: how many times as long the same takes after the last step; 0: it does not come again.
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
        """Close `thing` at the end, and time that."""
        try:
            yield thing
        finally:
            with self.timed(name):
                thing.close()

    def note(self, path: Path, step: int) -> None:
        """Append to the file at `path` what this process has spent, up to its step `step`: an object in a line."""
        line = {"step": step, "total": time.perf_counter() - self.began, **self.spent}
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def breakdown(spent: Mapping[str, float], total: float) -> str:
    """`95 s = training 86 + evaluation 3.4 + start-up 2.6 + other 0.9`: seconds, the longest first.

    What took less than a two-hundredth of all is in `other`, as is what nobody timed.
    """
    named = {name: seconds for name, seconds in spent.items() if seconds >= LEAST * total}
    parts = sorted(named.items(), key=lambda part: -part[1])
    parts.append(("other", max(total - sum(named.values()), 0.0)))
    return f"{_short(total)} s = " + " + ".join(f"{name} {_short(seconds)}" for name, seconds in parts)


def _short(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < 9.95 else f"{seconds:,.0f}"
