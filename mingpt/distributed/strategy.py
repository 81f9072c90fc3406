"""ProcessGroup: what training needs of the processes that share it; a single process here, DDP and FSDP in ddp_fsdp.py.

All processes run the same program in lockstep: they take the same decisions and make the same passes in the same order,
and only rank 0 writes files and logs.  Training code calls a ProcessGroup and never asks how many there are: in a
single process every collective is the identity, and torch.distributed is not initialised.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from mingpt.core.errors import require

T = TypeVar("T")
NUMBERS = 4  # held per parameter in training: weight, gradient and two moving averages


class LossOnly(nn.Module):
    """A language model whose output has a loss and no logits.

    Logits that a compiled step returns would be given a gradient of zeros, as large as they are.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, idx: Tensor, targets: Tensor, *, state: Any = None) -> Any:
        return self.model(idx, targets, state=state)._replace(logits=None)


class ProcessGroup:
    """A single process: rank 0 of 1; base class of the strategies for several.

    Attributes:
        rank, size: this process's rank, and the number of processes (the world size)
        path: part of the seed of random numbers that differ between processes; () for rank 0
        launch: id of the launcher's run; None if nothing restarts this process
        allows_threads: True if several threads may run passes at the same time; collectives must be in one order
    """

    rank, size = 0, 1
    allows_threads = True
    path: tuple[int, ...] = ()
    launch: str | None = None

    def __str__(self) -> str:
        """Return the text that follows the number of threads in the summary of a run."""
        return ""

    @property
    def described(self) -> dict[str, Any]:
        """Entries of environment.json about the processes."""
        return {}

    def require_single_process(self, field: str, value: object, rule: str) -> None:
        """Raise a UsageError for a setting that needs a single process, if there are several."""

    # ---- batches, model, validation set

    def micro_batches(self, batch_size: int, accumulation: int) -> int:
        """Return the number of this process's micro-batches, none larger than batch_size / accumulation.

        Raises:
            UsageError: the batch can't be divided evenly.
        """
        count = -(-accumulation // self.size)
        rule = f"must be a multiple of {self.size} processes times {count} micro-batches each"
        require(batch_size % (self.size * count) == 0, "trainer.batch_size", batch_size, rule)
        return count

    def local_rows(self, batch: Tensor) -> Tensor:
        """Return this process's consecutive rows of (b, ...)."""
        return batch

    def device(self, kind: torch.device) -> torch.device:
        """Return this process's device of the given kind.

        Raises:
            UsageError: there are fewer devices than processes on this machine.
        """
        return kind

    def wrap(self, model: nn.Module, device: torch.device, stages: Sequence[nn.Module]) -> Callable[..., Any]:
        """Move `model` to `device`, in place, and return the callable that training uses instead of it.

        Args:
            model: the model; the callable returns its output, possibly without logits
            device: this process's device
            stages: submodules that run one after another
        """
        return model.to(device)

    def compile(self, call: Callable[..., Any]) -> tuple[Callable[..., Any], list[str]]:
        """Return `call`, compiled at its first call, and a list of the errors of graphs that run eagerly instead.

        In a single process an error is raised by the call, and the list stays empty.
        """
        return torch.compile(LossOnly(cast(nn.Module, call))), []

    def parameters_held(self, model: nn.Module, stages: Sequence[nn.Module]) -> int:
        """Return how many numbers this process holds in training: weights, gradients, two averages, buffers.

        Args:
            model: the model, not wrapped
            stages: as for `wrap`
        """
        return NUMBERS * numbers(model)

    def gradient_sync(self, last: bool) -> AbstractContextManager[Any]:
        """Return a context for forward and backward of a micro-batch; gradients are all-reduced after the last."""
        return nullcontext()

    def shard(self, tasks: Sequence[T]) -> Iterator[tuple[T, bool]]:
        """Yield this process's tasks, the same number in every process, each with False if it is padding."""
        return ((task, True) for task in tasks)

    # ---- all-reduce

    def sum(self, value: float) -> float:
        """Return the sum over all processes."""
        return value

    def mean(self, value: float) -> float:
        """Return the mean over all processes."""
        return self.sum(value) / self.size

    def any_reason(self, reason: str | None) -> str | None:
        """Return the reason of the lowest rank that has one; None if none has."""
        return reason

    # ---- rank 0 only

    def rank_zero_only(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return call(*args, **kwargs) on rank 0, and a stub that accepts and ignores every call on other ranks.

        Raises:
            PeerError: the call failed on rank 0 (raised on other ranks).
        """
        return call(*args, **kwargs)

    def main_process_first(self, call: Callable[..., T], *args: Any) -> T:
        """Return call(*args), called on rank 0 first, so that the others find the files that it writes."""
        return call(*args)

    @contextlib.contextmanager
    def enter_on_rank_zero(
        self, place: AbstractContextManager[T], encode: Callable[[T], Any], decode: Callable[[Any], T]
    ) -> Iterator[T]:
        """Enter `place` on rank 0 only, and yield its value in every process.

        Args:
            place: the context of rank 0
            encode: converts its value to JSON data, which is broadcast
            decode: converts these data back on other ranks
        """
        with place as entered:
            yield entered

    # ---- tensors that a checkpoint holds

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes, in the order of `local_rows`."""
        return rows

    def unshard(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return complete tensors, on rank 0; names that share a tensor still share one."""
        return tensors

    def unwrap(self, model: nn.Module, fresh: Callable[[], Any]) -> Any:
        """Return, on rank 0, a model that needs no other process: `model`, or a `fresh()` one with its weights."""
        return model


SINGLE_PROCESS = ProcessGroup()


def numbers(model: nn.Module) -> int:
    """Return the number of elements of all parameters, in all processes together."""
    return sum(parameter.numel() for parameter in model.parameters())


def local(tensor: Tensor) -> Tensor:
    """Return this process's shard of `tensor`, or `tensor` itself if it isn't sharded."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def full_tensor(tensor: Tensor) -> Tensor:
    """Return the complete tensor, in every process."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def sharded_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Shard the complete `tensor` as `parameter` is sharded; scalars stay as they are."""
    if not (tensor.ndim and hasattr(parameter, "placements")):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    shared: Any = parameter
    return distribute_tensor(tensor, shared.device_mesh, shared.placements, src_data_rank=None)
