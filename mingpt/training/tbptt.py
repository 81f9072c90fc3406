"""What training takes from one block of a text to the next: a recurrent model's state, as if the text had not been cut.

Gradients do stop at a block's edge: a state comes out of the forward pass detached (truncated back-propagation through
time, Williams & Peng 1990).  The parts of a step that are computed one after the other have a state each.  What is
saved is cut as one process alone would have it, so that a run goes on with any number of them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from mingpt.core.errors import CheckpointError
from mingpt.distributed.strategy import ALONE, Ranks
from mingpt.models.base import CarriedState, LanguageModel


class Carried:
    """The states of one run.

    Args:
        fresh: tells of a step, from 0, whether it begins without a memory; None: no state is carried at all.
        model: whose states they are.
        rows: of a step, in all processes.
        parts: that one process alone would compute them in.
        ranks: the processes that share them.
        pieces: that each part is computed in at the same time.
    """

    def __init__(
        self,
        fresh: Callable[[int], bool] | None,
        model: LanguageModel,
        rows: int,
        parts: int,
        ranks: Ranks = ALONE,
        pieces: int = 1,
    ) -> None:
        self._fresh, self._model, self._rows, self._parts, self._ranks = fresh, model, rows, parts, ranks
        self._own_parts = ranks.parts(rows, parts) * pieces
        self._states: list[CarriedState] = []

    def into(self, step: int) -> Sequence[CarriedState | None]:
        """One state for each part of `step`, to be updated in place by the forward pass."""
        if self._fresh is None:
            return [None] * self._own_parts
        if self._fresh(step):
            self._states = self._empty(self._own_parts, self._rows // self._ranks.size)
        return self._states

    def tensors(self) -> dict[str, Tensor]:
        """What the states hold: `part/length`, and `part/layer.number` of each tensor that a layer remembers."""
        return _named(self._recut(self._states, self._ranks.gathered, self._parts, self._rows))

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` gave.

        Raises:
            CheckpointError: other names, shapes or kinds of numbers than this run's states have; nothing is taken then.
        """
        if self._fresh is None:
            return
        states = self._empty(self._parts, self._rows)
        there, here = _described(tensors), _described(_named(states))
        for name in sorted(there.keys() | here.keys()):
            if there.get(name) != here.get(name):
                theirs, ours = there.get(name, "missing"), here.get(name, "unknown")
                raise CheckpointError(f"another run's carried state: {name} is {theirs} there and {ours} here")
        for part, state in enumerate(states):
            state.length = int(tensors[f"{part}/length"])
            state.layers = [
                tuple(tensors[f"{part}/{layer}.{number}"].to(empty) for number, empty in enumerate(hidden))
                for layer, hidden in enumerate(state.layers)
            ]
        self._states = self._recut(states, self._ranks.rows, self._own_parts, self._rows // self._ranks.size)

    def _recut(
        self, states: Sequence[CarriedState], share: Callable[[Tensor], Tensor], parts: int, rows: int
    ) -> list[CarriedState]:
        """The rows of all `states`, passed through `share`, which leaves so many, in so many parts."""
        if not states:
            return []
        together = [
            [share(torch.cat(parts_of_one)).chunk(parts) for parts_of_one in zip(*hidden, strict=True)]
            for hidden in zip(*(state.layers for state in states), strict=True)
        ]
        cut = self._empty(parts, rows)
        for part, state in enumerate(cut):
            state.length = states[0].length  # all have read the same steps
            state.layers = [tuple(tensor[part] for tensor in hidden) for hidden in together]
        return cut

    def _empty(self, parts: int, rows: int) -> list[CarriedState]:
        assert self._model.carries_state
        return [cast(CarriedState, self._model.new_state(rows // parts)) for _ in range(parts)]


def _named(states: Sequence[CarriedState]) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    for part, state in enumerate(states):
        named[f"{part}/length"] = torch.tensor(state.length)
        for layer, hidden in enumerate(state.layers):
            named |= {f"{part}/{layer}.{number}": tensor.clone() for number, tensor in enumerate(hidden)}
    return named


def _described(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Shapes and kinds; floating-point types may differ, since autocast leaves a state in another than it began."""
    return {
        name: f"{'floating' if tensor.is_floating_point() else 'whole'} {tuple(tensor.shape)}"
        for name, tensor in tensors.items()
    }
