"""Training and decoding next to busy neighbours: which part of a fair share of the cores a program gets.

A neighbour is a single-threaded process that never sleeps.  On C cores, n threads next to k neighbours can expect the
time of n / (n + k) of the cores, if that is less than n of them: so the fair share of the quiet throughput is
C / (n + k), or 1 where C is enough for all.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

import torch

from mingpt.benchmarks.base import machine_of, summary
from mingpt.benchmarks.options.base import parse_peers
from mingpt.benchmarks.options.load import CLONES, Options
from mingpt.benchmarks.options.train_step import SHAPES
from mingpt.benchmarks.worker_process import Worker
from mingpt.training.profiling import Spread

logger = logging.getLogger(__name__)

NEIGHBOURS = (0, 1, 2, 4)
NEIGHBOUR = "while True: pass"
DECODING = {"batch": 1, "prompt": 16, "tokens": 32}  # within a block of shape B


def fair_share(neighbours: int, threads: int, cores: int) -> float:
    """Return the share of its quiet throughput that `threads` threads can expect next to so many busy neighbours."""
    used = min(threads, cores)
    return min(1.0, cores / (used + neighbours))


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Run `count` neighbours inside."""
    with ExitStack() as stack:
        for _ in range(count):
            process = subprocess.Popen([sys.executable, "-c", NEIGHBOUR])
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


def throughput(worker: Worker, seconds: float) -> float:
    """Return steps per second over a turn of at least `seconds`."""
    began, steps = time.perf_counter(), 0
    while steps == 0 or time.perf_counter() - began < seconds:
        worker.steps(1)
        steps += 1
    return steps / (time.perf_counter() - began)


def run(options: Options) -> dict[str, Any]:
    """Time every contestant next to each number of neighbours, in turn, round by round.

    Returns:
        What the last line of `chargpt bench load` prints: of training and of decoding, for each contestant its quiet
        steps or tokens per second, and next to each number of neighbours its throughput as a share of the fair share of
        the quiet one of the same round.

    Raises:
        UsageError: a peer that does not start.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    peers = parse_peers(options.peers, CLONES)
    fair = {count: fair_share(count, options.threads, cores) for count in NEIGHBOURS}
    logger.info(f"{cores} cores, {options.threads} threads each; share: throughput / (quiet throughput * fair share)")
    works = {
        "training": {"ours": "", "ours-openmp": "", **peers},
        "decoding": {"ours-writing": "", **{f"{kind}-writing": path for kind, path in peers.items()}},
    }
    rows = {title: _rows(title, contestants, options, fair) for title, contestants in works.items()}
    machine = {**machine_of(torch.device("cpu")), "cores": cores, "fair_share": fair}
    return {"bench": "load", **asdict(options), **machine, "rows": rows}


def _rows(title: str, contestants: Mapping[str, str], options: Options, fair: Mapping[int, float]) -> dict[str, Any]:
    rates: dict[str, dict[int, list[float]]] = {kind: {count: [] for count in NEIGHBOURS} for kind in contestants}
    shape = {**SHAPES["B"], **DECODING, "threads": options.threads, "dropout": 0.0, "device": "cpu", "compile": False}
    with ExitStack() as stack:
        workers = {}
        for kind, path in contestants.items():
            workers[kind] = Worker(kind, path, shape)
            stack.callback(workers[kind].close)
            workers[kind].steps(3)
        for _ in range(options.rounds):
            for count in NEIGHBOURS:
                with busy(count):
                    for kind, worker in workers.items():
                        rates[kind][count].append(throughput(worker, options.seconds))
    per_step, unit = (DECODING["tokens"], "tokens/s") if title == "decoding" else (1, "steps/s")
    logger.info(
        f"{title:14} {'quiet, ' + unit:>16}   share of the fair share next to " + ", ".join(map(str, NEIGHBOURS[1:]))
    )
    return {kind: _row(kind, found, per_step, fair) for kind, found in rates.items()}


def _row(kind: str, rates: Mapping[int, list[float]], per_step: int, fair: Mapping[int, float]) -> dict[str, Any]:
    quiet = Spread(tuple(rates[0]))
    shares = {count: summary(Spread(tuple(rates[count])).over(quiet).divided(fair[count])) for count in NEIGHBOURS[1:]}
    each = summary(quiet.divided(1 / per_step))
    listed = "   ".join(f"{s['median']:5.2f} ({s['q1']:.2f} to {s['q3']:.2f})" for s in shares.values())
    logger.info(f"{kind:14} {each['median']:16.4g}   {listed}")
    return {"quiet": each, "share": {str(count): share for count, share in shares.items()}}
