"""One process alone: nothing of torch.distributed is started, and what needs company is refused."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from process_group import alone
from torch import nn

from mingpt.cli import main
from mingpt.core.errors import UsageError
from mingpt.core.torchrun_env import Launch, launched, rank
from mingpt.distributed import ddp_fsdp
from mingpt.distributed.compile_fallback import compile_or_fall_back
from mingpt.distributed.ddp_fsdp import DDP, FSDP
from mingpt.distributed.strategy import SINGLE_PROCESS, ProcessGroup, full_tensor, local, sharded_like

TOLD = {
    "RANK": "3",
    "WORLD_SIZE": "8",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
}


class Untouchable:
    """Fails whoever asks it for anything."""

    def __getattr__(self, name: str) -> None:
        raise AssertionError(f"torch.distributed.{name} was asked for")


def test_single_process_starts_no_process_group(flags: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dist", "rendezvous", "DistributedDataParallel"):
        monkeypatch.setattr(ddp_fsdp, name, Untouchable())
    alone(flags(tmp_path / "run", {"trainer.max_iters": 1}))
    assert not torch.distributed.is_initialized()


def test_strategy_of_several_is_rejected_in_a_single_process(flags: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"dist\.strategy=fsdp: needs several processes: start it with torchrun"):
        alone(flags(tmp_path / "run", {"dist.strategy": "fsdp"}))
    assert list(tmp_path.iterdir()) == []


def test_incomplete_launch_is_rejected(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert launched({}) is launched({"RANK": "0", "WORLD_SIZE": "1"}) is None
    for name in TOLD.keys() - {"WORLD_SIZE"}:
        with pytest.raises(UsageError, match=rf"WORLD_SIZE=8: needs {name}, too"):
            launched({key: value for key, value in TOLD.items() if key != name})
    with pytest.raises(UsageError, match="RANK='x': must be a number"):
        launched(TOLD | {"RANK": "x"})
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert rank() == 0
    assert main.main(["--trainer.max_iters=1"]) == 2
    assert capsys.readouterr().err.startswith("error: WORLD_SIZE=8: needs RANK, MASTER_ADDR")


def test_launch_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launched(TOLD) == Launch(rank=3, size=8, local_rank=1, local_size=2, id=None)
    by_torchrun = {"TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_RESTART_COUNT": "4"}
    found = launched(TOLD | by_torchrun)
    assert found == Launch(rank=3, size=8, local_rank=1, local_size=2, id="x", starts=4)
    assert found is not None
    assert not found.on_one_machine
    nameless = launched(TOLD | {"TORCHELASTIC_RUN_ID": "none"})
    assert nameless is not None
    assert nameless.id == launched(TOLD | {"TORCHELASTIC_RUN_ID": "none"}).id  # type: ignore[union-attr]
    assert nameless.id.split(" of ")[0] == f"process {os.getppid()}"  # torchrun's own, which lives through a restart
    assert rank() == 0
    for name, value in TOLD.items():
        monkeypatch.setenv(name, value)
    assert rank() == 3


def test_single_process_exchanges_nothing() -> None:
    batch, parameter = torch.arange(6).view(3, 2), torch.nn.Parameter(torch.ones(2))
    assert SINGLE_PROCESS.local_rows(batch) is SINGLE_PROCESS.gather_rows(batch) is batch
    assert (SINGLE_PROCESS.mean(2.5), SINGLE_PROCESS.any_reason(None), SINGLE_PROCESS.any_reason("SIGINT")) == (
        2.5,
        None,
        "SIGINT",
    )
    assert list(SINGLE_PROCESS.shard("abc")) == [("a", True), ("b", True), ("c", True)]
    assert local(batch) is full_tensor(batch) is sharded_like(batch, parameter) is batch
    assert (SINGLE_PROCESS.micro_batches(12, 3), SINGLE_PROCESS.path, SINGLE_PROCESS.described) == (3, (), {})


@pytest.mark.parametrize(
    ("size", "batch", "accumulation", "parts"),
    [(2, 12, 1, 1), (2, 12, 3, 2), (3, 12, 4, 2), (4, 8, 2, 1), (2, 6, 6, 3)],
)
def test_micro_batch_is_no_larger_than_asked(size: int, batch: int, accumulation: int, parts: int) -> None:
    processes = DDP(Launch(rank=0, size=size, local_rank=0, local_size=size))
    assert processes.micro_batches(batch, accumulation) == parts
    assert batch / (size * parts) <= batch / accumulation


def test_shares_of_a_batch_are_all_rows_once() -> None:
    everybody = [DDP(Launch(rank=r, size=3, local_rank=r, local_size=3)) for r in range(3)]
    batch = torch.arange(12)
    assert torch.cat([processes.local_rows(batch) for processes in everybody]).tolist() == list(range(12))
    for tasks in ("", "a", "abc", "abcd"):
        dealt = [list(processes.shard(tasks)) for processes in everybody]
        assert len({len(own) for own in dealt}) == 1
        assert sorted(task for own in dealt for task, counts in own if counts) == list(tasks)


def test_numbers_that_a_process_holds_are_those_of_all() -> None:
    """Of 5 processes: 1 of the 5 rows of each of two stages, 1 of the 3 of what is left, and a stage gathered."""
    stages = [nn.Linear(2, 5, bias=False), nn.Linear(7, 5, bias=False)]
    model = nn.Sequential(*stages, nn.Linear(5, 3, bias=False))
    launch = Launch(rank=0, size=5, local_rank=0, local_size=5)
    assert SINGLE_PROCESS.parameters_held(model, stages) == 4 * (10 + 35 + 15)
    assert DDP(launch).parameters_held(model, stages) == 5 * (10 + 35 + 15)
    assert FSDP(launch).parameters_held(model, stages) == 4 * (2 + 7 + 5) + 2 * 35
    assert FSDP(launch).parameters_held(model, []) == 4 * (2 + 7 + 5) + 2 * 60


@pytest.mark.parametrize("id", [None, "mine"])
def test_two_trainings_of_one_launch_are_two_runs(id: str | None) -> None:
    launch = Launch(rank=0, size=2, local_rank=0, local_size=2, id=id)
    assert [launch.training(n) for n in (1, 2, 3)] == [id, *(id and f"{id}, training {n}" for n in (2, 3))]


def test_dropout_differs_between_processes() -> None:
    paths = [DDP(Launch(rank=r, size=3, local_rank=r, local_size=3)).path for r in range(3)]
    assert len(set(paths)) == 3
    assert paths[0] == ProcessGroup.path


class Compiling(ProcessGroup):
    """A process whose compiler is a function of these tests."""

    def __init__(self, failures: list[str]) -> None:
        self.failures = failures

    def compile(self, call: Any) -> Any:
        return (lambda: ("compiled", call())), self.failures


@pytest.mark.parametrize(
    ("raised", "failures", "kind"),
    [(None, [], None), (RuntimeError("no compiler"), [], "RuntimeError"), (None, ["KeyError"], "KeyError")],
)
def test_forward_is_compiled_unless_the_compiler_fails(
    raised: Exception | None, failures: list[str], kind: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    def try_once(compiled: Any) -> None:
        assert compiled() == ("compiled", "forward")
        if raised:
            raise raised

    forward, failed = compile_or_fall_back(lambda: "forward", Compiling(failures), try_once)
    assert (forward(), failed) == (("compiled", "forward") if kind is None else "forward", kind)
    assert [kind in message for message in caplog.messages] == [True] * (kind is not None)
