"""Which process of a training this one is, as torchrun told it in the environment, and what the processes share."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mingpt.core.errors import UsageError, require
from mingpt.core.variants import Variants

# What torchrun, or whoever does its work, tells a process.
TOLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
STRATEGIES = Variants("mingpt.distributed.ddp_fsdp:STRATEGIES")
NAMELESS = "none"  # the id that torchrun gives a launch which was given none


@dataclass(frozen=True, kw_only=True)
class DistConfig:
    """What the processes share that `torchrun` starts; one that is started without it is alone.

    Attributes:
        strategy: ddp: every process holds the whole model; fsdp: a part of every tensor, for models that fit no card
    """

    strategy: str = "ddp"

    def __post_init__(self) -> None:
        STRATEGIES[self.strategy]


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

    def training(self, number: int) -> str | None:
        """What names the number-th training of these processes, the same after a restart: the launch itself the first.

        Args:
            number: from 1.
        """
        return self.id if self.id is None or number == 1 else f"{self.id}, training {number}"


def launched(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """What this process was told of its company; None: it was started alone.

    Raises:
        UsageError: it was told of others, but not all that it takes to meet them.
    """
    missing = [name for name in TOLD if name not in environment]
    if missing:
        others = environment.get("WORLD_SIZE", "1")
        require(others in ("", "1"), "WORLD_SIZE", others, f"needs {', '.join(missing)}, too, as torchrun sets them")
        return None
    name, numbers = environment.get("TORCHELASTIC_RUN_ID"), {}
    for told in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        require(environment[told].isdecimal(), told, repr(environment[told]), "must be a number, as torchrun sets it")
        numbers[told] = int(environment[told])
    return Launch(
        rank=numbers["RANK"],
        size=numbers["WORLD_SIZE"],
        local_rank=numbers["LOCAL_RANK"],
        local_size=numbers["LOCAL_WORLD_SIZE"],
        id=_starter() if name == NAMELESS else name,
        starts=int(environment.get("TORCHELASTIC_RESTART_COUNT", 0)),
    )


def _starter() -> str:
    """The process that started this one, and where the system tells, when: another may get its number later."""
    with contextlib.suppress(OSError, IndexError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        began = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[19]  # proc(5): starttime
        return f"process {os.getppid()} of {boot}, begun at {began}"
    return f"process {os.getppid()}"


def rank() -> int:
    """This process's number; 0 where it is alone, or told nonsense, which is refused elsewhere."""
    with contextlib.suppress(UsageError):
        launch = launched()
        return launch.rank if launch else 0
    return 0
