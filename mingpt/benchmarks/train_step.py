"""Seconds per training step, ours against peers: whole steps, alternated round by round in one run.

A ratio is taken within each round, so that a machine whose speed drifts doesn't decide it.
"""

import platform
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from mingpt.benchmarks.base import BENCHMARKS, Benchmark, Say, parse_peers
from mingpt.benchmarks.worker import Worker
from mingpt.errors import require
from mingpt.registry import Registry

SHAPES: Registry[dict[str, Any]] = Registry("shape")
SHAPES.add("A")({"n_layer": 6, "n_head": 6, "n_embd": 192, "block_size": 16, "batch_size": 64})
SHAPES.add("B")({"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64, "batch_size": 12})
SHAPES.add("C")({"n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 256, "batch_size": 8})
PEERS = ("mingpt", "mingpt-trainer", "nanogpt")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time a training step, next to other people's where you have clones of them.

    Attributes:
        shape: A: 6 layers of width 192, block 16, batch 64; B: 4, 128, 64, 12; C: 6, 384, 256, 8
        peers: KIND=FOLDER,...: clones of mingpt (karpathy/minGPT, its step), mingpt-trainer (with its own loop and
            loader) or nanogpt (karpathy/nanoGPT); null: ours alone
        dropout: probability, in all of them
        rounds: times that each takes its turn
        threads: CPU threads of each process
    """

    shape: str = "A"
    peers: str | None = None
    dropout: float = 0.0
    rounds: int = 7
    threads: int = 2

    def __post_init__(self) -> None:
        SHAPES[self.shape]
        require(self.rounds >= 2, "rounds", self.rounds, "must be at least 2, for a spread")
        require(self.threads >= 1, "threads", self.threads, "must be at least 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "must be in [0, 1)")
        parse_peers(self.peers, PEERS)


def run(options: Options, say: Say) -> dict[str, Any]:
    """Time `options.rounds` rounds of a few steps each, ours and every peer in turn.

    Returns:
        What the last line of `chargpt bench` prints: medians in ms, and ratios peer/ours by round.

    Raises:
        UsageError: a peer that does not start.
    """
    rounds, peers = options.rounds, parse_peers(options.peers, PEERS)
    settings = {**SHAPES[options.shape], "threads": options.threads, "dropout": options.dropout}
    with ExitStack() as stack:
        workers = {}
        for kind, path in {"ours": "", **peers}.items():
            worker = Worker(kind, path, settings)
            stack.callback(worker.close)
            workers[kind] = worker
        per_round = {kind: max(int(1.0 / median(worker.steps(3))), 2) for kind, worker in workers.items()}
        times: dict[str, list[float]] = {kind: [] for kind in workers}
        for _ in range(rounds):
            for kind, worker in workers.items():
                times[kind].append(median(worker.steps(per_round[kind])))
    rows = {kind: {"ms": _spread([1e3 * s for s in seconds])} for kind, seconds in times.items()}
    for kind in peers:
        rows[kind]["ratio"] = _spread([peer / own for peer, own in zip(times[kind], times["ours"], strict=True)])
    _table(rows, say)
    machine = {"machine": platform.machine(), "python": platform.python_version()}
    return {"bench": "train", "shape": options.shape, **settings, "rounds": rounds, **machine, "rows": rows}


BENCHMARKS.add("train")(Benchmark("Time a training step against other projects'.", Options, run))


def _spread(values: list[float]) -> dict[str, float]:
    low, _, high = quantiles(values, n=4)
    return {"median": round(median(values), 3), "q1": round(low, 3), "q3": round(high, 3)}


def _table(rows: Mapping[str, Mapping[str, Mapping[str, float]]], say: Say) -> None:
    say(f"{'':14} {'ms a step':>10} {'quartiles':>17}   times ours (quartiles)")
    for kind, row in rows.items():
        ms, ratio = row["ms"], row.get("ratio")
        beside = f"{ratio['median']:.2f}x ({ratio['q1']:.2f} to {ratio['q3']:.2f})" if ratio else ""
        spread = f"{ms['q1']:.1f} to {ms['q3']:.1f}"
        say(f"{kind:14} {ms['median']:10.1f} {spread:>17}   {beside}")
