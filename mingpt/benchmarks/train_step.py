"""Seconds per training step, ours against peers: whole steps, alternated round by round in one run.

A ratio is taken within each round, so that a machine whose speed drifts doesn't decide it.
"""

import platform
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

from mingpt.benchmarks.base import BENCHMARKS, Benchmark, Say, parse_peers, ranking, summary, versus
from mingpt.benchmarks.worker import Worker
from mingpt.errors import require
from mingpt.probe import Spread
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
    seconds = {kind: Spread(tuple(values)) for kind, values in times.items()}
    rows: dict[str, Any] = {}
    say(f"{'':14} {'ms a step':>10} {'quartiles':>17}   times ours (quartiles)")
    for kind, spread in seconds.items():
        ms, ratio, told = (
            summary(spread, 1e-3),
            summary(spread.over(seconds["ours"])),
            spread.apart_from(seconds["ours"]),
        )
        rows[kind] = {"ms": ms, "ratio": ratio, "apart_from_ours": told}
        beside = "" if kind == "ours" else versus(ratio, told)
        between = f"{ms['q1']:.4g} to {ms['q3']:.4g}"
        say(f"{kind:14} {ms['median']:10.4g} {between:>17}   {beside}")
    say(f"{ranking(seconds)}   (~: quartiles overlap, so neither is faster)")
    machine = {"machine": platform.machine(), "python": platform.python_version()}
    return {"bench": "train", "shape": options.shape, **settings, "rounds": rounds, **machine, "rows": rows}


BENCHMARKS.add("train")(Benchmark("Time a training step against other projects'.", Options, run))
