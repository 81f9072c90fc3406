"""What is kept of a finished trial: one small file, from which any experiment that has this trial goes on without it.

    results/trials/ID.json       settings, environment, thinned metrics, n-gram losses, samples, measurements
    results/NAME/record.jsonl    the same, a line for each trial of a published experiment

ID is of the settings, the seed and the texts (identity.py), so experiments share trials, and a checkout that has the
file need not train it.  No weights: what a model had to be there for was measured at the trial's end.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import TypedDict

from mingpt.core.atomic_io import write_atomic
from mingpt.core.errors import CheckpointError
from mingpt.core.run_files.reading import Record, read_json
from mingpt.core.run_files.records import Stage
from mingpt.core.safe_parsing import Count, Many, Named
from mingpt.experiments.base import Row, Trial
from mingpt.report.experiment_files import read_packed
from mingpt.report.publish import TRIAL, portable, shorter, stage_of
from mingpt.report.record_file import PACKED

NAME = TRIAL  # in the trial's own folder


class TrialRecord(TypedDict):
    """A trial's file."""

    id: str
    seed: Count
    stages: Many[Stage]
    measurements: Named[Many[dict[str, Any]]]


def record_of(trial: Trial, rows: dict[str, list[Row]]) -> Record:
    """The record of a finished trial.

    Args:
        rows: rows of each measurement of the trained model, by its name.
    """
    plain = {
        name: [{key: value for key, value in row.items() if key not in ("arm", "seed")} for row in found]
        for name, found in rows.items()
    }
    stages = [stage_of(folder) for folder in trial.folders]
    return {"id": trial.id, "seed": trial.seed, "stages": stages, "measurements": shorter(portable(plain))}


def write(path: Path, record: Record) -> None:
    """Write a record, in its own folder and where it is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, (json.dumps(record, separators=(",", ":")) + "\n").encode())


def read(path: Path) -> Record:
    """The record at `path`; {} where there is none.

    Raises:
        CheckpointError: it is damaged or no record of a trial.
    """
    return read_json(path, TrialRecord)


def find(kept: Path, id_: str) -> Record:
    """The record of the trial `id_`: from `kept`, or from an experiment published next to it; {} where there is none.

    Raises:
        CheckpointError: it is damaged or no record of a trial.
    """
    if found := read(kept / f"{id_}.json"):
        return found
    return next((trial for trial in published(kept) if trial.get("id") == id_), {})


def published(kept: Path) -> Iterator[Record]:
    """The trials of the experiments that are published next to `kept`."""
    for path in sorted(kept.parent.glob(f"*/{PACKED}")):
        yield from read_packed(path.parent).trials


def unpack(record: Record, trial: Trial) -> None:
    """Make the trial's folder what it would be, but for checkpoints, from the record of one with the same id.

    Raises:
        CheckpointError: the record is another trial's.
    """
    assert trial.home is not None
    if record["id"] != trial.id or len(record["stages"]) != len(trial.folders):
        raise CheckpointError(f"{trial.id}.json: holds the record of another trial, {record['id']}")
    for number, (stage, folder, config) in enumerate(zip(record["stages"], trial.folders, trial.configs, strict=True)):
        folder.mkdir(parents=True, exist_ok=True)
        settings: dict[str, dict[str, Any]] = stage["settings"]
        settings.setdefault("system", {}).update(work_dir=str(folder), seed=trial.seed)
        settings.setdefault("data", {}).update(path=config.data.path)
        if number:
            settings.setdefault("model", {}).update(pretrained_folder=str(trial.folders[number - 1]))
        content = {
            "config.yaml": yaml.safe_dump(settings, sort_keys=False, allow_unicode=True),
            "environment.json": json.dumps(stage["environment"], indent=1) + "\n",
            "baselines.json": json.dumps(stage["baselines"], indent=1) + "\n",
            **{f"{name}.jsonl": "".join(json.dumps(x) + "\n" for x in stage[name]) for name in ("samples", "metrics")},
        }
        for name, text in content.items():
            write_atomic(folder / name, text.encode())
    write(trial.home / NAME, record)


def rows_of(trial: Trial, measurement: str) -> list[Row] | None:
    """What was measured of the trained model, with this experiment's name of it; None: it was not measured."""
    if trial.home is None:
        return None
    found = read(trial.home / NAME).get("measurements", {}).get(measurement)
    return None if found is None else [trial.row(**row) for row in found]
