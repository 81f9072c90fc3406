"""Seeds and devices: the two things that every run fixes before anything else."""

import hashlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mingpt.core.errors import require
from mingpt.core.system_config import DEVICES as DEVICES
from mingpt.core.system_config import SystemConfig as SystemConfig


def derived_seed(seed: int, *path: int | str) -> int:
    """A seed for one purpose, `derived_seed(seed, "dropout", step)`: a hash, so that neighbours share nothing."""
    digest = hashlib.sha256(repr((seed, *path)).encode()).digest()
    return int.from_bytes(digest[:4], "little")  # PyTorch's CPU generator reads 32 bits of a seed


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


def as_products(x: Tensor) -> Tensor:
    """`x` in the type that autocast computes products in, where it does.

    What every block reads and adds to would else stay float32: twice the bytes, in a step of which much is reading.
    """
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the hardware, not an emulation, multiplies bfloat16: NVIDIA's since compute capability 8.0."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
