"""Seconds per training step, ours against peers: whole steps, alternated round by round in one run.

A ratio is taken within each round, so that a machine whose speed drifts doesn't decide it.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from mingpt.errors import UsageError
from mingpt.registry import Registry

SHAPES: Registry[dict[str, Any]] = Registry("shape")
SHAPES.add("A")({"n_layer": 6, "n_head": 6, "n_embd": 192, "block_size": 16, "batch_size": 64})
SHAPES.add("B")({"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64, "batch_size": 12})
SHAPES.add("C")({"n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 256, "batch_size": 8})
PEERS = ("mingpt", "mingpt-trainer", "nanogpt")
WORKER = Path(__file__).with_name("peers.py")


class Worker:
    """A process that makes training steps when asked."""

    def __init__(self, kind: str, path: str, shape: Mapping[str, Any]) -> None:
        command = [sys.executable, str(WORKER), kind, path, json.dumps(shape)]
        environment = None if path else {**os.environ, "PYTHONPATH": str(WORKER.parents[2])}
        # A file, as a pipe that nobody reads would stop a talkative peer.
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by close()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=environment
        )
        if self._answer() != "ready":
            raise UsageError(f"peers={kind}={path}: does not start: {self._last_words()}")

    def steps(self, count: int) -> list[float]:
        """Seconds of each of `count` steps."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        seconds: list[float] = json.loads(self._answer())
        return seconds

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def _last_words(self) -> str:
        self.process.wait()
        self.errors.seek(0)
        return (self.errors.read().strip().splitlines() or ["no reason given"])[-1]


def run(
    shape: str, peers: Mapping[str, str], *, rounds: int, threads: int, dropout: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """Time `rounds` rounds of a few steps each, ours and every peer in turn.

    Args:
        shape: a name in SHAPES.
        peers: kind -> the folder of the user's clone.
        threads: CPU threads of each process.
        dropout: probability, everywhere.

    Returns:
        What the last line of `chargpt bench` prints: medians in ms, and ratios peer/ours by round.

    Raises:
        UsageError: an unknown shape or peer, or one that does not start.
    """
    settings = {**SHAPES[shape], "threads": threads, "dropout": dropout}
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
    machine = {"threads": threads, "machine": platform.machine(), "python": platform.python_version()}
    return {"bench": "train", "shape": shape, **settings, "rounds": rounds, **machine, "rows": rows}


def _spread(values: list[float]) -> dict[str, float]:
    low, _, high = quantiles(values, n=4)
    return {"median": round(median(values), 3), "q1": round(low, 3), "q3": round(high, 3)}


def _table(rows: Mapping[str, Mapping[str, Mapping[str, float]]], say: Callable[[str], None]) -> None:
    say(f"{'':14} {'ms a step':>10} {'quartiles':>17}   times ours (quartiles)")
    for kind, row in rows.items():
        ms, ratio = row["ms"], row.get("ratio")
        beside = f"{ratio['median']:.2f}x ({ratio['q1']:.2f} to {ratio['q3']:.2f})" if ratio else ""
        spread = f"{ms['q1']:.1f} to {ms['q3']:.1f}"
        say(f"{kind:14} {ms['median']:10.1f} {spread:>17}   {beside}")
