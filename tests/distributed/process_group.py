"""What the tests of several processes share: tiny settings, and how they ended."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch

from mingpt.benchmarks.distributed import apart as apart
from mingpt.benchmarks.distributed import losses as losses
from mingpt.runs import config as settings
from mingpt.runs import run, run_dir

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("worker.py")
LONGEST = 300  # seconds; a tenth of it, where nothing else runs
SETTINGS = {
    "model.n_embd": 12,
    "model.n_layer": 2,
    "data.block_size": 7,
    "trainer.batch_size": 12,
    "trainer.accumulation": 3,
    "trainer.max_iters": 50,
    "trainer.optimizer": "adamw",
    "trainer.learning_rate": 0.003,
    "trainer.warmup_iters": 3,
    "trainer.schedule": "constant",
    "trainer.eval_every": 0,
    "trainer.sample_every": 0,
    "sample.tokens": 5,
    "trainer.save_every": 0,
    "trainer.device": "cpu",
    "wandb.mode": "disabled",
}
FAMILIES = {"gpt": {"model.n_query_head": 3, "model.n_kv_head": 1}, "elman": {"model.type": "rnn"}}


@dataclass(frozen=True)
class Ended:
    """How several processes ended: torchrun's code, the code of each rank's runs, all that was printed, seconds."""

    code: int
    codes: list[list[int]]
    said: str
    seconds: float

    def exits(self) -> dict[int, int]:
        """Each failed rank's own exit code, as torchrun saw it."""
        found = re.findall(r"rank +: (\d+).*?exitcode +: (-?\d+)", self.said, re.DOTALL)
        return {int(rank): int(code) for rank, code in found}


def family_of(parent: int, mark: str) -> list[int]:
    """Processes that `parent` started, or whose words hold `mark`, and the parent itself, while they live."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,stat,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 3) for line in listed.splitlines()[1:]]
    mine = os.getpid()
    return [
        int(pid)
        for pid, ppid, stat, args in rows
        if not stat.startswith("Z") and int(pid) != mine and (parent in (int(pid), int(ppid)) or mark in args)
    ]


def alone(argv: list[str]) -> None:
    """The same training in this process, in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        config = settings.parse(argv)
        run.train(run_dir.resume_settings(argv, config) if config.trainer.resume else config)
    finally:
        torch.set_default_dtype(before)
