"""Attention kernels and the choice among them.

q is (b, h, t, d); k and v are (b, g, s, d) with g dividing h: query head i uses key/value head i // (h/g).  The t
queries are the last t of the s positions, unless `Need.keys_at` gives the positions of the keys.

A kernel is a class with `unsupported(need)`, the reason why it can't compute it, and `attend(q, k, v, need)`.  A kernel
rejects what it can't compute; none ignores a mask, a bias or dropout.
"""

from mingpt.core.errors import UsageError
from mingpt.models.attention.config import AUTO
from mingpt.models.attention.kernels.banded import Banded
from mingpt.models.attention.kernels.base import KERNELS, Kernel, Need
from mingpt.models.attention.kernels.chunked_sdpa import ChunkedSdpa
from mingpt.models.attention.kernels.flex import Flex
from mingpt.models.attention.kernels.reference import Reference
from mingpt.models.attention.kernels.sdpa import Sdpa

__all__ = [
    "AUTO",
    "KERNELS",
    "Banded",
    "ChunkedSdpa",
    "Flex",
    "Kernel",
    "Need",
    "Reference",
    "Sdpa",
    "choose",
    "explain",
    "for_cache",
    "preferred",
]


def preferred() -> list[Kernel]:
    """Return all kernels in the order in which `auto` considers them."""
    if len(_preferred) != len(KERNELS):  # cached: decoding calls this at every token
        _preferred[:] = sorted((KERNELS[name] for name in KERNELS), key=lambda kernel: kernel.rank)
    return _preferred


_preferred: list[Kernel] = []


def choose(name: str, need: Need) -> Kernel:
    """Return the kernel called `name`; for `auto`, the first that supports `need` and isn't known to be slower.

    Raises:
        UsageError: that kernel doesn't support `need`; the message names both and the reason.
    """
    if name != AUTO:
        kernel = KERNELS[name]
        if reason := kernel.unsupported(need):
            raise UsageError(f"model.kernel={name}: doesn't support {need.described()}: {reason}")
        return kernel
    for kernel in preferred():
        if not kernel.unsupported(need) and not kernel.slower(need):
            return kernel
    raise AssertionError("the reference kernel supports every need")


def for_cache(name: str) -> str:
    """Return the kernel's name for steps with a KV cache: `name`, or `auto` if that supports full sequences only."""
    return name if name == AUTO or KERNELS[name].serves_cache else AUTO


def explain(name: str, need: Need) -> dict[str, str]:
    """Return the kernel that `choose` takes, and why it skipped each one before, by name."""
    chosen = choose(name, need)
    reasons = {"chosen": chosen.name, "for": need.described()}
    for kernel in preferred() if name == AUTO else ():
        if kernel is chosen:
            break
        reasons[kernel.name] = kernel.unsupported(need) or kernel.slower(need) or ""
    return reasons
