"""Run an experiment, or resume it: record, learning rates, trials, measurements, page.

Everything that is finished is skipped, so the same command continues a stopped experiment, and several processes may
work in one folder.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from mingpt.core.atomic_io import locked, write_atomic
from mingpt.core.errors import CheckpointError, require
from mingpt.core.run_files.records import read_run
from mingpt.core.safe_parsing import fault
from mingpt.distributed.threads import cpu_threads
from mingpt.experiments import trial_records, validate
from mingpt.experiments.base import FORMS, STANDARD, Experiment, Lab, Measurement, Row, Trial
from mingpt.experiments.drawings import draw, measured, palette, tables
from mingpt.experiments.executor import Executor, Launch, Outcome, done, in_process_of_its_own, threads_for
from mingpt.experiments.experiment_record import begin, note_diverged, update, waited_for
from mingpt.experiments.trials import (
    Text,
    defined,
    ids,
    learning_rate_trials,
    text_of,
    trials_of,
)
from mingpt.report.experiment_files import MEASURED, check_links, read_record, read_rows
from mingpt.report.formatting import counted

logger = logging.getLogger(__name__)

VALIDATION, TRAINING = "loss on the end of the training part", "training loss, smoothed"  # what may choose a rate
Summarize = Callable[[Experiment, Path, Sequence[Trial]], None]


@dataclass(frozen=True, kw_only=True)
class ExperimentOptions:
    """How an experiment is run.

    Attributes:
        folder: folder of the experiment.
        command: command as it was typed.
        again: the command that resumes it; "": the same.
        data: the text.
        seeds: trials per variant; None: as many as the record says, or else the experiment.
        form: quick, standard or full.
        jobs: number of trials at once.
        idle: run only where nothing else wants the processors.
        trials_only: leave out what is timed, which needs a quiet machine, and the summary.
        kept: where records of finished trials lie and go, for other experiments and checkouts; None: nowhere.
        fresh: put what is there aside, and train all trials again, those of which there is a record, too.
        elsewhere: advice of the message if the folder holds another experiment.
    """

    folder: Path
    command: str
    again: str = ""
    data: str = "input.txt"
    seeds: int | None = None
    form: str = STANDARD
    jobs: int = 1
    idle: bool = False
    trials_only: bool = False
    kept: Path | None = None
    fresh: bool = False
    elsewhere: str = "--fresh puts it aside"

    @property
    def threads(self) -> int:
        """Threads of each trial; 0: as many as PyTorch chooses."""
        return threads_for(self.jobs)

    def __post_init__(self) -> None:
        require(self.seeds is None or self.seeds >= 1, "seeds", self.seeds, "must be at least 1")
        require(self.form in FORMS, "form", self.form, f"must be one of {', '.join(FORMS)}")
        require(self.jobs >= 1, "jobs", self.jobs, "must be at least 1")
        require(self.data != "", "data", "''", "must name a text file")


def carry_out(
    experiment: Experiment, options: ExperimentOptions, *, summarize: Summarize, launch: Launch | None = None
) -> Outcome:
    """Train what is not finished yet, measure, and summarize the finished trials.

    Args:
        summarize: (experiment, folder, finished trials) writes statistics and page.
        launch: trains one run; None: in a process of its own.

    Raises:
        UsageError: a wrong setting, or another definition than the folder's record; nothing has run then.
        DataError: no such text.
        CheckpointError: `fresh` while another process works in the folder; a link in the place of its trials.
    """
    launch = launch or partial(in_process_of_its_own, threads=options.threads, idle=options.idle)
    if options.fresh:
        _put_aside(options.folder)
    check_links(options.folder)
    existed = options.folder.exists()
    text = text_of(experiment, options.folder, options.data, options.form)
    definition = defined(experiment, text, options.form)
    validate.trainable(trials_of(experiment, options.folder, text, [1], options.form, {}))
    usual = experiment.seeds_of(options.form)
    seeds = begin(options.folder, definition, options.command, options.seeds, usual, options.elsewhere)
    if options.fresh:
        update(options.folder, fresh=True)
    other = options.seeds is None and seeds != usual
    as_before = f", {counted(seeds, 'seed')} as recorded (--seeds={usual} is usual)" if other else ""
    logger.info(f"{'resuming in' if existed else 'folder:'} {options.folder}{as_before}")
    executor = Executor(options.folder, options.jobs, launch)
    rates, outcome = _learning_rates(experiment, options, text, executor)
    if outcome.stopped or outcome.failed:
        return outcome
    trials = trials_of(experiment, options.folder, text, range(1, seeds + 1), options.form, rates)
    update(options.folder, trials=ids(trials, options.folder))
    executor.keep, executor.kept = partial(_keep, experiment.measurements, options, Lock()), options.kept
    executor.use_records = not read_record(options.folder).get("fresh", False)
    outcome = executor.do(trials)
    if outcome.stopped:
        return outcome
    finished = [trial for trial in trials if done(trial)]
    note_diverged(options.folder, finished, outcome.diverged)
    lab = Lab(options.folder, finished, options.form, options.kept.parent if options.kept else None)
    _measure([each for each in experiment.measurements if not (each.timed and options.trials_only)], lab)
    if options.trials_only:
        return outcome
    update(options.folder, **tables(experiment.measurements, options.folder))
    summarize(experiment, options.folder, finished)
    return outcome


def _learning_rates(
    experiment: Experiment, options: ExperimentOptions, text: Text, executor: Executor
) -> tuple[dict[str, float], Outcome]:
    """Return the learning rate of every variant, chosen once and kept in the record; {} where none is to choose."""
    if not experiment.rates_of(options.form):
        return {}, Outcome()
    known = read_record(options.folder).get("chosen_learning_rates")
    if known:
        return {variant: each["chosen"] for variant, each in known.items()}, Outcome()
    tried = learning_rate_trials(experiment, options.folder, text, options.form)
    outcome = executor.do([trial for by_rate in tried.values() for trial in by_rate.values()])
    chosen: dict[str, Any] = {}
    for variant, by_rate in tried.items():
        chosen[variant], best = _choice(by_rate)
        if all(done(trial) or trial in outcome.diverged for trial in by_rate.values()) and done(by_rate[best]):
            for trial in by_rate.values():
                outcome.failed.pop(trial, None)
    if outcome.stopped or outcome.failed:
        return {}, outcome
    update(options.folder, chosen_learning_rates=chosen)
    for variant, each in chosen.items():
        logger.info(f"{variant}: learning rate {each['chosen']:g} of {', '.join(each['losses'])}, by the {_why(each)}")
    return {variant: each["chosen"] for variant, each in chosen.items()}, outcome


def _choice(by_rate: Mapping[float, Trial]) -> tuple[dict[str, Any], float]:
    """Return the choice of a variant's learning rate, as the record has it; and the rate of the lowest loss."""
    found = {rate: _loss(trial) for rate, trial in by_rate.items()}
    losses = {rate: loss for rate, (loss, _) in found.items()}
    best, rates = min(losses, key=lambda rate: losses[rate]), sorted(losses)
    return {
        "chosen": best,
        "losses": {f"{rate:g}": loss if math.isfinite(loss) else None for rate, loss in losses.items()},
        "decided_by": found[best][1],
        "end_of_grid": {rates[-1]: "highest", rates[0]: "lowest"}.get(best) if len(rates) > 1 else None,
    }, best


def _loss(trial: Trial) -> tuple[float, str]:
    """Return the loss that a learning rate is chosen by, and its name; infinite where the run did not finish.

    A run without a validation loss has the training loss, smoothed, since that of one step depends on its batch.
    """
    if not done(trial):
        return math.inf, ""
    run = read_run(trial.folders[-1])
    if "val_loss" in run.last:
        return run.last["val_loss"], VALIDATION
    return run.training().losses[-1], TRAINING


def _why(choice: Mapping[str, Any]) -> str:
    """What decided, and whether a learning rate beyond those tried might be better still."""
    end = f"; the {choice['end_of_grid']} that was tried" if choice["end_of_grid"] else ""
    return f"{choice['decided_by']}{end}"


def _keep(measurements: Sequence[Measurement], options: ExperimentOptions, one: Lock, trial: Trial) -> None:
    """Measure the model that a trial ends with, and write the trial's record.

    Args:
        one: held while models are measured, which shares PyTorch's random state.
    """
    assert trial.home is not None
    wanted = [each for each in measurements if each.of_model and (trial.seed == 1 or not each.first_seed)]
    with one, cpu_threads(options.threads or torch.get_num_threads()):
        rows = {each.name: each.take(Lab(options.folder, [trial], options.form)) for each in wanted}
    for each in wanted:
        _check_rows(each, rows[each.name])
    record = trial_records.record_of(trial, rows)
    trial_records.write(trial.home / trial_records.NAME, record)
    if options.kept is not None:
        trial_records.write(options.kept / f"{trial.id}.json", record)


def _of_models(measurement: Measurement, lab: Lab) -> list[Row]:
    """The rows of a measurement of trained models, from the trials' records."""
    rows: list[Row] = []
    for trial in lab.trials:
        found = trial_records.rows_of(trial, measurement.name)
        rows += found or []
        if found is None and (trial.seed == 1 or not measurement.first_seed):
            logger.info(
                f"{trial.name}: its record, of another experiment, has no {measurement.name}; it is left out there"
            )
    return rows


def _measure(measurements: Sequence[Measurement], lab: Lab) -> None:
    """Take what has not been taken yet, and what follows from the trials; draw everything from what is written."""
    (lab.folder / "claims" / "measurements").mkdir(parents=True, exist_ok=True)
    for measurement in measurements:
        with waited_for(lab.folder / "claims" / "measurements"):
            if measurement.of_model:
                _append(lab.folder / MEASURED, measurement, _of_models(measurement, lab))
            elif measurement.of_runs:
                _append(lab.folder / MEASURED, measurement, measurement.take(lab))
            elif not measured(lab.folder, measurement.name):
                logger.info(f"measuring {measurement.name}")
                began = time.monotonic()
                _append(lab.folder / MEASURED, measurement, measurement.take(lab))
                logger.info(f"measured {measurement.name} in {time.monotonic() - began:.0f} s")
            draw(measurement, lab.folder, palette(measurements, lab.folder))


def _append(path: Path, measurement: Measurement, rows: Sequence[Row]) -> None:
    """All rows or none, in the place of those that there were of this measurement."""
    _check_rows(measurement, rows)
    others = [row for row in read_rows(path.parent) if row["measurement"] != measurement.name]
    lines = [json.dumps(row) + "\n" for row in (*others, *({"measurement": measurement.name, **row} for row in rows))]
    write_atomic(path, "".join(lines).encode())


def _check_rows(measurement: Measurement, rows: Sequence[Row]) -> None:
    for row in rows:
        wrong = fault(json.loads(json.dumps({"measurement": measurement.name, **row})), measurement.row)
        assert not wrong, f"{measurement.name}: {wrong}"


def _put_aside(folder: Path) -> None:
    if not folder.exists():
        return
    for claim in sorted((folder / "claims").glob("*")):
        try:
            with locked(claim):
                pass
        except CheckpointError:
            raise CheckpointError(f"{folder}: another process is at work in this folder; wait for it") from None
    number = 1
    while (aside := folder.with_name(f"{folder.name}.before-{number}")).exists():
        number += 1
    folder.rename(aside)
    logger.info(f"what was there is now {aside}")
