"""A published experiment in one file of numbers, record.jsonl, an object per line:

    {"experiment": {...}}                           what record.json holds of an experiment that runs
    {"trial": "cells/rope/seed-1", "variant": ...   a finished trial: its seed, and for each stage settings,
     "seed": 1, "stages": [...]}                    environment, thinned metrics, n-gram losses and last samples
    {"measurement": "recall", ...}                  a row of a measurement

Read as untrusted input: lines of at most 1 MB, in all at most 64 MB, every value's type checked.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NotRequired

from annotated_types import Len
from typing_extensions import TypedDict

from mingpt.core.atomic_io import write_atomic
from mingpt.core.run_files.reading import Record, flat, readable
from mingpt.core.run_files.records import FIRST_STAGE, STARTS_FROM, RunRecord, Stage, own_settings, run_of
from mingpt.core.safe_parsing import Count, Kind, Many, Named, Number, fault, read_objects, require_own

PACKED = "record.jsonl"
BYTES = 64 << 20


class Trial(TypedDict):
    """A line of a trial."""

    trial: str
    variant: str
    seed: Count
    stages: Annotated[Many[Stage], Len(1)]
    id: NotRequired[str]
    measurements: NotRequired[Named[Many[dict[str, Any]]]]


class MeasuredRow(TypedDict):
    """A line of a measurement, as one of measurements.jsonl."""

    measurement: str


@dataclass(frozen=True, kw_only=True)
class Packed:
    """The content of a record.jsonl."""

    experiment: Record
    trials: list[Record] = field(default_factory=list)
    rows: list[Record] = field(default_factory=list)


def is_packed(folder: Path) -> bool:
    """Whether the experiment in `folder` is in one file."""
    return (folder / PACKED).is_file()


def read(folder: Path, of_experiment: Kind) -> Packed:
    """The record.jsonl in `folder`.

    Args:
        of_experiment: the type of the experiment.

    Raises:
        CheckpointError: it is damaged, too large, a link, or of another type; names the line.
    """
    return readable(folder / PACKED, lambda path: _packed(path, of_experiment))


def _packed(path: Path, of_experiment: Kind) -> Packed:
    require_own(path, path.parent)
    kinds = {"experiment": Named[of_experiment], "trial": Trial, "measurement": MeasuredRow}
    by_kind: dict[str, list[Record]] = {kind: [] for kind in kinds}
    for number, line in enumerate(read_objects(path, dict[str, Any], limit=BYTES), start=1):
        kind = next((kind for kind in kinds if kind in line), None)
        if kind is None:
            raise ValueError(f"line {number}: must have one of {', '.join(kinds)}")
        if (kind == "experiment") != (number == 1):
            raise ValueError(f"line {number}: the experiment must be on the first line, once")
        wrong = fault(line, kinds[kind])
        for stage in line["stages"] if kind == "trial" and not wrong else []:
            wrong = wrong or fault(stage["metrics"], Many[Named[Number]])
        if wrong:
            raise ValueError(f"line {number}: {wrong}")
        by_kind[kind].append(line)
    if not by_kind["experiment"]:
        raise ValueError("holds no experiment")
    experiment: Record = by_kind["experiment"][0]["experiment"]
    return Packed(experiment=experiment, trials=by_kind["trial"], rows=by_kind["measurement"])


def write(folder: Path, packed: Packed) -> None:
    """Write the record.jsonl in `folder`."""
    lines: Iterable[Record] = ({"experiment": packed.experiment}, *packed.trials, *packed.rows)
    text = "".join(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n" for line in lines)
    write_atomic(folder / PACKED, text.encode())


def last_run(trial: Record, folder: Path) -> RunRecord:
    """The run that is compared of a trial: its last stage, whose settings name those of the stages before it."""
    *before, last = trial["stages"]
    run = run_of(last, folder / trial["trial"])
    if before:
        first: dict[str, Any] = {}
        for stage in before:
            earlier = {f"{FIRST_STAGE}{key}": value for key, value in first.items()}
            first = {**own_settings(flat(stage["settings"]), stage["environment"]), **earlier}
            first.pop(STARTS_FROM, None)
        run.settings.update({f"{FIRST_STAGE}{key}": value for key, value in first.items()})
    return run
