"""What is kept of a finished trial: one small file, from which any experiment that has this trial goes on without it.

    results/trials/ID.json    settings, environment, thinned metrics, n-gram lines, samples, measurements of the model

ID is of the settings, the seed and the texts (identity.py), so experiments share trials, and a checkout that has the
file need not train it.  No weights: what a model had to be there for was measured at the trial's end.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from typing_extensions import TypedDict

from mingpt.core.atomic_io import write_atomic
from mingpt.core.errors import CheckpointError
from mingpt.core.run_files.reading import Record, read_groups, read_json, read_lines
from mingpt.core.safe_parsing import Count, Many, Named
from mingpt.experiments.base import Cell, Row
from mingpt.report.publish import portable, publish_run, shorter

NAME = "trial.json"  # in the trial's own folder
LINES = 60  # of a stage's training loss, evenly spaced; every evaluation is kept
Object = dict[str, Any]


class Stage(TypedDict):
    """What is kept of a stage's run folder."""

    settings: Object
    environment: Object
    baselines: Object
    metrics: Many[Object]
    samples: Many[Object]


class TrialRecord(TypedDict):
    """A trial's file."""

    id: str
    seed: Count
    stages: Many[Stage]
    measurements: Named[Many[Object]]


def record_of(cell: Cell, rows: dict[str, list[Row]]) -> Record:
    """The record of a finished trial.

    Args:
        rows: of each measurement of the trained model.
    """
    plain = {
        name: [{key: value for key, value in row.items() if key not in ("arm", "seed")} for row in found]
        for name, found in rows.items()
    }
    stages = [_stage(folder) for folder in cell.folders]
    return {"id": cell.id, "seed": cell.seed, "stages": stages, "measurements": shorter(portable(plain))}


def _stage(folder: Path) -> Record:
    with TemporaryDirectory(prefix=".kept-", dir=folder) as draft:
        kept = Path(draft) / "run"
        publish_run(folder, kept)
        return {
            "settings": read_groups(kept),
            "environment": read_json(kept / "environment.json"),
            "baselines": read_json(kept / "baselines.json"),
            "metrics": _fewer(read_lines(kept / "metrics.jsonl")),
            "samples": read_lines(kept / "samples.jsonl"),
        }


def _fewer(lines: list[Record]) -> list[Record]:
    """All lines with an evaluation, the last, and of the others evenly spaced ones."""
    apart = -(-len(lines) // LINES) or 1
    return [
        line
        for place, line in enumerate(lines)
        if place % apart == 0 or line is lines[-1] or any(key.startswith("val_loss") for key in line)
    ]


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


def unpack(record: Record, cell: Cell) -> None:
    """Make the trial's folder what it would be, but for checkpoints, from the record of one with the same id.

    Raises:
        CheckpointError: the record is another trial's.
    """
    assert cell.home is not None
    if record["id"] != cell.id or len(record["stages"]) != len(cell.folders):
        raise CheckpointError(f"{cell.id}.json: holds the record of another trial, {record['id']}")
    for number, (stage, folder, config) in enumerate(zip(record["stages"], cell.folders, cell.configs, strict=True)):
        folder.mkdir(parents=True, exist_ok=True)
        settings: dict[str, dict[str, Any]] = stage["settings"]
        settings.setdefault("system", {}).update(work_dir=str(folder), seed=cell.seed)
        settings.setdefault("data", {}).update(path=config.data.path)
        if number:
            settings.setdefault("model", {}).update(pretrained_folder=str(cell.folders[number - 1]))
        content = {
            "config.yaml": yaml.safe_dump(settings, sort_keys=False, allow_unicode=True),
            "environment.json": json.dumps(stage["environment"], indent=1) + "\n",
            "baselines.json": json.dumps(stage["baselines"], indent=1) + "\n",
            **{f"{name}.jsonl": "".join(json.dumps(x) + "\n" for x in stage[name]) for name in ("samples", "metrics")},
        }
        for name, text in content.items():
            write_atomic(folder / name, text.encode())
    write(cell.home / NAME, record)


def rows_of(cell: Cell, measurement: str) -> list[Row] | None:
    """What was measured of the trained model, with this experiment's name of it; None: it was not measured."""
    if cell.home is None:
        return None
    found = read(cell.home / NAME).get("measurements", {}).get(measurement)
    return None if found is None else [{"arm": cell.arm, "seed": cell.seed, **row} for row in found]
