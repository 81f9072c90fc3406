"""Random draws of a training's own: PyTorch's global generators are the caller's, and are left as they were.

Our own modules draw through `generator()`, which belongs to the calling thread, so that trainings in several threads
don't disturb each other.  What can draw from PyTorch's global generators alone, such as layers while they are made,
runs by `drawing` or inside `global_draws`.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
_of_thread = threading.local()
_lock = threading.RLock()  # held while a global generator's state is exchanged
_kept: dict[str, Tensor] = {}  # the caller's states, by kind of device, while `global_draws` is inside
_inside = 0


def generator() -> torch.Generator | None:
    """Return the CPU generator that this thread draws from; None: PyTorch's global one, as in compiled code."""
    return None if torch.compiler.is_compiling() else getattr(_of_thread, "generator", None)


@contextmanager
def own_draws(seed: int) -> Iterator[torch.Generator]:
    """Let `generator()` of this thread be a fresh one of that seed."""
    before, own = getattr(_of_thread, "generator", None), torch.Generator().manual_seed(seed)
    _of_thread.generator = own
    try:
        yield own
    finally:
        _of_thread.generator = before


def drawing(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return call(*args, **kwargs), which draws from PyTorch's global CPU generator as if that were `generator()`.

    Meanwhile other threads wait with what they would do here, so `call` is one operation, or makes one model.
    """
    own = generator()
    if own is None:
        return call(*args, **kwargs)
    with _lock:
        before = torch.default_generator.get_state()
        torch.default_generator.set_state(own.get_state())
        try:
            return call(*args, **kwargs)
        finally:
            own.set_state(torch.default_generator.get_state())
            torch.default_generator.set_state(before)


@contextmanager
def global_draws(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's global generators, the CPU's and that of `device`, and put back the states that they had.

    Of several threads inside at once the first keeps the states and the last puts them back; their draws mix.
    """
    global _inside
    modules = {kind: _generator_of(kind) for kind in {"cpu", device.type}}
    with _lock:
        _inside += 1
        for kind, module in modules.items():
            if kind not in _kept:
                _kept[kind] = module.get_rng_state()
            module.manual_seed(seed)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            while _kept and not _inside:
                kind, state = _kept.popitem()
                _generator_of(kind).set_rng_state(state)


def _generator_of(kind: str) -> Any:
    """Return what has `get_rng_state`, `set_rng_state` and `manual_seed` of this kind of device alone."""
    return _Cpu if kind == "cpu" else torch.get_device_module(kind)


class _Cpu:
    """The CPU's; `torch.manual_seed` seeds every accelerator, too, or would once one is used."""

    get_rng_state = staticmethod(torch.get_rng_state)
    set_rng_state = staticmethod(torch.set_rng_state)
    manual_seed = staticmethod(torch.default_generator.manual_seed)
