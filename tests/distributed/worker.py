"""One of several processes: trains as it is told, one run after another, and tells how each ended.

    worker.py PROGRAMME ANSWERS     a JSON list of {"argv": [...], "fault": [KIND, RANK, STEP, SECONDS]}, and a folder

A fault happens to one process when it begins a step, or some seconds later.  To keep is no fault: it copies the run
folder before each step whose number STEP divides.  "stall" is to sleep as long as SECONDS.  "compiler" has no step: the
process has no C++ compiler.

In float64, so that two ways to add up are told from two ways to learn.
"""

import errno
import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch

from mingpt.cli import main as cli
from mingpt.cli import results
from mingpt.core.torchrun_env import launched, rank
from mingpt.report import loss_plot
from mingpt.runs import checkpoint, summary
from mingpt.trainer import Trainer


def _full(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def provoke(trainer: Trainer, folder: str, kind: str, at_rank: int, step: int, seconds: float = 0.0) -> None:
    """Let `kind` of thing happen to one process when it begins step `step`, or so many seconds later."""
    done = trainer.progress.step
    if rank() == at_rank and kind == "keep" and done and done % step == 0:
        shutil.copytree(folder, f"{folder}-{done}")
    if rank() != at_rank or done + 1 != step:
        return
    if kind == "nan":
        next(trainer.model.parameters()).data.view(-1)[0] = float("nan")
    elif kind == "disk":
        checkpoint.save = _full
    elif kind == "log":
        trainer.callbacks.insert(2, _full)
    elif kind == "stall":
        time.sleep(seconds)
    elif kind == "twice":
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    elif seconds:
        threading.Timer(seconds, os.kill, (os.getpid(), signal.Signals[kind])).start()
    elif kind != "keep":
        os.kill(os.getpid(), signal.Signals[kind])


def without_compiler(folder: str) -> None:
    """Let this process find no compiler, nor what another one compiled."""
    from torch._inductor import config  # of no other run here

    os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}-cache"
    config.cpp.cxx = ("no-such-compiler",)


def train(argv: list[str], fault: list[Any] | None) -> int:
    company = launched()
    started_again = company is not None and company.starts > 0
    real, save = Trainer.step, checkpoint.save
    folder = next((word.partition("=")[2] for word in argv if word.startswith("--system.work_dir=")), "")

    if fault and fault[0] == "compiler":
        if rank() == fault[1]:
            without_compiler(folder)
        fault = None

    def step(trainer: Trainer) -> Any:
        if fault and not started_again:
            provoke(trainer, folder, *fault)
        return real(trainer)

    Trainer.step = step  # type: ignore[method-assign]
    try:
        return cli.main(argv)
    finally:
        Trainer.step, checkpoint.save = real, save  # type: ignore[method-assign]


def main(programme: str, answers: str) -> int:
    torch.set_default_dtype(torch.float64)
    results.show_outcome = lambda *given: None  # type: ignore[assignment]
    summary.peak_matmul_flops = lambda device: 1e9  # type: ignore[attr-defined]
    loss_plot.draw = lambda folder: folder / "loss.png"  # type: ignore[assignment]
    codes = []
    for part in json.loads(programme):
        codes.append(train(part["argv"], part.get("fault")))
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        Path(answers, f"codes-{rank()}.json").write_text(json.dumps(codes))
    return codes[-1]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
