"""Threads that share the work of one process in large pieces.

PyTorch divides single operations among OpenMP threads: some hundred meetings a training step, at each of which the
first to arrive spins until the last is there.  Beside another busy process the last one is often not running, and the
spinning takes the time that it would need.  Pieces of a batch meet twice a step and wait asleep, so a run takes its
fair share of a busy machine.  On a quiet one a GPT is no slower; an Elman network, many tiny calls, is (LOG.md,
2026-11-29).

The number of threads that PyTorch may use is what there is to share: inside a piece it is 1.
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

from mingpt.utils import cpu_threads

T = TypeVar("T")
R = TypeVar("R")
CGROUP = Path("/sys/fs/cgroup")
_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}  # by their number of threads
_users = 0  # blocks of `kept` that have not ended


def at_once(call: Callable[[T], R], items: Sequence[T], threads: int | None = None) -> list[R]:
    """Return [call(item) for item in items], several at the same time, each computed with one thread.

    An exception of any call is raised when all before it have ended.

    Args:
        call: runs in the caller's grad mode.
        threads: calls at the same time; None: as many as PyTorch has threads.
    """
    count = min(threads or torch.get_num_threads(), len(items))
    if count < 2:
        return [call(item) for item in items]
    grad = torch.is_grad_enabled()

    def alone(item: T) -> R:
        torch.set_num_threads(1)  # a thread's own, which a new one takes from whoever set it last
        with torch.set_grad_enabled(grad):
            return call(item)

    with cpu_threads(1), kept():
        return list(_pool(count).map(alone, items))


@contextmanager
def kept() -> Iterator[None]:
    """Inside, the threads of `at_once` stay from one call to the next; when the last such block ends, they end."""
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
    """Return so many threads; called inside `kept`, which ends them."""
    with _lock:
        if count not in _pools:
            _pools[count] = ThreadPoolExecutor(count, thread_name_prefix="mingpt")
        return _pools[count]


def shares(rows: int) -> int:
    """Return into how many equal pieces `rows` rows are cut for `at_once`: at most one per thread of PyTorch's."""
    return next(count for count in range(min(torch.get_num_threads(), rows), 0, -1) if rows % count == 0)


def add_gradients(parameters: Sequence[Tensor], passes: Sequence[Sequence[Tensor | None]]) -> None:
    """Add the gradients of several passes to each parameter's, in order; None: the loss doesn't depend on it.

    Every sum is a tensor of its own: of two parameters that are added to each other, autograd returns one gradient.
    """
    for p, *gradients in zip(parameters, *passes, strict=True):
        there = [each for each in (p.grad, *gradients) if each is not None]
        if len(there) > 1:
            p.grad = reduce(torch.add, there)
        elif there:
            p.grad = there[0].clone()


def usable_threads() -> int:
    """Return how many threads this process can keep busy: PyTorch's choice, but no more than its cgroup may use.

    A container that may use 2 of 64 cores sees all of them.  OMP_NUM_THREADS is taken as it is.
    """
    threads = torch.get_num_threads()
    return threads if "OMP_NUM_THREADS" in os.environ else math.ceil(max(min(threads, _quota()), 1))


def _quota() -> float:
    """Return the cores that this process's cgroup may use, of either version; inf: no limit, or none to be read."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = (int(word) for name in files for word in (CGROUP / name).read_text().split())
            return quota / period if quota > 0 else math.inf
    return math.inf
