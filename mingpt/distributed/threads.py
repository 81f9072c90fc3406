"""Threads that each compute a piece of a batch, instead of OpenMP threads inside every operation.

OpenMP threads synchronise at some hundred barriers per training step, where the first to arrive spins until the last
does.  Next to another busy process the last one is often not scheduled, and spinning takes the time that it needs.
Pieces of a batch synchronise twice per step and sleep meanwhile, so that a run takes its fair share of a busy machine.
On an idle machine a GPT is no slower; an Elman network, many tiny calls, is (LOG.md, 2026-11-29).

PyTorch's number of threads is the number of pieces; inside a piece it is 1.
"""

import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import reduce
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
R = TypeVar("R")
CGROUP = Path("/sys/fs/cgroup")
_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}  # by their number of threads
_users = 0  # blocks of `keep_threads` that have not ended


def usable_threads() -> int:
    """Return PyTorch's number of threads, limited to the cores that the cgroup allows.

    A container limited to 2 of 64 cores sees all of them.  OMP_NUM_THREADS, if set, is not limited.
    """
    threads = torch.get_num_threads()
    return threads if "OMP_NUM_THREADS" in os.environ else math.ceil(max(min(threads, _quota()), 1))


def _quota() -> float:
    """Return the number of cores that the cgroup (v2 or v1) allows; inf: unlimited or unreadable."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = (int(word) for name in files for word in (CGROUP / name).read_text().split())
            return quota / period if quota > 0 else math.inf
    return math.inf


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Set PyTorch's number of CPU threads inside, and restore it; 0: leave it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def parallel_map(call: Callable[[T], R], items: Sequence[T], threads: int | None = None) -> list[R]:
    """Return [call(item) for item in items], computed by several threads with one OpenMP thread each.

    An exception of a call is raised after all calls before it have ended.

    Args:
        call: function to call, in the caller's grad mode
        items: its arguments
        threads: number of threads; None: PyTorch's number of threads
    """
    count = min(threads or torch.get_num_threads(), len(items))
    if count < 2:
        return [call(item) for item in items]
    grad = torch.is_grad_enabled()

    def single_threaded(item: T) -> R:
        torch.set_num_threads(1)  # per thread, and a new thread inherits the value that was set last
        with torch.set_grad_enabled(grad):
            return call(item)

    with cpu_threads(1), keep_threads():
        return list(_pool(count).map(single_threaded, items))


@contextmanager
def keep_threads() -> Iterator[None]:
    """Keep the threads of `parallel_map` between calls, until the last such block ends."""
    global _users
    with _lock:
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            ending = [] if _users else [_pools.pop(count) for count in list(_pools)]
        for pool in ending:
            pool.shutdown()


def _pool(count: int) -> ThreadPoolExecutor:
    """Return a pool of `count` threads; called inside `keep_threads`, which ends them."""
    with _lock:
        if count not in _pools:
            _pools[count] = ThreadPoolExecutor(count, thread_name_prefix="mingpt")
        return _pools[count]


def even_pieces(rows: int) -> int:
    """Return the largest number of equal pieces of `rows` rows that is at most PyTorch's number of threads."""
    return next(count for count in range(min(torch.get_num_threads(), rows), 0, -1) if rows % count == 0)


def add_gradients(parameters: Sequence[Tensor], passes: Sequence[Sequence[Tensor | None]]) -> None:
    """Add the gradients of several passes to each parameter's, in order; None: the loss doesn't depend on it.

    Every sum is a new tensor, since autograd may return the same gradient tensor for several parameters.
    """
    for p, *gradients in zip(parameters, *passes, strict=True):
        terms = [each for each in (p.grad, *gradients) if each is not None]
        if len(terms) > 1:
            p.grad = reduce(torch.add, terms)
        elif terms:
            p.grad = terms[0].clone()
