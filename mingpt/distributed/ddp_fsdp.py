"""Several processes that train one model, by PyTorch's own engine: who has joined, and how they exchange.

    ddp    every process holds the whole model; gradients are averaged (Li et al. 2020)
    fsdp   every process holds a part of every tensor of model and optimizer; a stage's are gathered when its turn comes
           and dropped after it (Rajbhandari et al. 2020; Zhao et al. 2023)

Numbers and words that the processes agree on go through gloo on the CPU; gradients and parameters of models on cards
through nccl.
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
from mingpt.distributed.compile_fallback import Compiler
from mingpt.distributed.strategy import ALONE, NUMBERS, LossOf, Ranks, full_tensor, numbers
from mingpt.distributed.torchrun_env import DistConfig as DistConfig
from mingpt.distributed.torchrun_env import Launch, launched

T = TypeVar("T")
TRAININGS = itertools.count(1)  # of this process, each in its own company
BUCKET, LARGEST_BUCKET = 25, 128  # MB of gradients exchanged together: as PyTorch does, and at most
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}


def _bucket(model: nn.Module, device: torch.device) -> int | None:
    """MB of gradients that DDP exchanges together; None: as PyTorch does, a small bucket first.

    Each is a graph of its own to a compiler: of GPT-2 124M one process alone on a card lost 4 % of a step to buckets of
    25 MB, and 1 % to these (LOG.md, 2026-11-27).  Of four, three can be exchanged while the rest is computed.
    """
    fourth = sum(p.numel() * p.element_size() for p in model.parameters()) // 4_000_000
    return min(fourth, LARGEST_BUCKET) if device.type == "cuda" and fourth > BUCKET else None


class Nobody:
    """Stands in all processes but the first for what the first has: takes any call and does nothing."""

    def __getattr__(self, name: str) -> "Nobody":
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> "Nobody":
        return self


class Replicas(Ranks):
    """Every process has the whole model and a share of each batch (DDP).

    Args:
        launch: who this process is.
    """

    strategy = "ddp"
    passes_at_once = False

    def __init__(self, launch: Launch) -> None:
        self.rank, self.size, self.launch, self._launched = launch.rank, launch.size, launch.id, launch
        self.path = (self.rank,) if self.rank else ()
        self._replica: Any = None

    def __str__(self) -> str:
        return f" in each of {self.size} processes ({self.strategy})"

    @property
    def described(self) -> dict[str, Any]:
        return {"processes": self.size, "strategy": self.strategy, "launch": self.launch}

    def refuse_company(self, field: str, value: object, rule: str) -> None:
        require(False, field, value, rule)

    def rows(self, batch: Tensor) -> Tensor:
        return batch.chunk(self.size)[self.rank]

    def device(self, kind: torch.device) -> torch.device:
        if kind.type == "cpu":
            return kind
        cards, here = torch.cuda.device_count(), self._launched.local_size
        rule = f"this machine has {cards} and was given {here} processes; --nproc_per_node={cards} at most"
        require(here <= cards, "trainer.device", kind.type, rule)
        torch.cuda.set_device(self._launched.local_rank)
        return torch.device(kind.type, self._launched.local_rank)

    def spread(self, model: nn.Module, device: torch.device, stages: Sequence[nn.Module]) -> Callable[..., Tensor]:
        asked = LossOf(model.to(device))
        self._replica = DistributedDataParallel(
            asked, bucket_cap_mb=_bucket(model, device), gradient_as_bucket_view=True
        )
        return self._replica

    def compiled(self, call: Callable[..., Any]) -> tuple[Callable[..., Any], list[str]]:
        compiler = Compiler()  # as what raises in the middle of a pass would keep the others waiting
        return compiler.compiled(call), compiler.failed

    def held(self, model: nn.Module, stages: Sequence[nn.Module]) -> int:
        return (NUMBERS + 1) * numbers(model)  # gradients that add up over several parts are copied for the exchange

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last else self._replica.no_sync()

    def leave(self) -> None:
        """Let go of what DDP holds of the group.

        Who lets go of a group last waits for its threads, which may wait for Python's lock; DDP's own parts would wait
        with that lock in their hands.
        """
        if self._replica is not None:
            del self._replica.reducer, self._replica.logger
            self._replica = None

    def deal(self, tasks: Sequence[T]) -> Iterator[tuple[T, bool]]:
        # Where parameters are gathered for a pass, everyone has to make it: who has nothing left makes one in vain.
        for start in range(0, len(tasks), self.size):
            counts = start + self.rank < len(tasks)
            yield tasks[start + self.rank if counts else start], counts

    def total(self, value: float) -> float:
        shared = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(shared)
        return shared.item()

    def agreed(self, reason: str | None) -> str | None:
        speaker = torch.tensor(self.size if reason is None else self.rank)
        dist.all_reduce(speaker, dist.ReduceOp.MIN)
        source = int(speaker)
        return reason if source == self.size else self._heard(reason or "", source)

    def first(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.rank:
            self._outcome()
            return Nobody()
        try:
            result = call(*args, **kwargs)
        except Exception as error:
            with contextlib.suppress(RuntimeError):  # the others may be gone; this error is the one to tell
                self._outcome(error)
            raise
        self._outcome()
        return result

    def in_turn(self, call: Callable[..., T], *args: Any) -> T:
        result: T = self.first(call, *args)
        return call(*args) if self.rank else result

    @contextlib.contextmanager
    def entered_first(
        self, place: AbstractContextManager[T], tell: Callable[[T], Any], follow: Callable[[Any], T]
    ) -> Iterator[T]:
        with contextlib.ExitStack() as stack:
            entered = self.first(stack.enter_context, place)
            told = self._heard("" if self.rank else json.dumps(tell(entered)))
            yield follow(json.loads(told)) if self.rank else entered

    def gathered(self, rows: Tensor) -> Tensor:
        found = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(found, rows.contiguous())
        return torch.cat(found)

    def _outcome(self, error: Exception | None = None) -> None:
        """What came of something that rank 0 did: told by it, raised by the others where it failed."""
        code = getattr(error, "exit_code", 1) if error else 0
        code, said = json.loads(self._heard(json.dumps([code, str(error)])))
        if code and self.rank:
            raise PeerError(said, code)

    def _heard(self, text: str, source: int = 0) -> str:
        """The text that `source` gives; what the others give is not looked at."""
        content = text.encode() if self.rank == source else b""
        length = torch.tensor(len(content))
        dist.broadcast(length, source)
        letters = torch.zeros(int(length), dtype=torch.uint8)
        if content:
            letters = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        dist.broadcast(letters, source)
        return bytes(letters.tolist()).decode()


class Shards(Replicas):
    """Every process has a part of every tensor and a share of each batch (FSDP2, `fully_shard`)."""

    strategy = "fsdp"

    def spread(self, model: nn.Module, device: torch.device, stages: Sequence[nn.Module]) -> Callable[..., Tensor]:
        from torch.distributed.device_mesh import init_device_mesh  # half a second, and only where it is wanted
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        mesh = init_device_mesh(device.type, (self.size,))
        for module in (*stages, model):
            fully_shard(module, mesh=mesh, reshard_after_forward=True)
        register_fsdp_forward_method(model, "masked_logits")
        return LossOf(model)

    def held(self, model: nn.Module, stages: Sequence[nn.Module]) -> int:
        rows = ((p.shape[0], p.numel() // p.shape[0]) for p in model.parameters())  # by which they are shared out
        shares = sum(-(-count // self.size) * width for count, width in rows)  # of the first process
        staged = [numbers(stage) for stage in stages]
        gathered = max(*staged, numbers(model) - sum(staged), 0)  # of the largest: its weights and gradients
        return NUMBERS * shares + 2 * gathered

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        return nullcontext()  # gradients are exchanged with every part, since whole ones are what there is no room for

    def unsharded(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        made: dict[int, Tensor] = {}
        for name in sorted(tensors):  # in one order everywhere, which what a file was read into need not have
            tensor = tensors[name]
            if id(tensor) not in made:
                gathered = full_tensor(tensor.detach())
                made[id(tensor)] = gathered.new_empty(0) if self.rank else gathered.cpu()
        return {name: made[id(tensor)] for name, tensor in tensors.items()}

    def undone(self, model: nn.Module, fresh: Callable[[], Any]) -> Any:
        weights = self.unsharded(model.state_dict(keep_vars=True))
        if self.rank:
            return model
        alone = fresh()
        alone.load_state_dict(weights)
        return alone


STRATEGIES: Registry[type[Replicas]] = Registry("dist.strategy")
STRATEGIES.add(Replicas.strategy)(Replicas)
STRATEGIES.add(Shards.strategy)(Shards)


@contextlib.contextmanager
def joined(config: DistConfig, device: torch.device) -> Iterator[Ranks]:
    """The company of this process; all leave together where nothing went wrong.

    Args:
        device: the kind of device that they compute on.

    Raises:
        UsageError: a setting that needs company, of one alone; a device that this process hasn't got.
        PeerError: another process is gone.
    """
    launch = launched()
    if launch is None:
        rule = "shares a model among processes, and this one is alone: start it with torchrun"
        require(config.strategy == DistConfig.strategy, "dist.strategy", config.strategy, rule)
        yield ALONE
        return
    training = next(TRAININGS)
    launch = dataclasses.replace(launch, id=launch.training(training))
    rule = f"several processes share {' or '.join(BACKENDS)}"
    require(device.type in BACKENDS, "trainer.device", device.type, rule)
    if launch.on_one_machine:
        _stay_inside()
    ranks, failed = STRATEGIES[config.strategy](launch), True
    with no_messages() if launch.rank else nullcontext():
        try:
            meeting, _, _ = next(rendezvous("env://"))
            # A place of its own in torchrun's store, where addresses from before a restart, or of an earlier training
            # of these processes, still lie.
            store = PrefixStore(f"start {launch.starts} of {launch.size}, training {training}", meeting)
            dist.init_process_group(BACKENDS[device.type], store=store, rank=launch.rank, world_size=launch.size)
            yield ranks
            dist.all_reduce(torch.zeros(()))  # who ended early would have the others ended
            failed = False
        except RuntimeError as error:
            if "gloo" in str(error) or isinstance(error, dist.DistError):
                raise PeerError(f"another process of this run is gone ({str(error).split('. ')[0]})") from None
            raise
        finally:
            ranks.leave()
            if dist.is_initialized() and not (
                failed and device.type == "cuda"
            ):  # nccl would wait for those that are gone
                dist.destroy_process_group()


def _stay_inside() -> None:
    """Let gloo use the loopback interface, and no name of this machine that nobody may know."""
    inside = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if inside:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", inside[0])
