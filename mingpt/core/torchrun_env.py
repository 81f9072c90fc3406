"""This process's rank and world size from torchrun's environment variables, and the settings of `dist`."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mingpt.core.errors import UsageError, require
from mingpt.core.variants import Variants, check_choices, choice

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
STRATEGIES = Variants("mingpt.distributed.ddp_fsdp:STRATEGIES")
UNNAMED = "none"  # torchrun's default run id


@dataclass(frozen=True, kw_only=True)
class DistConfig:
    """Settings of training in several processes, started by torchrun.

    Attributes:
        strategy: ddp: every process holds the model; fsdp: a shard of every tensor, for models larger than a GPU
    """

    strategy: str = choice("ddp", STRATEGIES)

    def __post_init__(self) -> None:
        check_choices(self, "dist")


@dataclass(frozen=True)
class Launch:
    """One of several processes that were launched together.

    Attributes:
        rank: rank of the process, from 0; rank 0 writes files and logs
        size: number of processes
        local_rank: rank on its machine
        local_size: number of processes on its machine
        id: id of the launch, the same in all processes and after an elastic restart; None: it is not restarted
        starts: number of restarts
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    id: str | None = None
    starts: int = 0

    @property
    def on_one_machine(self) -> bool:
        """True if all processes are on one machine."""
        return self.local_size == self.size

    def training(self, number: int) -> str | None:
        """Return the id of the number-th training of these processes, the same after a restart.

        Args:
            number: number of the training, from 1, which has the launch's own id
        """
        return self.id if self.id is None or number == 1 else f"{self.id}, training {number}"


def launched(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """Return the launch that the environment describes; None: a single process.

    Raises:
        UsageError: WORLD_SIZE is above 1, but a variable is missing or not a number.
    """
    missing = [name for name in VARIABLES if name not in environment]
    if missing:
        others = environment.get("WORLD_SIZE", "1")
        require(others in ("", "1"), "WORLD_SIZE", others, f"needs {', '.join(missing)}, too, as torchrun sets them")
        return None
    name, numbers = environment.get("TORCHELASTIC_RUN_ID"), {}
    for variable in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        require(
            environment[variable].isdecimal(),
            variable,
            repr(environment[variable]),
            "must be a number, as torchrun sets it",
        )
        numbers[variable] = int(environment[variable])
    return Launch(
        rank=numbers["RANK"],
        size=numbers["WORLD_SIZE"],
        local_rank=numbers["LOCAL_RANK"],
        local_size=numbers["LOCAL_WORLD_SIZE"],
        id=_parent_process() if name == UNNAMED else name,
        starts=int(environment.get("TORCHELASTIC_RESTART_COUNT", 0)),
    )


def _parent_process() -> str:
    """Return an id of the parent process, with its start time on Linux, since process ids are reused."""
    with contextlib.suppress(OSError, IndexError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        began = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[19]  # proc(5): starttime
        return f"process {os.getppid()} of {boot}, begun at {began}"
    return f"process {os.getppid()}"


def rank() -> int:
    """Return this process's rank; 0 for a single process, or for invalid variables, which `launched` rejects."""
    with contextlib.suppress(UsageError):
        launch = launched()
        return launch.rank if launch else 0
    return 0
