"""Ctrl-C and SIGTERM end a run with a checkpoint of its last finished step; a second one ends it at once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mingpt.core.signals import EXIT_CODES
from mingpt.data.batches import Batches
from mingpt.runs import checkpoint, run
from mingpt.trainer import Trainer

ROOT = Path(__file__).parents[2]


def interrupt_at(monkeypatch: pytest.MonkeyPatch, moment: str, number: int) -> list[Any]:
    """Send this process a signal, once, around step 5: while it is computed, judged, saved, or after all that."""
    events: list[Any] = []

    def send() -> None:
        os.kill(os.getpid(), number)

    if moment == "inside the step":
        real = Batches.__call__
        monkeypatch.setattr(
            Batches, "__call__", lambda self, step: (send() if step == 4 else None, real(self, step))[1]
        )
    elif moment == "inside the save":
        save = checkpoint.save
        monkeypatch.setattr(
            checkpoint,
            "save",
            lambda folder, **what: (send() if what["state"]["step"] == 5 else None, save(folder, **what))[1],
        )
    elif moment == "before the first step":
        train = Trainer.run
        monkeypatch.setattr(Trainer, "run", lambda self: (send(), train(self))[1])
    else:
        events.append(lambda trainer, record: send() if record["step"] == 5 else None)
    return events


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("moment", "save_every"),
    [
        ("before the first step", 0),
        ("inside the step", 0),
        ("inside the save", 1),
        ("after the events", 0),
        ("after the events", 1),
    ],
)
@pytest.mark.thin(1)
def test_signal_costs_no_finished_step_and_not_the_path(
    tmp_path: Path, tiny: Any, trace: Any, monkeypatch: pytest.MonkeyPatch, moment: str, save_every: int, number: int
) -> None:
    run.train(tiny(tmp_path / "whole"))
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    folder, save = tmp_path / "run", {"trainer.save_every": save_every}
    with monkeypatch.context() as patch:
        events = interrupt_at(patch, moment, number)
        stopped = run.train(tiny(folder, save), callbacks=events)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    step = stopped.progress.step
    assert stopped.stopped == signal.Signals(number).name
    assert step in ((0, 1, 2) if moment == "before the first step" else (5, 6))
    assert checkpoint.steps(folder)[:1] == ([step] if step else [])
    run.train(tiny(folder, {**save, "trainer.resume": True}))
    assert trace(folder) == trace(tmp_path / "whole")


def test_signals_have_the_codes_of_a_shell() -> None:
    assert EXIT_CODES == {"SIGHUP": 129, "SIGINT": 130, "SIGTERM": 143}


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
@pytest.mark.full
def test_stopped_process_has_the_signals_code_and_resumes_on_its_path(
    tmp_path: Path, tiny: Any, trace: Any, number: int
) -> None:
    long = {"trainer.max_iters": 1500, "trainer.schedule": "constant"}
    folder, config = tmp_path / "run", tmp_path / "config.yaml"
    config.write_text(tiny(folder, long).to_yaml(), encoding="utf-8")
    child = subprocess.Popen(
        [sys.executable, "chargpt.py", f"--config={config}"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child:
        for line in child.stdout:
            if line.startswith("step "):
                break
        child.send_signal(number)
        began = time.monotonic()
        said = child.stdout.read()
        assert child.wait(20) == 128 + number
    assert time.monotonic() - began < 5
    step = checkpoint.steps(folder)[0]
    assert f"stopped by {signal.Signals(number).name} after step {step:,}" in said
    further = {**long, "trainer.max_iters": step + 3}
    run.train(tiny(folder, {**further, "trainer.resume": True}))
    run.train(tiny(tmp_path / "whole", further))
    assert trace(folder) == trace(tmp_path / "whole")


STUCK = """
import sys, time
from mingpt.runs import config, run

def stuck(trainer, record):
    if record["step"] == 2:
        print("stuck", flush=True)
        while True:
            time.sleep(0.1)

run.train(config.parse([f"--config={sys.argv[1]}"]), callbacks=[stuck])
"""


@pytest.mark.full
def test_second_signal_ends_the_process_at_once(tmp_path: Path, tiny: Any) -> None:
    folder, config = tmp_path / "run", tmp_path / "config.yaml"
    config.write_text(tiny(folder, {"trainer.save_every": 1}).to_yaml(), encoding="utf-8")
    command = [sys.executable, "-c", STUCK, str(config)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "stuck\n"
        child.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert child.poll() is None, "the first signal ended it within a step"
        child.send_signal(signal.SIGTERM)
        assert child.wait(2) == -signal.SIGTERM
    assert checkpoint.newest(folder).state["step"] == 2


BLOCKED = """
import ctypes
from mingpt.core.signals import stop_on_signals

with stop_on_signals(print):
    lock, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    libc.pthread_mutex_lock(lock)
    print("blocked", flush=True)
    libc.pthread_mutex_lock(lock)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="64 zeros are a lock there")
@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)])
def test_second_signal_does_not_wait_for_what_python_cannot_interrupt(
    numbers: tuple[signal.Signals, signal.Signals],
) -> None:
    """As an exchange with other processes is; not even the first can be handled then."""
    with subprocess.Popen([sys.executable, "-c", BLOCKED], cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "blocked\n"
        child.send_signal(numbers[0])
        time.sleep(0.3)
        assert child.poll() is None
        child.send_signal(numbers[1])
        try:
            # by its own number where Python heard of the first after all, just before it was blocked
            assert child.wait(20) in (128 + numbers[1], -numbers[1])
        finally:
            child.kill()
