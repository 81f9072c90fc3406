"""Seconds per training step, ours against peers: whole steps, alternated round by round in one run.

A ratio is taken within each round, so that a machine whose speed drifts doesn't decide it.
"""

import platform
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from mingpt.benchmarks.base import (
    BENCHMARKS,
    Benchmark,
    Rounds,
    Say,
    cpu_threads,
    gpt2,
    parse_peers,
    positive,
    ranking,
    rounded,
    summary,
    table,
    versus,
)
from mingpt.benchmarks.worker import Worker
from mingpt.errors import require
from mingpt.model import GPT
from mingpt.probe import Spread, matrix_rate
from mingpt.registry import Registry

SHAPES: Registry[dict[str, Any]] = Registry("shape")
SHAPES.add("A")({"n_layer": 6, "n_head": 6, "n_embd": 192, "block_size": 16, "batch_size": 64})
SHAPES.add("B")({"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64, "batch_size": 12})
SHAPES.add("C")({"n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 256, "batch_size": 8})
PEERS = ("mingpt", "mingpt-trainer", "nanogpt")


@dataclass(frozen=True, kw_only=True)
class Options(Rounds):
    """Time a training step, next to other people's where you have clones of them.

    Attributes:
        shape: A: 6 layers of width 192, block 16, batch 64; B: 4, 128, 64, 12; C: 6, 384, 256, 8
        peers: KIND=FOLDER,...: clones of mingpt (karpathy/minGPT, its step), mingpt-trainer (with its own loop and
            loader) or nanogpt (karpathy/nanoGPT); null: ours alone
        dropout: probability, in all of them
        threads: CPU threads of each process
    """

    shape: str = "A"
    peers: str | None = None
    dropout: float = 0.0
    threads: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        SHAPES[self.shape]
        positive(self, "threads")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "must be in [0, 1)")
        parse_peers(self.peers, PEERS)


def run(options: Options, say: Say) -> dict[str, Any]:
    """Time `options.rounds` rounds of a few steps each, ours and every peer in turn.

    Returns:
        What the last line of `chargpt bench` prints: medians in ms, ratios peer/ours by round, and the share of the
        machine's matrix rate that the model's arithmetic takes, each round's of the rate measured in it.

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
        rates: list[float] = []
        with cpu_threads(options.threads):
            for _ in range(rounds):
                rates.append(matrix_rate(torch.device("cpu")))
                for kind, worker in workers.items():
                    times[kind].append(median(worker.steps(per_round[kind])))
    seconds, rate = {kind: Spread(tuple(values)) for kind, values in times.items()}, Spread(tuple(rates))
    flops = step_flops(options.shape)
    rows = _table(seconds, Spread(tuple(flops / r for r in rates)), say)
    say(
        f"of rate: {flops / 1e9:.3g} GFLOP of products a step / time / {rate.median / 1e9:.3g} GFLOP/s, the matrix rate"
    )
    machine = {"machine": platform.machine(), "python": platform.python_version()}
    work = {"flops_per_step": rounded(flops), "matrix_rate": summary(rate)}
    return {"bench": "train", "shape": options.shape, **settings, "rounds": rounds, **machine, **work, "rows": rows}


def step_flops(shape: str) -> float:
    """Floating-point operations of the products of one step, forward and backward, in all of them alike."""
    sizes = dict(SHAPES[shape])
    tokens = sizes.pop("batch_size") * sizes["block_size"]
    return 3 * GPT(gpt2(**sizes)).flops_per_token() * tokens


def _table(seconds: dict[str, Spread], floor: Spread, say: Say) -> dict[str, Any]:
    """A row per kind; `floor`: seconds that a step's products take at the matrix rate, by round."""
    rows = table(seconds, "ours")
    say(f"{'':14} {'ms a step':>10} {'quartiles':>17} {'of rate':>8}   times ours (quartiles)")
    for kind, spread in seconds.items():
        row, share = rows[kind], summary(floor.over(spread))
        row["matrix_share"], ms = share, row["ms"]
        beside = "" if kind == "ours" else versus(row["ratio"], row["apart"])
        between = f"{ms['q1']:.4g} to {ms['q3']:.4g}"
        say(f"{kind:14} {ms['median']:10.4g} {between:>17} {share['median']:8.1%}   {beside}")
    say(f"{ranking(seconds)}   (~: quartiles overlap, so neither is faster)")
    return rows


BENCHMARKS.add("train")(
    Benchmark(
        "Time a training step against other projects'.",
        Options,
        run,
        ratio="times faster ours makes a step",
        clones=PEERS,
    )
)
