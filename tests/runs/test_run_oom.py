"""Memory that runs out: one line that says what was asked for and what to lower, and a run that can go on."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mingpt.cli import main
from mingpt.core.errors import OutOfMemoryError, memory_asked_for
from mingpt.runs import checkpoint, run
from mingpt.trainer import Trainer
from tests.campaign.children import start
from tests.campaign.runs import words_of

CUDA = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity\nof 79.11 GiB"
CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
CPU += "4294967296 bytes. Error code 12 (Cannot allocate memory)"


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (torch.OutOfMemoryError(CUDA), "20.00 MiB were asked for at once"),
        (RuntimeError(CPU), "4.29 GB were asked for at once"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"), "the amount is unknown"),
        (MemoryError("Unable to allocate 7.45 GiB for an array"), "7.45 GiB were asked for at once"),
        (MemoryError(), "the amount is unknown"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (OSError(12, "Cannot allocate memory"), None),
        (ValueError("out of memory"), None),
    ],
    ids=str,
)
def test_lack_of_memory_is_recognised_where_it_is_and_nowhere_else(error: BaseException, asked: str | None) -> None:
    assert memory_asked_for(error) == asked


def failing_at(step: int, error: BaseException) -> Any:
    def event(trainer: Trainer, record: dict[str, Any]) -> None:
        if record["step"] == step:
            raise error

    return event


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(CUDA), RuntimeError(CPU), MemoryError()], ids=repr)
@pytest.mark.thin(1)
def test_run_without_memory_ends_in_one_line_and_keeps_what_was_saved(
    tmp_path: Path, tiny: Any, trace: Any, error: BaseException
) -> None:
    folder, long = tmp_path / "a run", {"trainer.save_every": 1, "trainer.schedule": "constant"}
    with pytest.raises(OutOfMemoryError) as refused:
        run.train(tiny(folder, long), callbacks=[failing_at(5, error)])
    said = str(refused.value)
    assert refused.value.exit_code == 1
    assert "\n" not in said
    assert said.startswith(f"out of memory: {memory_asked_for(error)}; resume from the last checkpoint with ")
    for lower in ("trainer.batch_size=4", "data.block_size=8", "model.n_layer=1", "model.n_embd=8"):
        assert lower in said
    flags = shlex.split(re.findall(r"with (--.*) and (--\S+);", said)[0][0])
    assert flags == ["--trainer.resume=True", f"--system.work_dir={folder}", "--trainer.resume_changed=True"]
    assert " and --trainer.accumulation=4; " in said
    run.train(tiny(folder, {**long, "trainer.resume": True}))
    run.train(tiny(tmp_path / "whole", long))
    assert trace(folder) == trace(tmp_path / "whole")


@pytest.mark.parametrize(
    ("changes", "says", "hides"),
    [
        ({}, "lower trainer.batch_size=4, data.block_size=8", "resume"),
        ({}, "or take --trainer.accumulation=4, which computes", "resume"),
        ({"trainer.accumulation": 4}, "lower trainer.batch_size=4", "--trainer.accumulation"),
        ({"model.type": "rnn", "model.n_layer": 2}, "model.n_layer=2, model.n_embd=8", "model.order"),
    ],
    ids=str,
)
def test_run_that_had_no_step_is_not_advised_to_resume(
    tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch, changes: Any, says: str, hides: str
) -> None:
    def full(*args: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(run, "_trainer", full)
    with pytest.raises(OutOfMemoryError) as refused:
        run.train(tiny(tmp_path / "run", changes))
    assert says in str(refused.value)
    assert hides not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_other_commands_print_one_line_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError(CPU)

    monkeypatch.setattr(run, "load", full)
    assert main.main(["sample", f"--run={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: out of memory: 4.29 GB were asked for at once; ask for less at a time")
    assert said.count("\n") == 1


def breathless(folder: Path) -> None:
    """In a child: from the second step on the kernel gives this process no more memory than a little."""
    import resource

    from mingpt.runs.callbacks import Saver

    real = Saver.__call__

    def squeeze(saver: Saver, trainer: Trainer, record: dict[str, Any]) -> None:
        real(saver, trainer, record)
        if record["step"] == 2:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**20, resource.RLIM_INFINITY))
            trainer.batches = lambda step: (torch.zeros(2**20, 64, dtype=torch.long),) * 2  # type: ignore[method-assign]

    Saver.__call__ = squeeze  # type: ignore[method-assign]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.full
def test_kernel_that_gives_no_memory_ends_a_real_run_in_one_line(tmp_path: Path, trace: Any) -> None:
    folder = tmp_path / "run"
    changes = {"trainer.max_iters": 4, "trainer.save_every": 1, "trainer.schedule": "constant"}
    words = words_of(tmp_path, folder, changes)
    child = start(words, tmp_path / "told", breathless, folder)
    assert child.wait() == 1
    assert child.complained.startswith("error: out of memory: 0.537 GB were asked for at once; resume from the last")
    assert child.complained.count("\n") == 1
    assert checkpoint.newest(folder).state["step"] == 2
    assert start([*words, "--trainer.resume=True", f"--system.work_dir={folder}"], tmp_path / "again").wait() == 0
    start(words_of(tmp_path, tmp_path / "whole", changes), tmp_path / "undisturbed").wait()
    assert trace(folder) == trace(tmp_path / "whole")
    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 4


def test_memory_of_arrays_is_the_same_error() -> None:
    """What numpy raises is a MemoryError, with what was asked for in it."""
    with pytest.raises(MemoryError) as refused:
        np.empty(2**60, dtype=np.uint8)
    assert memory_asked_for(refused.value) == "1.00 EiB were asked for at once"
