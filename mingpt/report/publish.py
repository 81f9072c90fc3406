"""Publishing: of a finished experiment, one file of numbers that is small and names no folder of a machine.

    out/experiments/NAME  ->  results/NAME/record.jsonl        see `record_file`

Never weights, logs, locks or texts.  All that a page shows is there: the page of the copy is that of the original.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mingpt.core.errors import UsageError
from mingpt.core.run_files.reading import Record, read_groups, read_json
from mingpt.core.run_files.records import STARTS_FROM, is_run, read_run
from mingpt.report.experiment_files import (
    PAGE,
    RECORD,
    inside,
    last_stage,
    read_packed,
    read_record,
    read_rows,
    trial_folders,
)
from mingpt.report.record_file import Packed, is_packed, write

HAND_WRITTEN = ("answer", "hypothesis_outcome")  # keys of a published experiment's record
Texts = Mapping[str, str | None]  # by these keys
DIGITS = 6  # of a number
TRIAL = "trial.json"  # in a trial's folder: its record, where one is kept
LINES = 60  # of a run's training loss
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
    variants = record.get("arms", {})
    seeds = record.get("seeds", 0)
    wanted = len(variants) * seeds
    trials = [trial for variant, each in trial_folders(folder, record).items() if variant in variants for trial in each]
    runs = {inside(trial, folder): last_stage(trial) for trial in trials}
    ended = {trial for trial, run in runs.items() if is_run(run) and not read_run(run).trouble}
    ended |= record.get("hopeless", {}).keys()
    if len(ended) < wanted:
        return f"it is unfinished: {len(ended)} of {wanted} runs"
    if variants and seeds < 2:
        return "it has one seed, so that no difference has an interval"
    taken = {row.get("measurement") for row in read_rows(folder)}
    taken |= {*record.get("measured", [])}  # those without rows, too
    missing = [name for name in record.get("measurements", []) if name not in taken]
    if missing:
        return f"it is unfinished: {', '.join(missing)} not measured"
    return None if (folder / PAGE).is_file() else "it is unfinished: it has no page"


def publish(folder: Path, target: Path, texts: Texts = MappingProxyType({})) -> list[str]:
    """Write the record of the experiment in `folder` to `target`, in the place of what was there.

    Figures are not copied, since they are drawn again from the record.  Returned are the names of the
    hand-written texts that were kept although the numbers changed.

    Args:
        texts: those in HAND_WRITTEN; None, or absent: as in the record that was there.

    Raises:
        UsageError: it is not finished.
        CheckpointError: a damaged file; what was there stays.
    """
    why = unfinished(folder)
    if why:
        raise UsageError(f"{folder}: {why}")
    made = packed(folder)
    new = {name: text for name, text in texts.items() if text is not None}
    wanted = {*HAND_WRITTEN} - new.keys()
    before = read_packed(target) if wanted and is_packed(target) else Packed(experiment={})
    kept = {name: before.experiment[name] for name in HAND_WRITTEN if name in wanted & before.experiment.keys()}
    made.experiment.update({**kept, **new})
    target.mkdir(parents=True, exist_ok=True)
    for figure in (target / "figures").glob("*.svg"):
        figure.unlink()
    write(target, made)
    now = read_packed(target)
    return [*kept] if (before.trials, before.rows) != (now.trials, now.rows) else []


def rewrite(target: Path, texts: Texts) -> None:
    """Change hand-written texts of a published experiment, and nothing else.

    Raises:
        UsageError: nothing is published there.
        CheckpointError: a damaged file; it stays.
    """
    if not is_packed(target):
        raise UsageError(f"{target}: nothing is published here, so there is no text to change")
    there = read_packed(target)
    there.experiment.update({name: text for name, text in texts.items() if text is not None})
    write(target, there)


def packed(folder: Path) -> Packed:
    """What is published of the experiment in `folder`."""
    record = read_record(folder)
    ids = record.pop("trials", {})
    trials = [
        trial_of(trial, variant, folder, ids.get(inside(trial, folder)))
        for variant, trials in trial_folders(folder, record).items()
        for trial in trials
        if inside(trial, folder) not in record.get("hopeless", {})
    ]
    rows = [shorter(portable(row)) for row in read_rows(folder)]
    return Packed(experiment=shorter(portable(record)), trials=trials, rows=rows)


def trial_of(trial: Path, variant: str, folder: Path, id_: str | None) -> Record:
    """The published record of the trial in the folder `trial`."""
    kept: Record = read_json(trial / TRIAL)
    stages = kept.get("stages") or [stage_of(run) for run in sorted(trial.glob("stage-*")) or [trial] if is_run(run)]
    name = {"trial": inside(trial, folder), "variant": variant, "seed": read_run(last_stage(trial)).seed}
    return {**name, **({"id": id_} if id_ else {}), "stages": stages, "measurements": kept.get("measurements", {})}


def stage_of(run: Path) -> Record:
    """What is published of one run folder."""
    record, groups = read_run(run), read_groups(run)
    groups.pop("wandb", None)  # names of a person's own account
    group, _, name = STARTS_FROM.partition(".")
    start = groups.get(group, {}).get(name)
    if start:
        groups[group][name] = os.path.relpath(Path(start).resolve(), run.resolve()).replace(os.sep, "/")
    last = max((line["step"] for line in record.samples), default=0)
    own = [{key: line[key] for key in ("step", "prompt", "text")} for line in record.samples if line["step"] == last]
    return {
        "settings": {name: {key: portable(value) for key, value in each.items()} for name, each in groups.items()},
        "environment": portable(record.environment),
        "baselines": record.baselines,
        "metrics": _fewer(shorter(record.metrics)),
        "samples": own,
    }


def _fewer(lines: list[Record]) -> list[Record]:
    """All lines with an evaluation, the last, and of the others evenly spaced ones."""
    apart = -(-len(lines) // LINES) or 1
    return [
        line
        for place, line in enumerate(lines)
        if place % apart == 0 or line is lines[-1] or any(key.startswith(("val_loss", "pseudo_nats")) for key in line)
    ]


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
    value = QUOTED.sub(lambda path: f"{path[1]}{WHOLE.sub(_last, path[2])}{path[1]}", value)
    return ABSOLUTE.sub(r"\1", value)


def _last(found: re.Match[str]) -> str:
    """A path's last part, with the setting before it, where all of a quoted text is one."""
    return f"{found[1]}{found[2]}" if found[0] == found.string else found[0]
