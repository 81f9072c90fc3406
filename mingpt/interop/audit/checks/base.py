"""What a check is: a question, why it can't be asked of a target, and the function that answers it."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from mingpt.core.registry import Registry
from mingpt.inference.causality import largest_differences
from mingpt.interop.audit.effort import Effort
from mingpt.interop.audit.results import Result
from mingpt.interop.audit.target import Target

Run = Callable[[Target, Effort], Result]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        number: place in the order in which checks run
        about: what must hold, in one sentence, for help and documents
        weight: its share of the time, relative to the others'
        run: answers it for a target within an effort
    """

    number: int
    about: str
    weight: float
    run: Run


CHECKS: Registry[Check] = Registry("check")


def check(number: int, name: str, about: str, *, weight: float) -> Callable[[Run], Run]:
    """Decorator: register a function as a check."""

    def register(run: Run) -> Run:
        CHECKS.add(name)(Check(number, about, weight, run))
        return run

    return register


@dataclass(frozen=True)
class Difference:
    """Where logits first differ by more than rounding: row, position, and the largest difference of a logit."""

    row: int
    position: int
    size: float


def first_difference(target: Target, expected: Tensor, found: Tensor, *, same_shape: bool) -> Difference | None:
    """Return the first position at which (b, t, v) logits differ, with their largest difference; None if they don't.

    Args:
        same_shape: both are of passes with inputs of equal shapes
    """
    differences = largest_differences(expected, found)
    where = (differences > target.rounding.tolerance(expected, same_shape=same_shape)).nonzero()
    if not len(where):
        return None
    row, position = min(where.tolist(), key=lambda place: place[1])
    return Difference(row, position, float(differences.max()))


def snippet(target: Target, *lines: str) -> str:
    """Return Python that loads a target and runs `lines`."""
    return "\n".join((target.load, *lines)) + "\n"


def drawn(ids: Tensor, seed: int = 0) -> str:
    """Return the Python that draws `ids`, (b, t), from a target again."""
    return f"target.ids({len(ids)}, {ids.shape[1]}, seed={seed})"
