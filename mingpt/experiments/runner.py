"""Carrying an experiment out: record, learning rates, cells, measurements, conclusion; and going on with one.

Everything that is finished is skipped, so the same command continues a stopped experiment, and several processes may
work in one folder.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from mingpt.core.atomic_io import locked, write_atomic
from mingpt.core.errors import CheckpointError, UsageError, require
from mingpt.core.run_files.records import read_run
from mingpt.core.safe_parsing import fault
from mingpt.experiments import trial_records, validate
from mingpt.experiments import trials as plan
from mingpt.experiments.base import FORMS, STANDARD, Cell, Experiment, Lab, Measurement, Row
from mingpt.experiments.drawings import draw, measured, palette, tables
from mingpt.experiments.executor import AGAIN_S, Crew, Launch, Outcome, done, in_process_of_its_own, threads_for
from mingpt.experiments.identity import versions
from mingpt.experiments.trials import Text
from mingpt.report.experiment_files import MEASURED, RECORD, read_record, read_rows, refuse_links
from mingpt.utils import cpu_threads

logger = logging.getLogger(__name__)

HELD_OUT, TRAINING = "loss on the end of the training part", "training loss, smoothed"  # what may choose a rate
Conclude = Callable[[Experiment, Path, Sequence[Cell]], None]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How an experiment is to be carried out.

    Attributes:
        folder: of the experiment.
        command: what a person typed.
        again: what goes on with it; "": the same.
        data: the text.
        seeds: cells per arm; None: as many as the record says, or else the experiment.
        form: quick, standard or full.
        jobs: trials at once.
        idle: run only where nothing else wants the processors.
        trials_only: train, but measure and conclude nothing: what is timed needs a quiet machine.
        kept: where records of finished trials lie and go, for other experiments and checkouts; None: nowhere.
        fresh: put what is there aside, and begin anew.
        elsewhere: what to do where the folder holds another experiment, for people.
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
        """Of each trial; 0: as many as PyTorch chooses."""
        return threads_for(self.jobs)

    def __post_init__(self) -> None:
        require(self.seeds is None or self.seeds >= 1, "seeds", self.seeds, "must be at least 1")
        require(self.form in FORMS, "form", self.form, f"must be one of {', '.join(FORMS)}")
        require(self.jobs >= 1, "jobs", self.jobs, "must be at least 1")
        require(self.data != "", "data", "''", "must name a text file")


def carry_out(experiment: Experiment, wish: Wish, *, conclude: Conclude, launch: Launch | None = None) -> Outcome:
    """Run what is not finished yet, measure, and conclude from the cells that are finished.

    Args:
        conclude: (experiment, folder, finished cells) writes statistics and page.
        launch: trains one run; None: in a process of its own.

    Raises:
        UsageError: a wrong setting, or another definition than the folder's record; nothing has run then.
        DataError: no such text.
        CheckpointError: `fresh` while another process works in the folder; a link in the place of its cells.
    """
    launch = launch or partial(in_process_of_its_own, threads=wish.threads, idle=wish.idle)
    if wish.fresh:
        _put_aside(wish.folder)
    refuse_links(wish.folder)
    existed = wish.folder.exists()
    text = plan.text_of(experiment, wish.folder, wish.data, wish.form)
    definition = plan.defined(experiment, text, wish.form)
    validate.trainable(plan.cells(experiment, wish.folder, text, [1], wish.form, {}))
    seeds = _record(experiment, wish, definition)
    logger.info(f"{'going on in' if existed else 'folder:'} {wish.folder}")
    crew = Crew(wish.folder, wish.jobs, launch)
    rates, outcome = _learning_rates(experiment, wish, text, crew)
    if outcome.stopped or outcome.failed:
        return outcome
    cells = plan.cells(experiment, wish.folder, text, range(1, seeds + 1), wish.form, rates)
    with waited_for(wish.folder):
        _write_record(wish.folder, {**read_record(wish.folder), "trials": plan.ids(cells, wish.folder)})
    crew.keep, crew.kept = partial(_keep, experiment.measurements, wish, Lock()), wish.kept
    outcome = crew.do(cells)
    if outcome.stopped:
        return outcome
    _note_hopeless(wish.folder, outcome)
    if wish.trials_only:
        return outcome
    finished = [cell for cell in cells if done(cell)]
    _measure(experiment.measurements, Lab(wish.folder, finished, wish.form))
    with waited_for(wish.folder):
        _write_record(wish.folder, {**read_record(wish.folder), **tables(experiment.measurements, wish.folder)})
    conclude(experiment, wish.folder, finished)
    return outcome


def _record(experiment: Experiment, wish: Wish, definition: dict[str, Any]) -> int:
    """Write record.json, or check that the one there says the same; returns the number of seeds."""
    wish.folder.mkdir(parents=True, exist_ok=True)
    with waited_for(wish.folder):
        before = read_record(wish.folder)
        if before:
            differing = plan.changes(before, definition)
            if differing:
                shown = "; ".join(differing[:4]) + ("; ..." if len(differing) > 4 else "")
                raise UsageError(f"{wish.folder}: holds another experiment: {shown}; {wish.elsewhere}")
        usual = experiment.seeds_of(wish.form)
        seeds: int = wish.seeds or before.get("seeds") or usual
        chosen = before.get("chosen_learning_rates", {})
        told = {"command": wish.command, "seeds": seeds, "chosen_learning_rates": chosen}
        _write_record(wish.folder, {**definition, **told, "versions": versions(before.get("versions", []))})
    return seeds


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    write_atomic(folder / RECORD, (json.dumps(record, indent=1) + "\n").encode())


def _note_hopeless(folder: Path, outcome: Outcome) -> None:
    """Into the record: cells that will never end, and why, so that the rest may be published."""
    found = {
        f"cells/{plan.folder_name(cell.arm)}/seed-{cell.seed}": why
        for cell, (_, why) in outcome.failed.items()
        if outcome.hopeless(cell)
    }
    if found:
        with waited_for(folder):
            _write_record(folder, {**read_record(folder), "hopeless": found})


def _learning_rates(experiment: Experiment, wish: Wish, text: Text, crew: Crew) -> tuple[dict[str, float], Outcome]:
    """What every arm takes, chosen once and written into the record; empty where there is nothing to choose."""
    if not experiment.rates_of(wish.form):
        return {}, Outcome()
    known = read_record(wish.folder).get("chosen_learning_rates")
    if known:
        return {arm: each["chosen"] for arm, each in known.items()}, Outcome()
    trials = plan.trials(experiment, wish.folder, text, wish.form)
    outcome = crew.do([cell for by_rate in trials.values() for cell in by_rate.values()])
    chosen: dict[str, Any] = {}
    for arm, by_rate in trials.items():
        chosen[arm], best = _choice(by_rate)
        if all(done(cell) or outcome.hopeless(cell) for cell in by_rate.values()) and done(by_rate[best]):
            for cell in by_rate.values():
                outcome.failed.pop(cell, None)
    if outcome.stopped or outcome.failed:
        return {}, outcome
    with waited_for(wish.folder):
        _write_record(wish.folder, {**read_record(wish.folder), "chosen_learning_rates": chosen})
    for arm, each in chosen.items():
        logger.info(f"{arm}: learning rate {each['chosen']:g} of {', '.join(each['losses'])}, by the {_why(each)}")
    return {arm: each["chosen"] for arm, each in chosen.items()}, outcome


def _choice(by_rate: Mapping[float, Cell]) -> tuple[dict[str, Any], float]:
    """What an arm's trials say, as the record has it; and the learning rate of the lowest loss."""
    judged = {rate: _loss(cell) for rate, cell in by_rate.items()}
    losses = {rate: loss for rate, (loss, _) in judged.items()}
    best, rates = min(losses, key=lambda rate: losses[rate]), sorted(losses)
    return {
        "chosen": best,
        "losses": {f"{rate:g}": loss if math.isfinite(loss) else None for rate, loss in losses.items()},
        "decided_by": judged[best][1],
        "end_of_grid": {rates[-1]: "highest", rates[0]: "lowest"}.get(best) if len(rates) > 1 else None,
    }, best


def _loss(cell: Cell) -> tuple[float, str]:
    """By which learning rates are chosen, and its name; infinite where the run came to no end.

    Of a run that has no held-out loss it is the training loss, smoothed, since one step's depends on its batch.
    """
    if not done(cell):
        return math.inf, ""
    run = read_run(cell.folders[-1])
    if "val_loss" in run.last:
        return run.last["val_loss"], HELD_OUT
    return run.training().losses[-1], TRAINING


def _why(choice: Mapping[str, Any]) -> str:
    """What decided, and whether a learning rate beyond those tried might be better still."""
    end = f"; the {choice['end_of_grid']} that was tried" if choice["end_of_grid"] else ""
    return f"{choice['decided_by']}{end}"


def _keep(measurements: Sequence[Measurement], wish: Wish, one: Lock, cell: Cell) -> None:
    """Measure the model that a trial ends with, and write the trial's record.

    Args:
        one: held while models are measured, which shares PyTorch's random state.
    """
    assert cell.home is not None
    wanted = [each for each in measurements if each.of_model and (cell.seed == 1 or not each.first_seed)]
    with one, cpu_threads(wish.threads or torch.get_num_threads()):
        rows = {each.name: each.take(Lab(wish.folder, [cell], wish.form)) for each in wanted}
    for each in wanted:
        _check_rows(each, rows[each.name])
    record = trial_records.record_of(cell, rows)
    trial_records.write(cell.home / trial_records.NAME, record)
    if wish.kept is not None:
        trial_records.write(wish.kept / f"{cell.id}.json", record)


def _of_models(measurement: Measurement, lab: Lab) -> list[Row]:
    """The rows of a measurement of trained models, from the trials' records."""
    rows: list[Row] = []
    for cell in lab.cells:
        found = trial_records.rows_of(cell, measurement.name)
        rows += found or []
        if found is None and (cell.seed == 1 or not measurement.first_seed):
            logger.info(
                f"{cell.name}: its record, of another experiment, has no {measurement.name}; it is left out there"
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


@contextmanager
def waited_for(folder: Path) -> Iterator[None]:
    """Hold `folder`'s lock, however long another process has it."""
    while True:
        lock = locked(folder)
        try:
            lock.__enter__()
        except CheckpointError:
            time.sleep(AGAIN_S)
            continue
        break
    try:
        yield
    finally:
        lock.__exit__(None, None, None)
