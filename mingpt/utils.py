"""Seeds, random generators, devices and number types: what a run fixes before anything else.

PyTorch's global generators belong to the caller and are left as they were.  Our own modules draw through `generator()`,
which belongs to the calling thread, so that trainings in several threads don't disturb each other.  What can draw from
PyTorch's global generators alone, such as layers while they are made, runs by `drawing` or inside `global_draws`.
"""

import hashlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from mingpt.core.errors import require
from mingpt.core.system_config import DEVICES as DEVICES
from mingpt.core.system_config import SystemConfig as SystemConfig

T = TypeVar("T")
_of_thread = threading.local()
_lock = threading.RLock()  # held while a global generator's state is exchanged
_kept: dict[str, Tensor] = {}  # the caller's states, by kind of device, while `global_draws` is inside
_inside = 0


def derived_seed(seed: int, *path: int | str) -> int:
    """A seed for one purpose, `derived_seed(seed, "dropout", step)`: a hash, so that neighbours share nothing."""
    digest = hashlib.sha256(repr((seed, *path)).encode()).digest()
    return int.from_bytes(digest[:4], "little")  # PyTorch's CPU generator reads 32 bits of a seed


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


def pick_device(name: str, setting: str = "trainer.device") -> torch.device:
    """The device called `name`; `auto` is the first of cuda, mps, cpu that is there.

    Raises:
        UsageError: unknown, or not on this machine.
    """
    require(name in DEVICES, setting, name, f"must be one of {', '.join(DEVICES)}")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
    there = ", ".join(kind for kind, present in available.items() if present)
    require(available[name], setting, name, f"is not on this machine, which has {there}")
    return torch.device(name)


@contextmanager
def process_kept() -> Iterator[None]:
    """Undo what packages do to the process as they are imported: environment variables, filters of warnings.

    PyTorch imports its compiler, which does both, for a random number on the device "meta", too.
    """
    before = set(os.environ)
    with warnings.catch_warnings():
        try:
            yield
        finally:
            for name in set(os.environ) - before:
                del os.environ[name]


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Compute with so many CPU threads inside; 0: with as many as before, which is also restored at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def synchronise(device: torch.device) -> None:
    """Wait until `device` has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; to a CUDA card from page-locked memory, so that the host does not wait for the copy.

    Made one piece first: what isn't would be gathered in memory that is not locked, whose copy the host waits for.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.contiguous().pin_memory().to(device, non_blocking=True)


def training_type(device: torch.device) -> torch.dtype:
    """What products are computed in while a model trains on `device`."""
    return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32


def to_autocast_type(x: Tensor) -> Tensor:
    """Cast `x` to the type in which autocast computes matrix products; without autocast, return it unchanged.

    The residual stream would otherwise stay float32: twice the bytes, in a step that is largely memory-bound.
    """
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the hardware, not an emulation, multiplies bfloat16: NVIDIA's since compute capability 8.0."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
