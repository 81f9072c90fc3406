"""Who is told what long work is doing: a function of one line, from whoever called; the library prints nothing."""

from collections.abc import Callable

Say = Callable[[str], None]


def silent(line: str) -> None:
    """Where nobody listens."""
