"""What a run does besides its steps, by name: how long it has taken, and how long it may take after the last step."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from mingpt.say import Say, silent


class Phases:
    """Times of evaluation, sampling and the like.

    Attributes:
        seconds: spent so far in this process, by name, on what comes again and again.
        after: seconds expected after the last step, by name, as measured so far.
        begins: called with a phase's name when it begins; whatever shows progress may put a function here.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.after: dict[str, float] = {}
        self.begins: Say = silent

    @contextmanager
    def timed(self, name: str, *, after: float = 0.0, once: bool = False) -> Iterator[None]:
        """Time what is done inside.

        Args:
            after: how many times as long the same takes after the last step.
            once: it does not come again.
        """
        self.begins(name)
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        self.after[name] = after * seconds
        if not once:
            self.seconds[name] += seconds
