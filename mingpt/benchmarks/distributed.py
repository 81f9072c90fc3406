"""What several processes of one machine train, compared with one: whether it is the same, how fast, after a kill.

Losses are compared in float64 at small sizes, where an honest difference is of rounding alone; speed is that of the
default model, next to which one process of as many threads as all of them have uses the same cores.  Everything is
started by torchrun and stays on this machine's loopback interface.
"""

import json
import logging
import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mingpt.benchmarks import torchrun_worker
from mingpt.benchmarks.base import machine_of, summary, versus
from mingpt.benchmarks.options.distributed import ACCUMULATION, BATCH, WARMUP, Options
from mingpt.benchmarks.worker_process import with_ours
from mingpt.core.errors import UsageError
from mingpt.core.run_files.reading import read_lines
from mingpt.distributed.ddp_fsdp import STRATEGIES
from mingpt.training.profiling import Spread
from mingpt.utils import pick_device

logger = logging.getLogger(__name__)

TORCHRUN = ("torch.distributed.run", "--standalone", "--local-addr=127.0.0.1")
EXCEPTION = re.compile(
    r"(\[rank\d+\]: *)?(?!\S*ChildFailedError)[\w.]*(Error|Interrupt)\b(:|$)|no end"
)  # but torchrun's
LONGEST = 300  # seconds that one launch may take
FEW = {"trainer.eval_every": 0, "trainer.sample_every": 0, "trainer.save_every": 0, "wandb.mode": "disabled"}
SMALL = {"model.n_layer": 2, "model.n_embd": 24, "data.block_size": 16, "trainer.batch_size": BATCH} | FEW
SMALL |= {
    "trainer.optimizer": "adamw",
    "trainer.learning_rate": 3e-3,
    "trainer.accumulation": ACCUMULATION,
    "trainer.device": "cpu",
}
FAMILIES: Mapping[str, Mapping[str, Any]] = {"GPT": {}, "Elman": {"model.type": "rnn"}}


def run(options: Options) -> dict[str, Any]:
    """Compare, time, and kill.

    Returns:
        What the last line of `chargpt bench processes` prints: rows of speed with their ratios to one process, and to
        one of as many threads as all have; under "apart" the largest difference of any loss, by family and strategy;
        under "kills" how the killed ones ended, by strategy.

    Raises:
        UsageError: a launch that fails; its last words.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        _write_text(home / "text.txt")
        apart = _apart(home, options)
        rows = _rows(home, options)
        kills = _kills(home, options)
    machine = {**machine_of(pick_device(options.device, "device")), "cores": os.cpu_count()}
    return {"bench": "processes", **asdict(options), **machine, "rows": rows, "apart": apart, "kills": kills}


def _apart(home: Path, options: Options) -> dict[str, dict[str, float]]:
    """Family -> strategy -> the largest difference of a step's loss, or of the validation loss, from one process's."""

    def asked(family: str, way: str, **more: Any) -> dict[str, Any]:
        changes = {**SMALL, **FAMILIES[family], "trainer.max_iters": options.steps, **more}
        return _ask(home, f"{family}-{way}", changes, float64=True)

    _launch([asked(family, "one") for family in FAMILIES], 1, options.threads)
    shared = [asked(family, way, **{"dist.strategy": way}) for family in FAMILIES for way in STRATEGIES]
    _launch(shared, options.processes, options.threads)
    found = {
        family: {way: apart(home / f"{family}-one", home / f"{family}-{way}") for way in STRATEGIES}
        for family in FAMILIES
    }
    for family, ways in found.items():
        listed = ", ".join(f"{way} {difference:.1e}" for way, difference in ways.items())
        logger.info(
            f"{family}, float64, {options.steps} steps: losses of {options.processes} and of 1 process differ by "
            f"{listed}"
        )
    return found


def _rows(home: Path, options: Options) -> dict[str, Any]:
    """Tokens per second of the default model, by way, in turn."""
    threads, processes = options.threads, options.processes
    ways: dict[str, tuple[int, int, dict[str, Any]]] = {  # processes, threads of each, settings
        "1 process": (1, threads, {}),
        f"1 process, {processes * threads} threads": (1, processes * threads, {}),
        **{f"{processes} processes, {way}": (processes, threads, {"dist.strategy": way}) for way in STRATEGIES},
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(options.rounds):
        for way, (count, each, changes) in ways.items():
            changes = {**FEW, "trainer.device": options.device, "trainer.max_iters": options.steps, **changes}
            _launch([_ask(home, f"{way}-{number}", changes)], count, each)
            steps = read_lines(home / f"{way}-{number}" / "metrics.jsonl")[WARMUP:]
            rates[way].append(Spread(tuple(step["tokens_per_second"] for step in steps)).median)
    spreads = {way: Spread(tuple(found)) for way, found in rates.items()}
    one, same_cores = list(spreads.values())[:2]
    rows = {}
    for way, spread in spreads.items():
        ratio, apart = summary(spread.over(one)), spread.apart_from(one)
        fair, fair_apart = summary(spread.over(same_cores)), spread.apart_from(same_cores)
        row = {"ratio": ratio, "apart": apart, "ratio_to_threads": fair, "apart_from_threads": fair_apart}
        rows[way] = {"tokens_per_second": summary(spread), **row}
        compared = "" if spread is one else f"   against 1 process: {versus(ratio, apart)}"
        compared += f"; of {processes * threads} threads: {versus(fair, fair_apart)}" if ways[way][0] > 1 else ""
        logger.info(f"{way:>20} {spread.median:10,.0f} tokens/s{compared}")
    return rows


def _kills(home: Path, options: Options) -> dict[str, dict[str, int]]:
    """How many of the killed trainings were started again, and ended in the very losses of one that wasn't killed."""
    if not options.kills:
        return {}
    ended = {way: {"killed": 0, "same": 0} for way in STRATEGIES}
    for way, counts in ended.items():
        changes = {**SMALL, "trainer.max_iters": options.steps, "trainer.save_every": 5, "dist.strategy": way}
        whole = f"whole-{way}"
        _launch([_ask(home, whole, changes)], options.processes, options.threads)
        for number in range(options.kills):
            draw, name = random.Random(f"{way} {number}"), f"killed-{way}-{number}"
            kill = [draw.randrange(options.processes), draw.randrange(1, options.steps - 1), draw.random() / 20]
            ask = _ask(home, name, changes, kill=kill)
            complaints = _launch([ask], options.processes, options.threads, "--max-restarts=1")
            counts["killed"] += "exitcode: -9" in complaints
            counts["same"] += apart(home / whole, home / name) == 0
        logger.info(
            f"{way}: killed and started again: {counts['killed']} of {options.kills}; with the same losses: "
            f"{counts['same']}"
        )
    return ended


def _ask(
    home: Path, name: str, changes: Mapping[str, Any], *, float64: bool = False, kill: Any = None
) -> dict[str, Any]:
    """One run for `member.py`, in a folder of that name."""
    given = {"data.path": home / "text.txt", "system.work_dir": home / name, **changes}
    return {"argv": [f"--{key}={value}" for key, value in given.items()], "float64": float64, "kill": kill}


def _launch(runs: Sequence[dict[str, Any]], processes: int, threads: int, *more: str) -> str:
    """Let so many processes, or one without torchrun, make `runs`, each with so many threads; what they complained of.

    Raises:
        UsageError: they failed, or take too long; their last words.
    """
    starts = (*TORCHRUN, f"--nproc_per_node={processes}", *more, "-m") if processes > 1 else ()
    command = [sys.executable, "-m", *starts, torchrun_worker.__name__, json.dumps(runs)]
    environment = {**with_ours(), "OMP_NUM_THREADS": str(threads)}
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        _, complaints = child.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        child.terminate()  # torchrun ends those that it started
        complaints = f"no end after {LONGEST} s: {child.communicate()[1]}"
    if child.returncode:
        raise UsageError(f"processes={processes}: {_last_words(complaints.splitlines())}")
    return complaints


def _last_words(lines: Sequence[str]) -> str:
    """What went wrong first in the last attempt: an exception, or by torchrun's report how a process ended."""
    ends = [number for number, line in enumerate(lines) if "(exitcode: " in line]  # one of each attempt
    own = lines[ends[-2] + 1 :] if len(ends) > 1 else lines
    raised = [line for line in own if EXCEPTION.match(line)]
    return next(iter([*raised, *(lines[number] for number in ends[-1:])]), "no reason given")


def losses(folder: Path) -> list[float]:
    """The training loss of every step of the run in `folder`, each there once."""
    records = read_lines(folder / "metrics.jsonl")
    assert [record["step"] for record in records] == list(range(1, len(records) + 1)), f"{folder}: steps"
    return [record["train_loss"] for record in records]


def apart(one: Path, other: Path) -> float:
    """The largest difference of the losses of two runs of as many steps, the validation loss included."""
    first, second = losses(one), losses(other)
    last = [read_lines(folder / "metrics.jsonl")[-1]["val_loss"] for folder in (one, other)]
    return max(abs(a - b) for a, b in zip([*first, last[0]], [*second, last[1]], strict=True))


def _write_text(path: Path) -> None:
    """Some 60,000 characters of random words."""
    draw = random.Random(0)
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 8))) for _ in range(300)]
    path.write_text(" ".join(draw.choices(words, k=10_000)), encoding="utf-8")
