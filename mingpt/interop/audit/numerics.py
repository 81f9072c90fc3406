"""The precision that a model computes in, and what rounding may change of its logits.

Equal shapes give equal bits on a CPU, where no position depends on another: a difference of 0 needs no tolerance.
Other differences count where they exceed a tolerance, relative to the size of the logits, of the narrowest type that
the model computes in, and several times what copies of a row in one batch differ by, which is rounding alone.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mingpt.inference.causality import largest_differences

SAME_SHAPE = {torch.float64: 1e-12, torch.float32: 1e-5}  # relative, by the narrowest type
OTHER_SHAPE = {torch.float64: 1e-11, torch.float32: 3e-4}
NARROW = 5e-2  # of float16 and bfloat16
NOISE, CAP = 8, 30  # times the measured noise; at most so many times a tolerance, so that noise hides no fault
WIDTH = {torch.float64: 53, torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}  # bits of the significand
SAMPLED = 100_000  # logits from which the scale is taken


@dataclass(frozen=True)
class Rounding:
    """What rounding may change.

    Attributes:
        dtype: narrowest type of a result inside the model
        noise: largest difference of a logit between copies of a row in batches of other sizes
    """

    dtype: torch.dtype
    noise: float

    def tolerance(self, logits: Tensor, *, same_shape: bool) -> float:
        """Return the largest difference of a logit that rounding explains.

        Args:
            logits: (b, t, v) logits, for their scale
            same_shape: the compared passes had inputs of equal shapes
        """
        relative = (SAME_SHAPE if same_shape else OTHER_SHAPE).get(self.dtype, NARROW)
        allowed = relative * scale(logits)
        return max(allowed, min(NOISE * self.noise, CAP * allowed))


def scale(logits: Tensor) -> float:
    """Return the 0.9 quantile of the absolute values of the finite logits, of some of them where there are many."""
    finite = logits.detach()[logits.isfinite()].abs()
    some = finite[:: max(finite.numel() // SAMPLED, 1)]
    return float(some.double().quantile(0.9)) if some.numel() else 0.0


@dataclass
class _Types(TorchDispatchMode):
    """Records the types of all floating-point results that have more than one element."""

    seen: set[torch.dtype] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for part in out if isinstance(out, tuple | list) else (out,):
            if isinstance(part, Tensor) and part.is_floating_point() and part.numel() > 1:
                self.seen.add(part.dtype)
        return out


def narrowest_type(logits_of: Any, ids: Tensor) -> torch.dtype:
    """Return the narrowest floating-point type of a result inside a forward pass."""
    with _Types() as types:
        logits = logits_of(ids)
    return min({logits.dtype, *types.seen}, key=lambda dtype: WIDTH.get(dtype, 0))


def noise_of_copies(logits_of: Any, ids: Tensor) -> float:
    """Return the largest difference of a logit between (1, t) ids alone and their copies in batches of 2 and 5."""
    alone = logits_of(ids)
    found = [largest_differences(alone, logits_of(ids.repeat(copies, 1))[-1:]).max() for copies in (2, 5)]
    return float(torch.stack(found).nan_to_num(posinf=0.0).max())
