"""A fault: one text of one file, replaced by another."""

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Fault(NamedTuple):
    """A small fault that changes behaviour.

    Attributes:
        path: file, relative to the project's root
        old: text that occurs exactly once in it
        new: text in its place
        why: the fault in a few words
        equivalent: why no test can notice it; "": one must
    """

    path: str
    old: str
    new: str
    why: str
    equivalent: str = ""

    @property
    def name(self) -> str:
        """Name in the table of results."""
        return f"{Path(self.path).stem}: {self.why}"

    def planted(self, source: str) -> str:
        """Return `source` with the fault; the old text must occur once.

        Raises:
            ValueError: the old text is gone, or occurs more than once.
        """
        if (count := source.count(self.old)) != 1:
            raise ValueError(f"{self.path}: {self.old!r} occurs {count} times instead of once ({self.why})")
        return source.replace(self.old, self.new)

    def lines(self, source: str) -> range:
        """Return the numbers of the lines that the old text covers, from 1."""
        first = source[: source.index(self.old)].count("\n") + 1
        return range(first, first + self.old.count("\n") + 1)
