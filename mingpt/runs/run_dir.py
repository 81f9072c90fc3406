"""Run folders: which one a run gets, which one is meant, and what may change when it resumes.

out/chargpt/
    config.yaml        every setting; `--config` takes it back
    environment.json   versions, device, threads, commit, sha256 of text and vocabulary
    metrics.jsonl      one object per step, the record of truth
    samples.jsonl      text drawn at fixed prompts and seeds
    baselines.json     n-gram losses of this text
    timing.jsonl       one object per process that trained it: seconds by what they went to
    loss.png           the curve against them
    checkpoints/       step_000600/ ...
    wandb/             W&B's copy of metrics.jsonl
"""

import contextlib
import dataclasses
import itertools
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mingpt.core.atomic_io import LOCK, MARKER, locked, remove_drafts, write_atomic
from mingpt.core.errors import CheckpointError, UsageError, require
from mingpt.core.paths import absolute, shown
from mingpt.core.run_files.reading import Record, read_json
from mingpt.core.run_files.records import HOME, OWN_FILES, Environment, check_run, is_run, newest_first, newest_run
from mingpt.core.torchrun_env import DistConfig
from mingpt.runs import checkpoint, text_origin
from mingpt.runs import config as settings
from mingpt.runs.checkpoint import Checkpoint
from mingpt.runs.config import Config

logger = logging.getLogger(__name__)

DEFAULT_NAME = "chargpt"


@contextlib.contextmanager
def opened(config: Config, launch: str | None = None) -> Iterator[tuple[Path, Checkpoint | None]]:
    """Yield the folder of the run that `config` describes, locked, and the checkpoint that it resumes from, or None.

    A folder made here for a run that then can't begin is removed again.

    Args:
        launch: id of the launch that started this process and may restart it; a run that it began is then resumed.

    Raises:
        UsageError: the folder holds another run, or settings changed that may not.
        CheckpointError: there is no run to resume, or another process trains in it.
    """
    resuming = config.trainer.resume
    require("\0" not in (config.system.work_dir or ""), "system.work_dir", repr(config.system.work_dir), "holds a NUL")
    begun_before = _begun_by(launch, config.system.work_dir)
    if begun_before:
        logger.info(f"{shown(begun_before)}: this launch began it before, and resumes it")
        folder, resuming = begun_before, True
    else:
        folder = Path(config.system.work_dir or newest_run()) if resuming else _free(config.system.work_dir)
    folder = Path(absolute(folder))
    if resuming:
        _reject_changes(config, folder)
    _require_own(folder)
    with _made(folder), locked(folder):
        if not resuming:
            yield folder, None
            return
        remove_drafts(folder, OWN_FILES)
        begun = bool(checkpoint.steps(folder))
        if not begun:
            logger.info(f"{shown(folder)}: no checkpoint yet, so it begins at the beginning")
        yield folder, checkpoint.newest(folder) if begun else None


def _require_own(folder: Path) -> None:
    """Check that no file to append to is a link; folders may be, as `checkpoints` to a scratch disk.

    Raises:
        CheckpointError: one is.
    """
    for name in (*OWN_FILES, LOCK, MARKER):
        if (folder / name).is_symlink():
            raise CheckpointError(f"{shown(folder / name)}: a link; only folders in a run folder may be links")


def as_json(place: tuple[Path, Checkpoint | None]) -> list[str | None]:
    """What `from_json` needs to know of what `opened` gave."""
    folder, saved = place
    return [str(folder), str(saved.folder) if saved else None]


def from_json(place: list[str]) -> tuple[Path, Checkpoint | None]:
    """The same folder and checkpoint, read by a process that doesn't hold it.

    Raises:
        CheckpointError: it is not to be seen from here.
    """
    folder, saved = place
    return Path(folder), checkpoint.read(Path(saved)) if saved else None


def _begun_by(launch: str | None, wanted: str | None) -> Path | None:
    """The newest run that this launch has begun, in the wanted folder or in any."""
    if launch is None:
        return None
    with contextlib.suppress(CheckpointError):  # there is no run at all
        runs = [Path(wanted)] if wanted else newest_first()
        return next((run for run in runs if is_run(run) and _launch_of(run) == launch), None)
    return None


def _launch_of(folder: Path) -> object:
    with contextlib.suppress(CheckpointError):  # a damaged one names none
        return read_json(folder / "environment.json").get("launch")
    return None


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if made and not (folder / "config.yaml").exists():
            (folder / LOCK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # whatever else lies there by now is not ours to remove
                for each in made:
                    each.rmdir()


def resume_settings(argv: Sequence[str], config: Config) -> Config:
    """Return the settings of the run that `config`, parsed from `argv`, resumes, with those of `argv` on top."""
    folder = absolute(config.system.work_dir or newest_run())
    read_config(Path(folder))
    words = [f"--config={folder}/config.yaml", *argv, f"--system.work_dir={folder}"]
    found = settings.parse(words, same_text=False)  # the run itself looks at it
    if not text_origin.is_there(found.data.path):
        raise text_origin.text_is_gone(Path(folder), found.data.path)
    return found


def read_config(folder: Path) -> Config:
    """The settings of the run in `folder`.

    Raises:
        CheckpointError: no run there.
    """
    check_run(folder)
    return settings.read(folder / "config.yaml")


def write_config(folder: Path, config: Config) -> None:
    """Save the settings such that `--config` trains the same again.

    The folder itself, `resume`, and what is shared among processes, of which there may be none then, are not of them.
    """
    system = dataclasses.replace(config.system, work_dir=None)
    trainer = dataclasses.replace(config.trainer, resume=False, resume_changed=False)
    again = dataclasses.replace(config, system=system, trainer=trainer, dist=DistConfig())
    write_atomic(folder / "config.yaml", again.to_yaml().encode())


def write_json(folder: Path, name: str, content: Any) -> None:
    """Save one of a run's JSON files."""
    write_atomic(folder / name, (json.dumps(content, indent=1) + "\n").encode())


def _reject_changes(config: Config, folder: Path) -> None:
    changes = settings.resolved(config).changes_from(settings.resolved(read_config(folder)))
    if changes and not config.trainer.resume_changed:
        listed = ", ".join(f"{key} was {there}, is {here}" for key, (there, here) in changes.items())
        accepted = "--trainer.resume_changed=True resumes with the new ones"
        raise UsageError(f"{shown(folder)}: settings changed since this run began: {listed}; {accepted}")


def _free(wanted: str | None) -> Path:
    if wanted is None:
        names = itertools.chain([DEFAULT_NAME], (f"{DEFAULT_NAME}-{n}" for n in itertools.count(2)))
        return next(HOME / name for name in names if not (HOME / name).exists())
    if (Path(wanted) / "config.yaml").exists():
        raise UsageError(
            f"system.work_dir={shown(wanted)}: already holds a run; resume it by --trainer.resume=True, or name "
            "a new folder"
        )
    return Path(wanted)


def environment(folder: Path) -> Record:
    """Return the environment.json of the run in `folder`.

    Raises:
        CheckpointError: it is missing, damaged, or names no text.
    """
    written = read_json(folder / "environment.json", Environment)
    if not {"text", "text_sha256"} <= written.keys():
        raise CheckpointError(f"{folder / 'environment.json'}: missing, or it names no text")
    return written


def stored_prompts(folder: Path) -> list[str]:
    """The prompts that environment.json names; [] where it names none.

    Raises:
        CheckpointError: as `environment`.
    """
    prompts: list[str] = environment(folder).get("prompts", [])
    return prompts


def require_same_text(folder: Path, source: str, sha256: str) -> None:
    """Reject resuming the run in `folder` on another text than it began with, wherever that lies.

    Raises:
        CheckpointError: names the text.
    """
    known = environment(folder)
    if "imported" not in known and known["text_sha256"] != sha256:
        raise CheckpointError(f"{shown(folder)}: {source} is no longer the text that it began with (sha256 differs)")
