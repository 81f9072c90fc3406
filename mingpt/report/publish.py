"""What of a finished experiment is kept for everyone: its record, small, and without a word of the machine's folders.

    out/experiments/NAME  ->  results/NAME
    record.json  measurements.jsonl    as they are
    cells/ARM/seed-S/[stage-N/]
        config.yaml  environment.json  baselines.json
        metrics.jsonl    some hundred lines: where held-out text was judged, and the smoothed training loss between
        samples.jsonl    what was written last

Never weights, logs, claims or texts.  All that a page draws is there, so the page of the copy is the page of the
original.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from mingpt.core.atomic_io import write_atomic
from mingpt.core.errors import UsageError
from mingpt.core.run_files.reading import Record, read_groups
from mingpt.core.run_files.records import STARTS_FROM, is_run, read_run
from mingpt.report.experiment_files import (
    MEASURED,
    PAGE,
    RECORD,
    cells_of,
    inside,
    last_stage,
    read_record,
    read_rows,
)

DIGITS = 6  # of a number
PART, START = r"[^\s'\"=,:;/\\]+", r"(?:~|[A-Za-z]:(?=\\))?"
SPACED = r"[^'\"=,:;/\\]+"  # where it is plain that a path ends: at a quote, or with the text
ABSOLUTE = re.compile(rf"(?<![\w.:/~-]){START}(?:[/\\]{PART})+[/\\]({PART})")
WHOLE = re.compile(rf"((?:--[\w.]+=)?){START}(?:[/\\]{SPACED})+[/\\]({SPACED})")
QUOTED = re.compile(r"(['\"])(.*?)\1")


def unfinished(folder: Path) -> str | None:
    """Why the experiment in `folder` can't be published, in words; None where it can.

    A run has ended, too, where its numbers stopped being numbers: the record says so, and a page leaves it out.
    """
    if not (folder / RECORD).is_file():
        return f"no experiment here (it has no {RECORD})"
    record = read_record(folder)
    arms = record.get("arms", {})
    wanted = len(arms) * record.get("seeds", 0)
    cells = [cell for arm, each in cells_of(folder, record).items() if arm in arms for cell in each]
    runs = {inside(cell, folder): last_stage(cell) for cell in cells}
    ended = {cell for cell, run in runs.items() if is_run(run) and not read_run(run).trouble}
    ended |= record.get("hopeless", {}).keys()
    if len(ended) < wanted:
        return f"it is unfinished: {len(ended)} of {wanted} runs"
    taken = {row.get("measurement") for row in read_rows(folder)}
    taken |= {*record.get("measured", [])}  # those without rows, too
    missing = [name for name in record.get("measurements", []) if name not in taken]
    if missing:
        return f"it is unfinished: {', '.join(missing)} not measured"
    return None if (folder / PAGE).is_file() else "it is unfinished: nothing was concluded"


def publish(folder: Path, target: Path) -> None:
    """Copy the record of the experiment in `folder` to `target`, in the place of what was there.

    What was there goes when all of the new record is written.  Figures are not copied, since they are drawn again from
    what is.

    Raises:
        UsageError: it is not finished.
        CheckpointError: a damaged file.
    """
    why = unfinished(folder)
    if why:
        raise UsageError(f"{folder}: {why}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as draft:
        whole = Path(draft) / "new"
        _copy(folder, whole)
        if target.exists():
            target.rename(Path(draft) / "old")
        whole.rename(target)


def _copy(folder: Path, target: Path) -> None:
    target.mkdir()
    record = read_record(folder)
    _write_json(target / RECORD, portable(record))
    rows = read_rows(folder)
    if rows:
        _write_lines(target / MEASURED, [shorter(portable(row)) for row in rows])
    for cell in [cell for each in cells_of(folder, record).values() for cell in each]:
        for run in sorted(cell.glob("stage-*")) or [cell]:
            if is_run(run):
                publish_run(run, target / run.relative_to(folder))


def publish_run(run: Path, target: Path) -> None:
    """Copy what is kept of one run folder to `target`, which must not be there yet."""
    target.mkdir(parents=True)
    record = read_run(run)
    groups = read_groups(run)
    groups.pop("wandb", None)  # names of a person's own account
    group, _, name = STARTS_FROM.partition(".")
    start = groups.get(group, {}).get(name)
    if start:
        groups[group][name] = os.path.relpath(Path(start).resolve(), run.resolve()).replace(os.sep, "/")
    groups = {group: {key: portable(value) for key, value in values.items()} for group, values in groups.items()}
    settings = yaml.safe_dump(groups, sort_keys=False, allow_unicode=True)
    write_atomic(target / "config.yaml", settings.encode())
    _write_json(target / "environment.json", portable(record.environment))
    _write_json(target / "baselines.json", record.baselines)
    _write_lines(target / "metrics.jsonl", shorter(record.metrics))
    last = max((line.get("step", 0) for line in record.samples), default=0)
    kept = [line for line in record.samples if line.get("step") == last]
    _write_lines(target / "samples.jsonl", [{k: line[k] for k in ("step", "prompt", "text")} for line in kept])


def shorter(value: Any) -> Any:
    """Numbers to six significant digits, in lists and objects, too."""
    if isinstance(value, dict):
        return {key: shorter(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [shorter(each) for each in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def portable(value: Any) -> Any:
    """Absolute paths without their folders, which only this machine has: `--data=/home/me/a.txt` as `--data=a.txt`."""
    if isinstance(value, dict):
        return {key: portable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [portable(each) for each in value]
    if not isinstance(value, str) or "\n" in value:  # what a model wrote is no path
        return value
    here = f"{Path.cwd().as_posix()}/"
    value = value.replace(here, "") if len(here) > 2 else value
    if WHOLE.fullmatch(value):
        return WHOLE.sub(r"\1\2", value)
    value = QUOTED.sub(lambda said: f"{said[1]}{WHOLE.sub(_last, said[2])}{said[1]}", value)
    return ABSOLUTE.sub(r"\1", value)


def _last(found: re.Match[str]) -> str:
    """A path's last part, with the setting before it, where all of a quoted text is one."""
    return f"{found[1]}{found[2]}" if found[0] == found.string else found[0]


def _write_json(path: Path, content: Any) -> None:
    write_atomic(path, (json.dumps(content, indent=1) + "\n").encode())


def _write_lines(path: Path, records: Sequence[Record]) -> None:
    write_atomic(path, "".join(json.dumps(record) + "\n" for record in records).encode())
