"""Ways to compute attention, and the choice among them.

q is (b, h, t, d); k and v are (b, g, s, d) with g dividing h: query head i reads key/value head i // (h/g).  The t
queries are the last t of the s positions unless `Need.keys_at` says where the keys stand.

A kernel is a class with `refuses(need)`, the reason why it can't, and `attend(q, k, v, need)`.  One that can't honour a
need says so; none ignores a part of it.
"""

from mingpt.core.errors import UsageError
from mingpt.models.attention.config import AUTO
from mingpt.models.attention.kernels.banded import Banded
from mingpt.models.attention.kernels.base import KERNELS, Kernel, Need
from mingpt.models.attention.kernels.chunked_sdpa import Wide
from mingpt.models.attention.kernels.flex import Flex
from mingpt.models.attention.kernels.reference import Reference
from mingpt.models.attention.kernels.sdpa import Sdpa

__all__ = [
    "AUTO",
    "KERNELS",
    "Banded",
    "Flex",
    "Kernel",
    "Need",
    "Reference",
    "Sdpa",
    "Wide",
    "choose",
    "explain",
    "for_cache",
    "preferred",
]


def preferred() -> list[Kernel]:
    """In the order in which `auto` asks them."""
    if len(_preferred) != len(KERNELS):  # sorted once, as a layer asks at every token
        _preferred[:] = sorted((KERNELS[name] for name in KERNELS), key=lambda kernel: kernel.rank)
    return _preferred


_preferred: list[Kernel] = []


def choose(name: str, need: Need) -> Kernel:
    """The kernel called `name`, or for `auto` the first that serves and is worth it.

    Raises:
        UsageError: the one asked for can't serve; names both.
    """
    if name != AUTO:
        kernel = KERNELS[name]
        if reason := kernel.refuses(need):
            raise UsageError(f"model.kernel={name}: can't serve {need.described()}: {reason}")
        return kernel
    for kernel in preferred():
        if not kernel.refuses(need) and not kernel.not_worth(need):
            return kernel
    raise AssertionError("the reference serves every need")


def for_cache(name: str) -> str:
    """The kernel for steps that read a cache: the one asked for, or `auto` where that serves whole sequences alone."""
    return name if name == AUTO or KERNELS[name].serves_cache else AUTO


def explain(name: str, need: Need) -> dict[str, str]:
    """Which kernel `choose` takes, and for each that was passed over, why."""
    chosen = choose(name, need)
    reasons = {"chosen": chosen.name, "for": need.described()}
    for kernel in preferred() if name == AUTO else ():
        if kernel is chosen:
            break
        reasons[kernel.name] = kernel.refuses(need) or kernel.not_worth(need) or ""
    return reasons
