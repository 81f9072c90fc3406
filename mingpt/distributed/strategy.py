"""What the processes of one training ask of each other, and the answers of one that is alone.

All processes run the same program in step: they take the same decisions, make the same passes in the same order, and
only rank 0 writes and talks.  Whoever trains asks a `Ranks` and never whether there are several: alone, every exchange
is the identity, and nothing of torch.distributed is started.  `distributed.py` has the others.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mingpt.core.errors import require

T = TypeVar("T")
NUMBERS = 4  # of a parameter in training: its weight, its gradient and two averages


class LossOf(nn.Module):
    """A language model as training calls it: for the loss alone.

    Logits that a compiled step hands out beside it would be given a gradient: as many zeros, written and added.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, idx: Tensor, targets: Tensor, *, state: Any = None) -> Tensor:
        loss: Tensor = self.model(idx, targets, state=state).loss
        return loss


class Ranks:
    """One process alone: rank 0 of 1.

    Attributes:
        rank, size: of this process, and how many there are.
        path: what sets this process's random draws apart from those of rank 0.
        launch: the id of what started it; None: nothing that would start it again.
        passes_at_once: whether several threads may make passes at the same time; exchanges need one after the other.
    """

    rank, size = 0, 1
    passes_at_once = True
    path: tuple[int, ...] = ()
    launch: str | None = None

    def __str__(self) -> str:
        """What stands after the number of threads where a run is announced."""
        return ""

    @property
    def described(self) -> dict[str, Any]:
        """What environment.json says of the company."""
        return {}

    def refuse_company(self, field: str, value: object, rule: str) -> None:
        """Refuse a setting that only a process alone can honour."""

    # ---- work: batches, the model, held-out text

    def parts(self, batch_size: int, accumulation: int) -> int:
        """Parts that this process's share of a batch is computed in: none is larger than batch_size / accumulation.

        Raises:
            UsageError: the batch can't be shared out evenly.
        """
        parts = -(-accumulation // self.size)
        rule = f"must be a multiple of {self.size} processes times the {parts} parts that each takes its share in"
        require(batch_size % (self.size * parts) == 0, "trainer.batch_size", batch_size, rule)
        return parts

    def rows(self, batch: Tensor) -> Tensor:
        """This process's share of (b, ...): consecutive rows."""
        return batch

    def device(self, kind: torch.device) -> torch.device:
        """This process's own device of a kind.

        Raises:
            UsageError: it has none.
        """
        return kind

    def spread(self, model: nn.Module, device: torch.device, stages: Sequence[nn.Module]) -> Callable[..., Tensor]:
        """Bring `model` to `device`, in place, and return what training calls instead of it, for the loss.

        Args:
            stages: its modules that run one after the other.
        """
        return LossOf(model.to(device))

    def compiled(self, call: Callable[..., Any]) -> tuple[Callable[..., Any], list[str]]:
        """`call`, to be compiled when it is called; and what kinds of error its pieces met that run as written.

        Alone a failure is raised by the call, and the list stays empty.
        """
        return torch.compile(call), []

    def held(self, model: nn.Module, stages: Sequence[nn.Module]) -> int:
        """Numbers that this process holds of `model` in training: weights, gradients, two averages, what it exchanges.

        Args:
            stages: as for `spread`.
        """
        return NUMBERS * numbers(model)

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        """Around forward and backward pass of one part of a step; gradients are exchanged with the last."""
        return nullcontext()

    def deal(self, tasks: Sequence[T]) -> Iterator[tuple[T, bool]]:
        """This process's share of `tasks`, each with whether it counts; as many for every process."""
        return ((task, True) for task in tasks)

    # ---- agreement: numbers and words

    def total(self, value: float) -> float:
        """The sum over all processes."""
        return value

    def mean(self, value: float) -> float:
        """The mean over all processes."""
        return self.total(value) / self.size

    def agreed(self, reason: str | None) -> str | None:
        """What any process gives; the first of several."""
        return reason

    # ---- rank 0 alone

    def first(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """call(*args, **kwargs) by rank 0 alone; in the others something that takes any call and does nothing.

        Raises:
            PeerError: in the others, where it failed.
        """
        return call(*args, **kwargs)

    def in_turn(self, call: Callable[..., T], *args: Any) -> T:
        """call(*args) by rank 0, and then by the others, who find what it made."""
        return call(*args)

    @contextlib.contextmanager
    def entered_first(
        self, place: AbstractContextManager[T], tell: Callable[[T], Any], follow: Callable[[Any], T]
    ) -> Iterator[T]:
        """Rank 0 enters `place`, for as long as this lasts, and tells the others, as JSON, how to follow."""
        with place as entered:
            yield entered

    # ---- tensors that a checkpoint holds

    def gathered(self, rows: Tensor) -> Tensor:
        """All processes' rows, in the order in which `rows` of this class cuts a batch."""
        return rows

    def unsharded(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The tensors as one process alone would have them: in rank 0; names of one tensor stay so."""
        return tensors

    def undone(self, model: nn.Module, fresh: Callable[[], Any]) -> Any:
        """In rank 0, a model that needs no other process: `model` itself, or a fresh one with its weights."""
        return model


ALONE = Ranks()


def numbers(model: nn.Module) -> int:
    """How many numbers training adjusts, in all processes together."""
    return sum(parameter.numel() for parameter in model.parameters())


def local(tensor: Tensor) -> Tensor:
    """The part of `tensor` that this process has: all of it, where it isn't shared out."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def full_tensor(tensor: Tensor) -> Tensor:
    """All of `tensor`, in every process."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def sharded_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """`tensor`, whole in every process, shared out as `parameter` is; single numbers are not."""
    if not (tensor.ndim and hasattr(parameter, "placements")):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    shared: Any = parameter
    return distribute_tensor(tensor, shared.device_mesh, shared.placements, src_data_rank=None)
