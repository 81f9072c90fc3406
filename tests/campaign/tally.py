"""What many trials of one kind came to, and which campaigns there are."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Tally:
    """Trials, which of them were lost, and the worst of those that were not."""

    trials: int = 0
    lost: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)  # trials of a kind that there must be enough of
    worst: dict[str, float] = field(default_factory=dict)

    def trial(self, name: str, held: bool, why: object = "") -> None:
        """One trial; `why` is told of a lost one."""
        self.trials += 1
        if not held:
            self.lost.append(f"{name}: {why}")

    def count(self, kind: str, holds: bool = True) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + int(holds)

    def saw(self, what: str, value: float) -> None:
        """Keep the largest."""
        self.worst[what] = max(value, self.worst.get(what, value))

    @property
    def survived(self) -> int:
        return self.trials - len(self.lost)


@dataclass(frozen=True)
class Campaign:
    """One row of the table.

    Attributes:
        about: what is done, in words.
        whole, quick: trials of the long form and of the short one.
        needed: of a kind of trial, how many there must be in the long form.
        limits: what the worst case may come to.
    """

    make: Callable[[Path, int], Tally]
    about: str
    whole: int
    quick: int
    needed: dict[str, int]
    limits: dict[str, float]


CAMPAIGNS: dict[str, Campaign] = {}


def campaign(
    about: str, *, whole: int, quick: int, needed: dict[str, int] | None = None, limits: dict[str, float] | None = None
) -> Callable[[Callable[[Path, int], Tally]], Callable[[Path, int], Tally]]:
    """Register a campaign by its function's name."""

    def register(make: Callable[[Path, int], Tally]) -> Callable[[Path, int], Tally]:
        CAMPAIGNS[make.__name__] = Campaign(make, about, whole, quick, needed or {}, limits or {})
        return make

    return register
