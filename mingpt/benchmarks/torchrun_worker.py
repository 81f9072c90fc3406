"""One of the processes that `bench processes` starts: makes its runs in turn, and dies where it is asked to.

python -m mingpt.benchmarks.torchrun_worker '[{"argv": [...], "float64": true, "kill": [RANK, STEP, SECONDS]}, ...]'
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

import torch

from mingpt.core.torchrun_env import launched
from mingpt.runs import config, run
from mingpt.trainer import Callback, Record, Trainer


def dying(rank: int, step: int, seconds: float) -> Callback:
    """An event that has this process killed so many seconds after a step, if it is the one and was never started again.

    Args:
        rank, step: which, and when.
    """
    launch = launched()

    def event(trainer: Trainer, record: Record) -> None:
        if launch and not launch.starts and (launch.rank, record["step"]) == (rank, step):
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()

    return event


def main(runs: Sequence[dict[str, Any]]) -> None:
    """Train each of `runs`."""
    for each in runs:
        torch.set_default_dtype(torch.float64 if each["float64"] else torch.float32)
        run.train(config.parse(each["argv"]), callbacks=[dying(*each["kill"])] if each["kill"] else [])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
