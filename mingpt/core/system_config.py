"""Where a run goes, from which seed, and on what: settings."""

from dataclasses import dataclass

from mingpt.core.errors import require

DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True, kw_only=True)
class SystemConfig:
    """Where and from which seed a run goes.

    Attributes:
        seed: everything random follows from it: weights, batches, dropout, samples
        work_dir: the run folder; null: the first free of out/chargpt, out/chargpt-2, ...
        threads: CPU threads for the arithmetic; 0: as many as PyTorch chooses and this process's cgroup allows
    """

    seed: int = 3407
    work_dir: str | None = None
    threads: int = 0

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**63, "system.seed", self.seed, "must be in [0, 2^63)")
        require(self.work_dir != "", "system.work_dir", "''", "must name a folder, or be null")
        require(0 <= self.threads <= 1024, "system.threads", self.threads, "must be in [0, 1024]")
