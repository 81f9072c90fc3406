"""Time to a loss: whole trainings, ours and nanoGPT's by its own CPU recipe, in turn, evaluated equally.

A ratio of seconds is taken within a round, and is 0 where ours did not reach the loss that the peer ended at.
Our recipe was chosen on the validation set, so its loss there is lower than it would be elsewhere.
"""

import json
import logging
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from mingpt.benchmarks import speedrun_worker
from mingpt.benchmarks.base import rounded, summary
from mingpt.benchmarks.options.base import parse_peers
from mingpt.benchmarks.options.speedrun import CLONES, Options
from mingpt.benchmarks.speedrun_worker import BLOCK, Outcome, data_settings
from mingpt.benchmarks.worker_process import command, last_words, with_ours
from mingpt.core.errors import UsageError, require
from mingpt.runs import config as settings
from mingpt.runs.config import Config
from mingpt.training.profiling import Spread

logger = logging.getLogger(__name__)

SCRIPT = Path(speedrun_worker.__file__)


def our_config(options: Options) -> Config:
    """The recipe on this text, on the CPU, without W&B.

    Raises:
        UsageError: the recipe breaks a rule, or its loss could not be compared with the peer's.
    """
    kind = "preset" if options.recipe in settings.PRESETS else "config"
    config = settings.parse([f"--{kind}={options.recipe}", f"--data.path={options.data}", "--wandb.mode=disabled"])
    for name, value, rule in (
        ("tokenizer", config.data.tokenizer, "char"),
        ("val_fraction", config.data.val_fraction, 0.1),
        ("test_fraction", config.data.test_fraction, 0.0),
    ):
        require(value == rule, f"data.{name}", value, f"must be {rule} in a speedrun, as the peer's is")
    require(config.data.block_size >= BLOCK, "data.block_size", config.data.block_size, f"must be at least {BLOCK}")
    for name, given in (
        ("model.pretrained_folder", config.pretrained_folder),
        ("trainer.resume", config.trainer.resume),
    ):
        require(not given, name, given, "must not be set in a speedrun, which begins with fresh weights")
    device = config.trainer.device
    require(device in ("auto", "cpu"), "trainer.device", device, "must be cpu in a speedrun, where the peer trains")
    return replace(config, trainer=replace(config.trainer, device="cpu"))


def run(options: Options) -> dict[str, Any]:
    """Train each contender once per seed, in turn, every other round in the other order.

    Returns:
        What the last line of `chargpt bench speedrun` prints: every outcome, and medians with quartiles.

    Raises:
        UsageError: settings that can't be compared; a contender that fails.
    """
    config, peers = our_config(options), parse_peers(options.peers, CLONES)
    logger.info(f"training seconds from first step to last; loss on all validation targets, in blocks of {BLOCK}")
    rounds: list[dict[str, Outcome]] = []
    for seed in range(options.seeds):
        asks: dict[str, dict[str, Any]] = {"ours": {}}
        common = {"seed": seed, "threads": options.threads, "data": data_settings(config.data)}
        asks |= {kind: {**common, "path": str(Path(path).absolute())} for kind, path in peers.items()}
        done: dict[str, Outcome] = {}
        for kind in list(asks)[:: -1 if seed % 2 else 1]:
            done[kind] = _ours(config, seed, options.threads) if kind == "ours" else enter(kind, asks[kind])
            run = done[kind]
            logger.info(
                f"seed {seed}  {kind:8} {run['steps']:6,} steps  {run['seconds']:8.1f} s  {run['loss']:.4f} nats"
            )
        rounds.append(done)
    rows = {kind: _row(kind, rounds) for kind in ("ours", *peers)}
    machine = {"device": "cpu", "torch": torch.__version__, "block_size": BLOCK}
    return {"bench": "speedrun", **asdict(options), **machine, "rounds": rounds, "rows": rows}


def _ours(config: Config, seed: int, threads: int) -> Outcome:
    """An ordinary run in a folder of its own, which goes with it."""
    with tempfile.TemporaryDirectory() as folder:
        system = replace(config.system, seed=seed, threads=threads, work_dir=f"{folder}/run")
        written = Path(folder, "config.yaml")
        written.write_text(replace(config, system=system).to_yaml(), encoding="utf-8")
        return enter("ours", {"config": str(written)})


def enter(kind: str, ask: dict[str, Any]) -> Outcome:
    """One training in a fresh process.

    Raises:
        UsageError: it failed; its last words.
    """
    ended = subprocess.run(command(SCRIPT, kind, ask), capture_output=True, text=True, env=with_ours())
    if ended.returncode:
        raise UsageError(f"{kind}: {last_words(ended.stderr)}")
    outcome: Outcome = json.loads(ended.stdout.splitlines()[-1])
    return outcome


def _row(kind: str, rounds: Sequence[dict[str, Outcome]]) -> dict[str, Any]:
    """Over the seeds: loss and seconds of `kind`; of a peer also how often ours reached its loss, and how much sooner.

    A round in which ours did not reach it counts as a ratio of 0, as it would have taken for ever.
    """
    outcomes = [done[kind] for done in rounds]
    seconds, loss = (over_seeds([outcome[name] for outcome in outcomes]) for name in ("seconds", "loss"))
    logger.info(f"{kind:8} {_range(seconds)} s   {_range(loss)} nats")
    row: dict[str, Any] = {"seconds": seconds, "loss": loss}
    if kind == "ours":
        return row
    reached = [done["ours"]["loss"] <= done[kind]["loss"] for done in rounds]
    pairs = zip(rounds, reached, strict=True)
    ratio = over_seeds([done[kind]["seconds"] / done["ours"]["seconds"] if got else 0.0 for done, got in pairs])
    missed = reached.count(False)
    logger.info(
        f"ours reached {kind}'s loss of the same round in {reached.count(True)} of {len(rounds)}; {missed} did not"
    )
    logger.info(f"{kind} takes {_range(ratio)} times our seconds, over all rounds; 0: ours did not reach its loss")
    return row | {"reached": reached.count(True), "missed": missed, "ratio": ratio}


def over_seeds(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles of at least one value; of one, that value."""
    if len(values) == 1:
        return dict.fromkeys(("median", "q1", "q3"), rounded(values[0]))
    return summary(Spread(tuple(values)))


def _range(spread: dict[str, float]) -> str:
    return f"{spread['median']:.4g} ({spread['q1']:.4g} to {spread['q3']:.4g})"
