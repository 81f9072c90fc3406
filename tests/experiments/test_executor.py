"""Several processes in one experiment's folder: no trial is trained twice, and a signal leaves none behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from mingpt.core.atomic_io import locked
from mingpt.core.run_files.reading import read_lines
from mingpt.experiments import executor as executors
from mingpt.experiments.base import Experiment, Trial
from mingpt.experiments.executor import claimed, in_process_of_its_own
from mingpt.experiments.runner import ExperimentOptions, carry_out
from mingpt.experiments.trials import config_of
from mingpt.runs import checkpoint
from mingpt.runs.config import Config

Make = Callable[..., Experiment]


def test_one_executor_trains_a_trial(go: Any, experiment: Make, here: Any, tmp_path: Path) -> None:
    """The second waits for the trial that the first holds, and then finds it done."""
    one = experiment(variants={"RoPE": [{}]}, seeds=1)
    inside, leave = Event(), Event()

    def slow(config: Config) -> None:
        inside.set()
        assert leave.wait(20)

    here.before = slow
    first, second = Thread(target=go, args=(one,)), Thread(target=go, args=(one,))
    first.start()
    assert inside.wait(20)
    second.start()
    time.sleep(0.3)
    leave.set()
    first.join(20)
    second.join(20)
    assert len(here.trained) == 1


def test_orphan_that_still_trains_is_joined(go: Any, experiment: Make, tmp_path: Path) -> None:
    go(experiment())
    home = tmp_path / "exp/cells/RoPE/seed-1"
    trial = Trial("RoPE", 1, (), (home,))
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(home / ".lock")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == "held\n"
        with claimed(tmp_path / "exp", trial) as ours:
            assert not ours
        holder.kill()
        holder.wait()
        with claimed(tmp_path / "exp", trial) as ours:  # and a dead one's lock is gone with it
            assert ours


HOLD = """
import filelock, sys, time
file = open(sys.argv[1], "a+b")
assert filelock.lock_descriptor(file.fileno())
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.full
def test_ctrl_c_loses_no_steps_and_leaves_no_child(experiment: Make, text_file: Path, tmp_path: Path) -> None:
    """A signal to the executor: the child of its own process saves and ends, and the same command goes on."""
    one = experiment(variants={"RoPE": [{"trainer.max_iters": 100_000, "trainer.save_every": 0}]}, seeds=1)
    home = tmp_path / "exp/cells/RoPE/seed-1"
    options = ExperimentOptions(folder=tmp_path / "exp", command="test", data=str(text_file))

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and len(read_lines(home / "metrics.jsonl")) < 5:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    Thread(target=interrupt).start()
    outcome = carry_out(one, options, summarize=lambda *words: None)
    assert outcome.stopped == "SIGINT"
    assert outcome.failed == {}
    step = checkpoint.steps(home)[0]
    assert step >= 5
    assert len(read_lines(home / "metrics.jsonl")) == step
    with locked(home):  # nobody trains there any more
        pass


@pytest.mark.full
def test_what_a_process_of_its_own_logs_is_kept(tiny: dict[str, Any], tmp_path: Path) -> None:
    wanted = config_of({**tiny, "data.path": str(tmp_path / "none.txt"), "system.work_dir": str(tmp_path / "r")})
    assert in_process_of_its_own(wanted, tmp_path / "log.txt", Event()) == 3
    assert "there is no file" in executors._last_line(tmp_path / "log.txt")
