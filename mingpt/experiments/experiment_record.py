"""record.json of an experiment that runs, written under the lock of its folder: several processes may work in one."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mingpt.core.atomic_io import locked, write_atomic
from mingpt.core.errors import CheckpointError, UsageError
from mingpt.experiments.base import Trial
from mingpt.experiments.executor import AGAIN_S
from mingpt.experiments.identity import versions
from mingpt.experiments.trials import changes
from mingpt.report.experiment_files import RECORD, inside, read_record

# Kept when an experiment goes on.
FOUND = ("chosen_learning_rates", "trials", "hopeless", "measured", "tables", "fresh")


def begin(
    folder: Path, definition: Mapping[str, Any], command: str, seeds: int | None, usual: int, elsewhere: str
) -> int:
    """Write the record, or check that the one that is there has the same definition; return the number of seeds.

    Args:
        seeds: trials per variant; None: as many as before, or `usual`.
        elsewhere: advice of the message if the folder holds another experiment.

    Raises:
        UsageError: another definition.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with waited_for(folder):
        before = read_record(folder)
        if before and (differing := changes(before, definition)):
            shown = "; ".join(differing[:4]) + ("; ..." if len(differing) > 4 else "")
            raise UsageError(f"{folder}: holds another experiment: {shown}; {elsewhere}")
        number: int = seeds or before.get("seeds") or usual
        found = {key: before[key] for key in FOUND if key in before}
        now = {"command": command, "seeds": number, "versions": versions(before.get("versions", []))}
        _write(folder, {**definition, **found, **now})
    return number


def update(folder: Path, **values: Any) -> None:
    """Set keys of the record."""
    with waited_for(folder):
        _write(folder, {**read_record(folder), **values})


def note_diverged(folder: Path, finished: Iterable[Trial], diverged: Mapping[Trial, str]) -> None:
    """Keep diverged trials and why in the record, so that the others can be published; without those that finished."""
    ended = {inside(trial.home, folder) for trial in finished if trial.home}
    with waited_for(folder):
        record = read_record(folder)
        kept = {home: why for home, why in record.pop("hopeless", {}).items() if home not in ended}
        kept |= {inside(trial.home, folder): why for trial, why in diverged.items() if trial.home}
        _write(folder, {**record, **({"hopeless": kept} if kept else {})})


def _write(folder: Path, record: Mapping[str, Any]) -> None:
    write_atomic(folder / RECORD, (json.dumps(record, indent=1) + "\n").encode())


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
