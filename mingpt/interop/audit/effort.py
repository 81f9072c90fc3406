"""How a time limit is shared between checks.

A check does its smallest work whatever the time, and more of it while there is some; what it spared goes to the next.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass
class Effort:
    """Time for one check.

    Attributes:
        until: when it ends, on `clock`
        thorough: test every length and position that there is time for, not a choice of them
    """

    until: float
    thorough: bool = False
    clock: Callable[[], float] = time.monotonic

    def left(self) -> float:
        """Seconds that are left; below 0 when they are spent."""
        return self.until - self.clock()

    def while_time(self, parts: Iterable[T], least: int = 1) -> Iterator[T]:
        """Yield parts of work until the time is spent, `least` of them at least."""
        for number, part in enumerate(parts):
            if number >= least and self.left() <= 0:
                return
            yield part


def shares(seconds: float, weights: list[float], clock: Callable[[], float], thorough: bool) -> Iterator[Effort]:
    """Yield an Effort per weight: each gets its share of the time that is left when its check begins."""
    end = clock() + seconds
    for number, weight in enumerate(weights):
        left = max(end - clock(), 0.0)
        yield Effort(clock() + left * weight / sum(weights[number:]), thorough, clock)
