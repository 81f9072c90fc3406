"""`chargpt sweep` and `mingpt.sweep`: every combination of settings trained with the same seeds, and compared."""

import itertools
import logging
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mingpt.core.command_line import split_words
from mingpt.core.errors import MingptError, UsageError, require
from mingpt.core.paths import path_of
from mingpt.core.run_files.records import HOME
from mingpt.data.text_files import STDIN
from mingpt.experiments import validate
from mingpt.experiments.arguments import SweepOptions, own_words, sweep_options
from mingpt.experiments.base import Experiment
from mingpt.experiments.commands import ended, without
from mingpt.experiments.runner import ExperimentOptions, Summarize, carry_out
from mingpt.experiments.summarize import summarize as write_summary
from mingpt.experiments.sweep import OURS, experiment_of, of_values, spelled
from mingpt.experiments.trials import config_of
from mingpt.report.formatting import counted
from mingpt.report.significance import FEWEST
from mingpt.report.tables import ComparisonTable, compare
from mingpt.runs.config import Config

logger = logging.getLogger(__name__)

ELSEWHERE = "--folder=DIR names another folder"


def command(words: Sequence[str], program: str, summarize: Summarize, wanted: Experiment | None = None) -> int:
    """Every combination of the settings that have several values.

    Args:
        wanted: the settings' experiment, where `experiment_of` has made it already.
    """
    own, settings = own_words(words)
    flags = sweep_options(program, words)
    wanted = wanted or experiment_of(settings)
    folder = path_of(flags.folder) if flags.folder else _free()
    data = data_of(wanted)
    again = [*settings, *without("--folder", own), f"--folder={folder}"]
    if data == STDIN:  # can be read once only
        again = [*without("--data.path", split_words(again)[1]), f"--data.path={folder / 'text.txt'}"]
    options = ExperimentOptions(
        folder=folder,
        command=shlex.join([*program.split(), "sweep", *words]),
        again=shlex.join([*program.split(), "sweep", *again]),
        data=data,
        seeds=flags.seeds,
        jobs=flags.jobs,
        elsewhere=ELSEWHERE,
    )
    _announce(wanted, flags.seeds)
    return ended(carry_out(wanted, options, summarize=summarize), options)


def sweep(
    variants: Mapping[str, Sequence[Any]],
    *,
    seeds: int = 3,
    base: Config | Mapping[str, Any] | str | Path | None = None,
    folder: str | Path | None = None,
    jobs: int = 1,
) -> ComparisonTable:
    """Train every combination of `variants` with the same seeds, as `chargpt sweep` does, and compare them.

        mingpt.sweep({"model.rope": [True, False]}, seeds=3, base={"trainer.max_iters": 200})

    Each trial is a process of its own.  The folder also holds `report.html`.

    Args:
        variants: settings by their keys, each with the values that it takes.
        seeds: trials per combination; a significance test needs 3.
        base: the settings that all variants share: a Config, some settings by their keys, or a YAML file of them. A
            Config says all settings; where its wandb.mode is None, trials are not logged to W&B.
        folder: folder of the sweep; the same sweep there is resumed; None: the first free of out/sweeps/1, 2, ...
        jobs: trials at once; the threads are divided among them.

    Raises:
        UsageError: a setting that breaks a rule, or nothing that could be compared; nothing has been trained then.
        DataError: no such text.
        MingptError: trials failed, or none could be compared.
        KeyboardInterrupt: it was stopped by a signal; the same call with its folder resumes it.
    """
    require(bool(variants), "variants", dict(variants), "must have a setting with several values")
    flags = SweepOptions(seeds=seeds, jobs=jobs, folder=None if folder is None else str(folder))
    values = {key: [spelled(each) for each in _listed(key, given)] for key, given in variants.items()}
    wanted = of_values(values, _shared(base))
    home = path_of(flags.folder) if flags.folder else _free()
    options = ExperimentOptions(
        folder=home,
        command=f"mingpt.sweep({dict(variants)!r}, seeds={seeds})",
        data=data_of(wanted),
        seeds=seeds,
        jobs=jobs,
        elsewhere="folder=DIR names another folder",
    )
    _announce(wanted, seeds)
    outcome = carry_out(wanted, options, summarize=partial(write_summary, show=lambda result, tables: None))
    if outcome.stopped:
        raise KeyboardInterrupt(f"stopped by {outcome.stopped}; folder={str(home)!r} resumes it")
    lost = {trial.name: why for trial, (_, why) in outcome.failed.items() if trial not in outcome.diverged}
    if lost:
        reasons = "; ".join(f"{name}: {why}" for name, why in lost.items())
        raise MingptError(f"{counted(len(lost), 'trial')} failed: {reasons}; logs are in {home / 'logs'}")
    return compare([home])


def data_of(sweep: Experiment) -> str:
    """The text of all variants, as given."""
    return str(next(iter(sweep.variants.values()))[0]["data.path"])


def _announce(wanted: Experiment, seeds: int) -> None:
    """How many trials there will be, and what can be known of their comparison before the first."""
    number = len(wanted.variants)
    logger.info(f"{counted(number, 'combination')} x {counted(seeds, 'seed')} = {counted(number * seeds, 'run')}")
    if seeds < FEWEST:
        logger.warning(
            f"{counted(seeds, 'seed')}: losses are shown, but a significance test needs --seeds={FEWEST} or more"
        )
    variants = {name: config_of(stages[0]) for name, stages in wanted.variants.items()}
    for line in [*validate.uncompared(variants), *validate.without_effect(variants)]:
        logger.warning(line)


def _shared(base: Config | Mapping[str, Any] | str | Path | None) -> list[str]:
    """`base` as words of a command line."""
    if base is None:
        return []
    if isinstance(base, str | Path):
        return [f"--config={base}"]
    given = base.flat() if isinstance(base, Config) else base
    if isinstance(base, Config):
        usual = Config().flat()
        given = {key: value for key, value in given.items() if key not in OURS or value != usual[key]}
    return [f"--{key}={spelled(value)}" for key, value in given.items()]


def _listed(key: str, values: Sequence[Any]) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise UsageError(f"{key}={values!r}: must be a list of values")
    return list(values)


def _free() -> Path:
    home = HOME / "sweeps"
    return next(home / str(n) for n in itertools.count(1) if not (home / str(n)).exists())
