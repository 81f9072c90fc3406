"""The checks: importing this registers all of them."""

from mingpt.interop.audit.checks import batch, cache, determinism, length, look_ahead, normalisation, score
from mingpt.interop.audit.checks.base import CHECKS, Check

__all__ = [
    "CHECKS",
    "Check",
    "batch",
    "cache",
    "determinism",
    "in_order",
    "length",
    "look_ahead",
    "normalisation",
    "score",
]


def in_order() -> list[str]:
    """Return the names of the checks in the order in which they run."""
    return sorted(CHECKS, key=lambda name: CHECKS[name].number)
