"""Seeds, random generators, devices and data types.

PyTorch's global generators belong to the caller and are left as they were.  This package's modules draw from
`generator()`, which belongs to the calling thread, so that trainings in several threads don't affect each other.  Code
that can only draw from a global generator, such as the initialisation of PyTorch's layers, runs in
`draw_with_generator` or `seeded_globally`.
"""

import functools
import hashlib
import os
import platform
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from mingpt.core.errors import require
from mingpt.core.system_config import DEVICES as DEVICES
from mingpt.core.system_config import SystemConfig as SystemConfig

T = TypeVar("T")
P = ParamSpec("P")
_of_thread = threading.local()
_lock = threading.RLock()  # held while a global generator's state is replaced
_saved_states: dict[str, Tensor] = {}  # the caller's states, by kind of device, inside `seeded_globally`
_inside = 0  # threads inside it


def derived_seed(seed: int, *path: int | str) -> int:
    """Return a seed for one purpose, as in `derived_seed(seed, "dropout", step)`: a hash of all arguments."""
    digest = hashlib.sha256(repr((seed, *path)).encode()).digest()
    return int.from_bytes(digest[:4], "little")  # PyTorch's CPU generator reads 32 bits of a seed


def generator() -> torch.Generator | None:
    """Return this thread's CPU generator; None, also in compiled code: PyTorch's global one."""
    return None if torch.compiler.is_compiling() else getattr(_of_thread, "generator", None)


@contextmanager
def seeded_generator(seed: int) -> Iterator[torch.Generator]:
    """Make `generator()` of this thread a new one with this seed, inside."""
    before, own = getattr(_of_thread, "generator", None), torch.Generator().manual_seed(seed)
    _of_thread.generator = own
    try:
        yield own
    finally:
        _of_thread.generator = before


def draw_with_generator(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return call(*args, **kwargs), with `generator()` in place of PyTorch's global CPU generator.

    Other threads' calls wait meanwhile, so `call` should be one operation, or build one model.
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
def seeded_globally(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's global generators of the CPU and of `device` inside, and restore their states.

    With several threads inside, the first saves the states and the last restores them; their draws interleave.
    """
    global _inside
    modules = {kind: _generator_of(kind) for kind in {"cpu", device.type}}
    with _lock:
        _inside += 1
        for kind, module in modules.items():
            if kind not in _saved_states:
                _saved_states[kind] = module.get_rng_state()
            module.manual_seed(seed)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            while _saved_states and not _inside:
                kind, state = _saved_states.popitem()
                _generator_of(kind).set_rng_state(state)


def _generator_of(kind: str) -> Any:
    """Return an object with `get_rng_state`, `set_rng_state` and `manual_seed` of one kind of device."""
    return _Cpu if kind == "cpu" else torch.get_device_module(kind)


class _Cpu:
    """The CPU's functions; `torch.manual_seed` would also seed every accelerator."""

    get_rng_state = staticmethod(torch.get_rng_state)
    set_rng_state = staticmethod(torch.set_rng_state)
    manual_seed = staticmethod(torch.default_generator.manual_seed)


def pick_device(name: str, setting: str = "trainer.device") -> torch.device:
    """Return the device called `name`; `auto`: the first available one of cuda, mps, cpu.

    Raises:
        UsageError: the name is unknown, or the device not available.
    """
    require(name in DEVICES, setting, name, f"must be one of {', '.join(DEVICES)}")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
    there = ", ".join(kind for kind, present in available.items() if present)
    require(available[name], setting, name, f"is not on this machine, which has {there}")
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or the CPU's with the widest vector instructions that PyTorch uses: `AMD EPYC, AVX2`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(named, platform.processor() or platform.machine())}, {torch.backends.cpu.get_cpu_capability()}"


@contextmanager
def process_kept() -> Iterator[None]:
    """Restore environment variables and warning filters that imports inside change.

    PyTorch's compiler changes both when imported, even for a random number on the device "meta".
    """
    before = set(os.environ)
    with warnings.catch_warnings():
        try:
            yield
        finally:
            for name in set(os.environ) - before:
                del os.environ[name]


def synchronise(device: torch.device) -> None:
    """Wait until all work queued on `device` is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return `tensor` on `device`; copy to a CUDA GPU asynchronously, from pinned memory.

    A non-contiguous tensor would first be gathered in memory that isn't pinned, so make it contiguous.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.contiguous().pin_memory().to(device, non_blocking=True)


def training_type(device: torch.device) -> torch.dtype:
    """Return the type of matrix products in training on `device`."""
    return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32


def multiplies_bfloat16(device: torch.device) -> bool:
    """True if the hardware multiplies bfloat16: NVIDIA GPUs since compute capability 8.0."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def uncompiled(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: keep `function` out of compiled graphs, as `torch.compiler.disable` does, but without its import time.

    That decorator imports PyTorch's compiler, a second or more, when applied.
    """
    disabled = _disable_dynamo(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return (disabled if "torch._dynamo" in sys.modules else function)(*args, **kwargs)

    return call
