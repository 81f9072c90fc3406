"""Truncated back-propagation through time: recurrent states passed from each block of a text to the next.

Gradients stop at a block's edge: the forward pass leaves the states detached (Williams & Peng 1990).  Every micro-batch
has a state of its own.  A checkpoint stores the states as a single process would have them, so that a run can resume
with any number of processes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from mingpt.core.errors import CheckpointError
from mingpt.distributed.strategy import SINGLE_PROCESS, ProcessGroup
from mingpt.models.base import LanguageModel, RecurrentStateLike


class RecurrentStates:
    """Recurrent states of a run, one per micro-batch and piece.

    Args:
        fresh: step, from 0 -> True if states are reset before it; None: no states (stateless training)
        model: the model
        rows: rows of a batch, in all processes
        parts: micro-batches of a single process
        processes: the processes that share the batch
        pieces: pieces of a micro-batch that are computed at the same time
    """

    def __init__(
        self,
        fresh: Callable[[int], bool] | None,
        model: LanguageModel,
        rows: int,
        parts: int,
        processes: ProcessGroup = SINGLE_PROCESS,
        pieces: int = 1,
    ) -> None:
        self._fresh, self._model, self._rows, self._parts, self._processes = fresh, model, rows, parts, processes
        self._own_parts = processes.micro_batches(rows, parts) * pieces
        self._states: list[RecurrentStateLike] = []

    def before(self, step: int) -> Sequence[RecurrentStateLike | None]:
        """Return one state per micro-batch and piece of `step`, which the forward pass updates in place."""
        if self._fresh is None:
            return [None] * self._own_parts
        if self._fresh(step):
            self._states = self._empty(self._own_parts, self._rows // self._processes.size)
        return self._states

    def tensors(self) -> dict[str, Tensor]:
        """Return the states as tensors: `part/length`, and `part/layer.number` for each hidden tensor of a layer."""
        return _named(self._recut(self._states, self._processes.gather_rows, self._parts, self._rows))

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the states that `tensors` returned.

        Raises:
            CheckpointError: names, shapes or types differ from this run's states, which then stay as they were.
        """
        if self._fresh is None:
            return
        states = self._empty(self._parts, self._rows)
        saved, own = _described(tensors), _described(_named(states))
        for name in sorted(saved.keys() | own.keys()):
            if saved.get(name) != own.get(name):
                theirs, ours = saved.get(name, "missing"), own.get(name, "unknown")
                raise CheckpointError(f"another run's recurrent state: {name} is {theirs} there and {ours} here")
        for part, state in enumerate(states):
            state.length = int(tensors[f"{part}/length"])
            state.layers = [
                tuple(tensors[f"{part}/{layer}.{number}"].to(empty) for number, empty in enumerate(hidden))
                for layer, hidden in enumerate(state.layers)
            ]
        self._states = self._recut(
            states, self._processes.local_rows, self._own_parts, self._rows // self._processes.size
        )

    def _recut(
        self, states: Sequence[RecurrentStateLike], share: Callable[[Tensor], Tensor], parts: int, rows: int
    ) -> list[RecurrentStateLike]:
        """Concatenate the rows of `states`, apply `share`, which returns `rows` rows, and split them into `parts`."""
        if not states:
            return []
        together = [
            [share(torch.cat(parts_of_one)).chunk(parts) for parts_of_one in zip(*hidden, strict=True)]
            for hidden in zip(*(state.layers for state in states), strict=True)
        ]
        cut = self._empty(parts, rows)
        for part, state in enumerate(cut):
            state.length = states[0].length  # the same for all
            state.layers = [tuple(tensor[part] for tensor in hidden) for hidden in together]
        return cut

    def _empty(self, parts: int, rows: int) -> list[RecurrentStateLike]:
        assert self._model.config.supports_tbptt
        return [cast(RecurrentStateLike, self._model.new_state(rows // parts)) for _ in range(parts)]


def _named(states: Sequence[RecurrentStateLike]) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    for part, state in enumerate(states):
        named[f"{part}/length"] = torch.tensor(state.length)
        for layer, hidden in enumerate(state.layers):
            named |= {f"{part}/{layer}.{number}": tensor.clone() for number, tensor in enumerate(hidden)}
    return named


def _described(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return shapes and kinds; floating-point types may differ, since autocast changes a state's type."""
    return {
        name: f"{'floating' if tensor.is_floating_point() else 'integer'} {tuple(tensor.shape)}"
        for name, tensor in tensors.items()
    }
