"""torchrun's own doings: a signal to it, a process killed, a restart that goes on by itself."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from process_group import FAMILIES, LONGEST, Ended, alone, apart, losses

from mingpt.runs import checkpoint

Together = Callable[..., Ended]
ENDLESS = {**FAMILIES["gpt"], "trainer.max_iters": 100_000}


def when_begun(folder: Path, then: Callable[[subprocess.Popen[str]], None]) -> Callable[[subprocess.Popen[str]], None]:
    """Wait for the first step in `folder`, and a moment longer."""

    def meanwhile(child: subprocess.Popen[str]) -> None:
        metrics, deadline = folder / "metrics.jsonl", time.monotonic() + LONGEST
        while child.poll() is None and time.monotonic() < deadline:
            if metrics.exists() and metrics.stat().st_size:
                break
            time.sleep(0.01)
        time.sleep(random.random())
        then(child)

    return meanwhile


def since_last_step(folder: Path) -> float:
    """Seconds since the run in `folder` has told of a step."""
    return time.time() - (folder / "metrics.jsonl").stat().st_mtime


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_to_torchrun_leaves_a_checkpoint_and_no_processes(
    together: Together, flags: Any, tmp_path: Path, number: signal.Signals, turn: int
) -> None:
    folder, sent = tmp_path / "run", []

    def send(child: subprocess.Popen[str]) -> None:
        sent.append(time.monotonic())
        os.kill(child.pid, number)

    ended = together([{"argv": flags(folder, ENDLESS)}], meanwhile=when_begun(folder, send))
    assert time.monotonic() - sent[0] < 15  # torchrun gives up after 30 s
    assert ended.codes == [[128 + number]] * 2, ended.said
    assert checkpoint.newest(folder).state["step"] == len(losses(folder)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_no_process_outlives_one_that_was_killed(together: Together, flags: Any, tmp_path: Path, rank: int) -> None:
    ended = together([{"argv": flags(tmp_path / "run", ENDLESS), "fault": ["SIGKILL", rank, 9, 0.001]}])
    assert ended.code == 1
    assert ended.exits()[rank] == -signal.SIGKILL
    assert since_last_step(tmp_path / "run") < 20  # torchrun gives up after 30 s


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_second_signal_to_one_ends_both_and_keeps_what_was_saved(
    together: Together, flags: Any, tmp_path: Path, rank: int
) -> None:
    """It ends that process by the signal, the other by its loss."""
    saving = {**ENDLESS, "trainer.save_every": 2}
    ended = together([{"argv": flags(tmp_path / "run", saving), "fault": ["twice", rank, 6]}])
    assert (ended.code, ended.codes) == (1, [[1]]), ended.said
    assert ended.exits()[rank] == -signal.SIGTERM
    assert since_last_step(tmp_path / "run") < 20  # torchrun gives up after 30 s
    assert checkpoint.newest(tmp_path / "run").state["step"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("stalled", [0, 1])
def test_second_signal_to_torchrun_ends_all_at_once(
    together: Together, flags: Any, tmp_path: Path, stalled: int
) -> None:
    """One of them makes no progress, and the other waits for it."""
    folder, sent = tmp_path / "run", []

    def send(child: subprocess.Popen[str]) -> None:
        time.sleep(3)  # the third step has begun
        os.kill(child.pid, signal.SIGTERM)
        time.sleep(1)
        assert child.poll() is None
        sent.append(time.monotonic())
        os.kill(child.pid, signal.SIGTERM)

    fault = ["stall", stalled, 3, 200]
    ended = together(
        [{"argv": flags(folder, {**ENDLESS, "trainer.save_every": 1}), "fault": fault}],
        meanwhile=when_begun(folder, send),
    )
    assert time.monotonic() - sent[0] < 15
    assert ended.codes == [], ended.said
    assert checkpoint.newest(folder).state["step"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(10))
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_restart_after_a_kill_takes_the_same_path(
    together: Together, flags: Any, tmp_path: Path, strategy: str, turn: int
) -> None:
    """At any step and moment, before the first checkpoint too."""
    draw = random.Random(f"{strategy} {turn}")
    family = {**FAMILIES[draw.choice(sorted(FAMILIES))], "trainer.save_every": 5, "trainer.max_iters": 40}
    fault = ["SIGKILL", draw.randrange(2), draw.randrange(1, 39), draw.random() / 20]
    killed = flags(tmp_path / "run", family | {"dist.strategy": strategy})
    ended = together([{"argv": killed, "fault": fault}], options=["--max-restarts=1"])
    assert (ended.code, ended.codes) == (0, [[0], [0]]), ended.said
    assert "exitcode: -9" in ended.said
    alone(flags(tmp_path / "one", family))
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "one"), rel=0, abs=1e-9)
    assert checkpoint.steps(tmp_path / "run")[0] == 40


@pytest.mark.slow
def test_restart_goes_on_with_the_right_training(together: Together, flags: Any, tmp_path: Path) -> None:
    """Killed in the second, both begin again: the first has nothing left to do, the second goes on."""
    family = {**FAMILIES["gpt"], "trainer.save_every": 5, "trainer.max_iters": 12}
    first, second = (
        {"argv": flags(tmp_path / name, family | {"system.seed": seed})} for name, seed in {"a": 1, "b": 2}.items()
    )
    ended = together([first, second | {"fault": ["SIGKILL", 1, 8, 0.001]}], options=["--max-restarts=1"])
    assert (ended.code, ended.codes) == (0, [[0, 0]] * 2), ended.said
    assert ended.said.count("this launch began it before") == 2
    for name, seed in {"a": 1, "b": 2}.items():
        alone(flags(tmp_path / f"{name}-one", family | {"system.seed": seed}))
        assert apart(tmp_path / name, tmp_path / f"{name}-one") < 1e-9


@pytest.mark.slow
def test_restart_of_a_rejected_run_does_not_go_on_with_another_launch_s(
    together: Together, flags: Any, tmp_path: Path
) -> None:
    """The folder holds a run of the same settings, which this launch has not begun."""
    short = {**FAMILIES["gpt"], "trainer.max_iters": 2}
    alone(flags(tmp_path / "run", short))
    before = (tmp_path / "run" / "environment.json").read_bytes()
    ended = together([{"argv": flags(tmp_path / "run", short)}], options=["--max-restarts=1"])
    assert ended.codes == [[2], [2]]
    assert ended.said.count("already holds a run") == 2
    assert (tmp_path / "run" / "environment.json").read_bytes() == before
