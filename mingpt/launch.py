"""Which process of a training this one is: what torchrun told it, read from the environment, without torch."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

TOLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun, or whoever does its work, tells a process
NAMELESS = "none"  # the id that torchrun gives a launch which was given none


@dataclass(frozen=True)
class Launch:
    """One process among those that were started together.

    Attributes:
        rank: its number among all; the first is 0, and it alone writes and talks.
        size: how many there are.
        local_rank: its number on its machine.
        local_size: how many there are on its machine.
        id: of the launch, the same in all of them and after an elastic restart; None: nobody restarts them.
        starts: how often they were started again.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    id: str | None = None
    starts: int = 0

    @property
    def on_one_machine(self) -> bool:
        return self.local_size == self.size


def launched(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """What this process was told of its company; None: it was started alone."""
    if not all(name in environment for name in TOLD):
        return None
    rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    name = environment.get("TORCHELASTIC_RUN_ID")
    return Launch(
        rank=rank,
        size=size,
        local_rank=int(environment.get("LOCAL_RANK", rank)),
        local_size=int(environment.get("LOCAL_WORLD_SIZE", size)),
        id=f"process {os.getppid()}" if name == NAMELESS else name,
        starts=int(environment.get("TORCHELASTIC_RESTART_COUNT", 0)),
    )


def rank() -> int:
    """This process's number; 0 where it is alone."""
    launch = launched()
    return launch.rank if launch else 0
