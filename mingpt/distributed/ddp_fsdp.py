"""Data-parallel training in several processes by PyTorch's DDP and FSDP2.

    ddp    every process holds the model; gradients are averaged (Li et al. 2020)
    fsdp   every process holds a shard of every tensor of model and optimizer; the parameters of a stage are gathered
           for its pass and freed after it (Rajbhandari et al. 2020; Zhao et al. 2023)

Scalars and strings are exchanged by gloo on the CPU, gradients and parameters of models on GPUs by nccl.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from mingpt.core.errors import PeerError, require
from mingpt.core.log_output import no_messages
from mingpt.core.registry import Registry
from mingpt.core.torchrun_env import DistConfig as DistConfig
from mingpt.core.torchrun_env import Launch, launched
from mingpt.distributed.compile_fallback import Compiler
from mingpt.distributed.strategy import NUMBERS, SINGLE_PROCESS, LossOnly, ProcessGroup, full_tensor, numbers

T = TypeVar("T")
TRAININGS = itertools.count(1)  # numbers the trainings of this process, each with its own process group
BUCKET, LARGEST_BUCKET = 25, 128  # MB of gradients all-reduced together: PyTorch's default, and our maximum
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}


def _bucket(model: nn.Module, device: torch.device) -> int | None:
    """Return DDP's bucket size in MB; None: PyTorch's default, a small first bucket and then 25 MB.

    torch.compile makes a graph per bucket: for GPT-2 124M a single process on a GPU lost 4 % of a step to buckets of
    25 MB, and 1 % to these (LOG.md, 2026-11-27).  With four buckets, three are all-reduced during the backward pass.
    """
    fourth = sum(p.numel() * p.element_size() for p in model.parameters()) // 4_000_000
    return min(fourth, LARGEST_BUCKET) if device.type == "cuda" and fourth > BUCKET else None


class RankZeroStub:
    """Stub of an object that exists on rank 0 only: accepts every call and does nothing."""

    def __getattr__(self, name: str) -> "RankZeroStub":
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> "RankZeroStub":
        return self


class DDP(ProcessGroup):
    """Data parallelism: every process has the model and a share of each batch (DistributedDataParallel).

    Args:
        launch: rank and world size of this process
    """

    strategy = "ddp"
    allows_threads = False

    def __init__(self, launch: Launch) -> None:
        self.rank, self.size, self.launch, self._launched = launch.rank, launch.size, launch.id, launch
        self.path = (self.rank,) if self.rank else ()
        self._replica: Any = None

    def __str__(self) -> str:
        return f" in each of {self.size} processes ({self.strategy})"

    @property
    def described(self) -> dict[str, Any]:
        return {"processes": self.size, "strategy": self.strategy, "launch": self.launch}

    def require_single_process(self, field: str, value: object, rule: str) -> None:
        require(False, field, value, rule)

    def local_rows(self, batch: Tensor) -> Tensor:
        return batch.chunk(self.size)[self.rank]

    def device(self, kind: torch.device) -> torch.device:
        if kind.type == "cpu":
            return kind
        gpus, here = torch.cuda.device_count(), self._launched.local_size
        rule = f"this machine has {gpus} and was given {here} processes; --nproc_per_node={gpus} at most"
        require(here <= gpus, "trainer.device", kind.type, rule)
        torch.cuda.set_device(self._launched.local_rank)
        return torch.device(kind.type, self._launched.local_rank)

    def wrap(self, model: nn.Module, device: torch.device, stages: Sequence[nn.Module]) -> Callable[..., Any]:
        self._replica = DistributedDataParallel(
            LossOnly(model.to(device)), bucket_cap_mb=_bucket(model, device), gradient_as_bucket_view=True
        )
        return self._replica

    def compile(self, call: Callable[..., Any]) -> tuple[Callable[..., Any], list[str]]:
        compiler = Compiler()  # an error in the middle of a pass would leave the others waiting
        return compiler.compiled(call), compiler.failed

    def parameters_held(self, model: nn.Module, stages: Sequence[nn.Module]) -> int:
        return (NUMBERS + 1) * numbers(model)  # gradients accumulated over micro-batches are copied to buckets

    def gradient_sync(self, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last else self._replica.no_sync()

    def leave(self) -> None:
        """Delete DDP's references to the process group.

        The last reference waits for the group's threads, which may wait for the GIL; DDP's own destructors would wait
        while holding it.
        """
        if self._replica is not None:
            del self._replica.reducer, self._replica.logger
            self._replica = None

    def shard(self, tasks: Sequence[T]) -> Iterator[tuple[T, bool]]:
        # FSDP gathers parameters in every pass, so a process without a task left repeats another's as padding.
        for start in range(0, len(tasks), self.size):
            own = start + self.rank < len(tasks)
            yield tasks[start + self.rank if own else start], own

    def sum(self, value: float) -> float:
        shared = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(shared)
        return shared.item()

    def any_reason(self, reason: str | None) -> str | None:
        lowest = torch.tensor(self.size if reason is None else self.rank)
        dist.all_reduce(lowest, dist.ReduceOp.MIN)
        source = int(lowest)
        return reason if source == self.size else self._broadcast(reason or "", source)

    def rank_zero_only(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.rank:
            self._share_error()
            return RankZeroStub()
        try:
            result = call(*args, **kwargs)
        except Exception as error:
            with contextlib.suppress(RuntimeError):  # the others may be gone; raise the original error
                self._share_error(error)
            raise
        self._share_error()
        return result

    def main_process_first(self, call: Callable[..., T], *args: Any) -> T:
        result: T = self.rank_zero_only(call, *args)
        return call(*args) if self.rank else result

    @contextlib.contextmanager
    def enter_on_rank_zero(
        self, place: AbstractContextManager[T], encode: Callable[[T], Any], decode: Callable[[Any], T]
    ) -> Iterator[T]:
        with contextlib.ExitStack() as stack:
            entered = self.rank_zero_only(stack.enter_context, place)
            value = self._broadcast("" if self.rank else json.dumps(encode(entered)))
            yield decode(json.loads(value)) if self.rank else entered

    def gather_rows(self, rows: Tensor) -> Tensor:
        gathered = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(gathered, rows.contiguous())
        return torch.cat(gathered)

    def _share_error(self, error: Exception | None = None) -> None:
        """Broadcast rank 0's error, if any, and raise it as a PeerError on other ranks."""
        code = getattr(error, "exit_code", 1) if error else 0
        code, message = json.loads(self._broadcast(json.dumps([code, str(error)])))
        if code and self.rank:
            raise PeerError(message, code)

    def _broadcast(self, text: str, source: int = 0) -> str:
        """Return the text of rank `source`; that of other ranks is ignored."""
        content = text.encode() if self.rank == source else b""
        length = torch.tensor(len(content))
        dist.broadcast(length, source)
        data = torch.zeros(int(length), dtype=torch.uint8)
        if content:
            data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        dist.broadcast(data, source)
        return bytes(data.tolist()).decode()


class FSDP(DDP):
    """Sharded data parallelism: every process has a shard of every tensor and a share of each batch (FSDP2)."""

    strategy = "fsdp"

    def wrap(self, model: nn.Module, device: torch.device, stages: Sequence[nn.Module]) -> Callable[..., Any]:
        from torch.distributed.device_mesh import init_device_mesh  # imported lazily: half a second
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        mesh = init_device_mesh(device.type, (self.size,))
        for module in (*stages, model):
            fully_shard(module, mesh=mesh, reshard_after_forward=True)
        register_fsdp_forward_method(model, "masked_logits")
        return LossOnly(model)

    def parameters_held(self, model: nn.Module, stages: Sequence[nn.Module]) -> int:
        rows = ((p.shape[0], p.numel() // p.shape[0]) for p in model.parameters())  # sharded along the first dimension
        shard = sum(-(-count // self.size) * width for count, width in rows)  # rank 0's, the largest
        staged = [numbers(stage) for stage in stages]
        gathered = max(*staged, numbers(model) - sum(staged), 0)  # weights and gradients of the largest stage
        return NUMBERS * shard + 2 * gathered

    def gradient_sync(self, last: bool) -> AbstractContextManager[Any]:
        return nullcontext()  # always reduce-scatter, since complete gradients may not fit in memory

    def unshard(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        complete: dict[int, Tensor] = {}
        for name in sorted(tensors):  # the same order in every process
            tensor = tensors[name]
            if id(tensor) not in complete:
                gathered = full_tensor(tensor.detach())
                complete[id(tensor)] = gathered.new_empty(0) if self.rank else gathered.cpu()
        return {name: complete[id(tensor)] for name, tensor in tensors.items()}

    def unwrap(self, model: nn.Module, fresh: Callable[[], Any]) -> Any:
        weights = self.unshard(model.state_dict(keep_vars=True))
        if self.rank:
            return model
        single = fresh()
        single.load_state_dict(weights)
        return single


STRATEGIES: Registry[type[DDP]] = Registry("dist.strategy")
STRATEGIES.add(DDP.strategy)(DDP)
STRATEGIES.add(FSDP.strategy)(FSDP)


@contextlib.contextmanager
def joined(config: DistConfig, device: torch.device) -> Iterator[ProcessGroup]:
    """Join the process group that torchrun describes, and leave it at the end, all processes together.

    Args:
        config: the strategy
        device: kind of device to compute on

    Raises:
        UsageError: a strategy without torchrun, or a device that several processes can't use.
        PeerError: another process has ended.
    """
    launch = launched()
    if launch is None:
        rule = "needs several processes: start it with torchrun"
        require(config.strategy == DistConfig.strategy, "dist.strategy", config.strategy, rule)
        yield SINGLE_PROCESS
        return
    training = next(TRAININGS)
    launch = dataclasses.replace(launch, id=launch.training(training))
    rule = f"several processes need {' or '.join(BACKENDS)}"
    require(device.type in BACKENDS, "trainer.device", device.type, rule)
    if launch.on_one_machine:
        _use_loopback()
    processes, failed = STRATEGIES[config.strategy](launch), True
    with no_messages() if launch.rank else nullcontext():
        try:
            meeting, _, _ = next(rendezvous("env://"))
            # A prefix of its own: the store may have addresses from before a restart, or of an earlier training.
            store = PrefixStore(f"start {launch.starts} of {launch.size}, training {training}", meeting)
            dist.init_process_group(BACKENDS[device.type], store=store, rank=launch.rank, world_size=launch.size)
            yield processes
            dist.all_reduce(torch.zeros(()))  # wait for all: torchrun ends the others when one has ended
            failed = False
        except RuntimeError as error:
            if "gloo" in str(error) or isinstance(error, dist.DistError):
                raise PeerError(f"another process of this run has ended ({str(error).split('. ')[0]})") from None
            raise
        finally:
            processes.leave()
            if dist.is_initialized() and not (failed and device.type == "cuda"):  # nccl would wait for ended processes
                dist.destroy_process_group()


def _use_loopback() -> None:
    """Let gloo use the loopback interface, since the host name may not resolve."""
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if loopback:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
