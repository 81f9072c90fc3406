"""What training takes from one block of a text to the next: a recurrent model's state, as if the text had not been cut.

Gradients do stop at a block's edge: a state comes out of the forward pass detached (truncated back-propagation through
time, Williams & Peng 1990).  The parts of a step that are computed one after the other have a state each.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from mingpt.errors import CheckpointError, require
from mingpt.lm import CarriedState, LanguageModel


def refuse_carrying(family: type[LanguageModel], compile_setting: str) -> None:
    """Refuse to carry a state where that can't be.

    Raises:
        UsageError: names the setting, its value and the rule.
    """
    rule = f"{family.__name__} has no state that training can carry on; only recurrent models do"
    require(family.carries_state, "data.stateful", True, rule)
    require(compile_setting != "always", "trainer.compile", compile_setting, "can't be with data.stateful=True")


class Carried:
    """The states of one run.

    Args:
        fresh: tells of a step, from 0, whether it begins without a memory; None: no state is carried at all.
        model: whose states they are.
        parts: of a step.
        rows: of a part.
    """

    def __init__(self, fresh: Callable[[int], bool] | None, model: LanguageModel, *, parts: int, rows: int) -> None:
        self._fresh, self._model, self._parts, self._rows = fresh, model, parts, rows
        self._states: list[CarriedState] = []

    def into(self, step: int) -> Sequence[CarriedState | None]:
        """One state for each part of `step`, to be updated in place by the forward pass."""
        if self._fresh is None:
            return [None] * self._parts
        if self._fresh(step):
            self._states = self._empty()
        return self._states

    def tensors(self) -> dict[str, Tensor]:
        """What the states hold: `part/length`, and `part/layer.number` of each tensor that a layer remembers."""
        return _named(self._states)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` gave.

        Raises:
            CheckpointError: other names, shapes or kinds of numbers than this run's states have; nothing is taken then.
        """
        if self._fresh is None:
            return
        states = self._empty()
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
        self._states = states

    def _empty(self) -> list[CarriedState]:
        assert self._model.carries_state
        return [cast(CarriedState, self._model.new_state(self._rows)) for _ in range(self._parts)]


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
