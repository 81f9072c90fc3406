"""Several processes on this machine, none of which outlives its test."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from process_group import LONGEST, ROOT, SETTINGS, WORKER, Ended, family_of

from mingpt.report import loss_plot
from mingpt.runs import summary


@pytest.fixture(autouse=True, scope="module")
def no_slow_frills() -> Iterator[None]:
    """Leaves out what costs most of a tiny run and decides nothing, as worker.py does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summary, "peak_matmul_flops", lambda device: 1e9)
        patch.setattr(loss_plot, "draw", lambda folder: folder / "loss.png")
        yield


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 2,000 characters of 11 different ones, each depending on the one before it."""
    word, at, path = "abcdefgh ,\n", [0], tmp_path_factory.mktemp("text") / "text.txt"
    for n in range(2000):
        at.append((at[-1] + (1, 1, 2, 5)[(n * n // 7 + n) % 4]) % len(word))
    path.write_text("".join(word[i] for i in at), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def flags(text: Path) -> Callable[..., list[str]]:
    """`flags(folder, {"trainer.max_iters": 3})`: a tiny run's words."""

    def make(folder: Path, changes: dict[str, Any] | None = None) -> list[str]:
        chosen = {"data.path": text, "system.work_dir": folder, **SETTINGS, **(changes or {})}
        return [f"--{key}={value}" for key, value in chosen.items()]

    return make


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Ended]]:
    """`together(programme, meanwhile=None, options=())`: two processes by torchrun; none is left at the end."""
    started: list[subprocess.Popen[str]] = []
    home = tmp_path_factory.mktemp("together")

    def go(
        programme: Sequence[dict[str, Any]],
        meanwhile: Callable[[subprocess.Popen[str]], None] = lambda child: None,
        options: Sequence[str] = (),
    ) -> Ended:
        answers = home / str(len(started))
        answers.mkdir()
        local = ("--standalone", "--local-addr=127.0.0.1", "--nproc_per_node=2", *options)
        command = [sys.executable, "-m", "torch.distributed.run", *local, str(WORKER), json.dumps(programme)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        began = time.monotonic()
        with open(answers / "said", "w") as said:
            child = subprocess.Popen([*command, str(answers)], stdout=said, stderr=said, text=True, env=environment)
            started.append(child)
            meanwhile(child)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(LONGEST)
        told = (answers / "said").read_text()
        if child.returncode is None:
            pytest.fail(f"no end after {LONGEST} s: {told[-4000:]}")
        codes = [json.loads(path.read_text()) for path in sorted(answers.glob("codes-*"))]
        return Ended(child.returncode, codes, told, time.monotonic() - began)

    yield go
    left = [pid for child in started for pid in family_of(child.pid, str(home))]
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for child in started:
        child.wait()
    assert left == [], "processes are left"
