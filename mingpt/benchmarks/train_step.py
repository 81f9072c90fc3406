"""Seconds per training step, ours against peers: whole steps, alternated round by round in one run.

A ratio is taken within each round, so that a machine whose speed drifts doesn't decide it.
"""

import logging
import platform
from contextlib import ExitStack
from statistics import median
from typing import Any

import torch

from mingpt.benchmarks.base import machine_of, ranking, rounded, summary, table, versus
from mingpt.benchmarks.options.base import gpt2, parse_peers
from mingpt.benchmarks.options.train_step import PEERS, SHAPES, Options, strategies_of
from mingpt.benchmarks.worker_process import Worker
from mingpt.distributed.threads import cpu_threads
from mingpt.model import GPT
from mingpt.training.profiling import Spread, peak_matmul_flops
from mingpt.utils import pick_device

logger = logging.getLogger(__name__)

COMPILED = "-compiled"  # ends the name of who compiles its step


def contestants(options: Options) -> dict[str, str]:
    """Each kind that is timed, and the folder of its clone."""
    through = {f"ours-{strategy}": "" for strategy in strategies_of(options)}
    clones = {"ours": "", **through, **parse_peers(options.peers, PEERS)}
    compiled = {kind + COMPILED: path for kind, path in clones.items() if kind in ("nanogpt", "ours", *through)}
    if options.device == "cuda":
        return compiled
    return {**clones, **(compiled if options.compile else {})}


def run(options: Options) -> dict[str, Any]:
    """Time `options.rounds` rounds of a few steps each, ours and every peer in turn.

    Returns:
        What the last line of `chargpt bench` prints: medians in ms, ratios peer/ours by round, and the share of the
        machine's matrix rate that the model's arithmetic takes, each round's of the rate measured in it.

    Raises:
        UsageError: a peer that does not start.
    """
    rounds, device = options.rounds, pick_device(options.device, "device")
    with ExitStack() as stack:
        stack.enter_context(cpu_threads(options.threads))
        how = {"threads": torch.get_num_threads(), "dropout": options.dropout, "device": options.device}
        settings, workers = {**SHAPES[options.shape], **how}, {}
        for kind, path in contestants(options).items():
            compiles = kind.endswith(COMPILED)
            worker = Worker(kind.removesuffix(COMPILED), path, {**settings, "compile": compiles})
            stack.callback(worker.close)
            workers[kind] = worker
        per_round = {kind: max(int(1.0 / median(worker.steps(3))), 2) for kind, worker in workers.items()}
        times: dict[str, list[float]] = {kind: [] for kind in workers}
        rates: list[float] = []
        for _ in range(rounds):
            rates.append(peak_matmul_flops(device))
            for kind, worker in workers.items():
                times[kind].append(median(worker.steps(per_round[kind])))
    seconds, rate = {kind: Spread(tuple(values)) for kind, values in times.items()}, Spread(tuple(rates))
    flops = step_flops(options.shape)
    rows = _table(next(iter(workers)), seconds, Spread(tuple(flops / r for r in rates)))
    logger.info(
        f"of rate: {flops / 1e9:.3g} GFLOP of products a step / time / {rate.median / 1e9:.3g} GFLOP/s, the matrix rate"
    )
    if any(kind.startswith("mingpt") for kind in workers):
        logger.info("GELU by erf, but in mingpt by its tanh form, several operations, as it comes")
    machine = {"python": platform.python_version(), **machine_of(device)}
    work = {"flops_per_step": rounded(flops), "matrix_rate": summary(rate)}
    return {"bench": "train", "shape": options.shape, **settings, "rounds": rounds, **machine, **work, "rows": rows}


def step_flops(shape: str) -> float:
    """Floating-point operations of the products of one step, forward and backward, in all of them alike."""
    sizes = {name: size for name, size in SHAPES[shape].items() if name != "accumulation"}
    tokens = sizes.pop("batch_size") * sizes["block_size"]
    return 3 * GPT(gpt2(**sizes)).flops_per_token() * tokens


def _table(ours: str, seconds: dict[str, Spread], floor: Spread) -> dict[str, Any]:
    """Return a row per kind, against `ours`; `floor`: seconds of a step's products at the peak rate, by round."""
    rows = table(seconds, ours)
    logger.info(f"{'':16} {'ms a step':>10} {'quartiles':>17} {'of rate':>8}   times {ours} (quartiles)")
    for kind, spread in seconds.items():
        row, share = rows[kind], summary(floor.over(spread))
        row["matrix_share"], ms = share, row["ms"]
        compared = "" if kind == ours else versus(row["ratio"], row["apart"])
        between = f"{ms['q1']:.4g} to {ms['q3']:.4g}"
        logger.info(f"{kind:16} {ms['median']:10.4g} {between:>17} {share['median']:8.1%}   {compared}")
    logger.info(f"{ranking(seconds)}   (~: quartiles overlap, so neither is faster)")
    return rows
