"""The run folders below one root: their names, what is known of each, and whether it is still training.  No torch."""

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mingpt.cli.play.metrics import Metrics
from mingpt.core.atomic_io import holder
from mingpt.core.errors import CheckpointError, MingptError, UsageError, in_one_line, require
from mingpt.core.paths import absolute, shown
from mingpt.core.registry import did_you_mean
from mingpt.core.run_files.reading import Record, read_json
from mingpt.core.run_files.records import HOME, OWN_FILES, Environment, is_run, settings_of

MOST_RUNS = 500
MOST_CHOSEN = 2  # side by side
MOST_FOLDERS = 20_000  # that are searched for runs
DEEPEST = 6  # folders below the root: out/sweeps/1/cells/VARIANT/seed-1
OUTPUT = "output.log"  # what a training that was started from the page printed
RUNNING, STOPPED, FINISHED, FAILED = "running", "stopped", "finished", "failed"
OF_IDEAS = ("model.cell", "model.n_kv_head", "model.reading", "model.rope", "model.window")  # for static/ideas.js
TEXT = "data.path"  # is compared where runs have different texts
NOT_COMPARED = ("system.work_dir", "trainer.resume", "wandb.")  # beginnings of settings that change no result


class NoRunError(MingptError):
    """There is no such run below the root."""


@dataclass
class Catalogue:
    """The runs below `root`.

    Attributes:
        root: an absolute folder, links followed.
        chosen: names of the runs that were given on the command line.
    """

    root: Path
    chosen: list[str] = field(default_factory=list)
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)
    _metrics: dict[Path, Metrics] = field(default_factory=dict)
    _settings: dict[Path, tuple[int, dict[str, Any], Record]] = field(default_factory=dict)

    def folder(self, name: str) -> Path:
        """Return the folder of the run `name`, its path below the root.

        Raises:
            NoRunError: it leads out of the root, or there is no run.
        """
        folder = self.place(name)
        if not is_run(folder):
            raise NoRunError(f"{name}: no run here{did_you_mean(name, self.names())}")
        for own in OWN_FILES:
            if (folder / own).is_symlink():
                raise NoRunError(f"{name}/{own}: a link; a run has its own files alone")
        return folder

    def place(self, name: str) -> Path:
        """Return the folder that `name` names below the root, whether it is there or not.

        Raises:
            NoRunError: it leads out of the root.
        """
        path = Path(name)
        folder = self.root / path
        if "\0" in name or path.is_absolute() or ".." in path.parts or folder.resolve() != folder:
            raise NoRunError(f"{name!r}: must be the path of a run below {shown(self.root)}, without .. or links")
        return folder

    def names(self) -> list[str]:
        """Return the names of all runs, the one that was last started first; at most MOST_RUNS of them."""
        found = sorted(_runs(self.root), key=lambda run: -_started(run))
        return [run.relative_to(self.root).as_posix() or "." for run in found[:MOST_RUNS]]

    def newest(self) -> list[str]:
        """Return what a page shows first: the chosen runs, else the newest one that has a checkpoint."""
        if self.chosen:
            return self.chosen
        ready = (name for name in self.names() if (self.root / name / "checkpoints").is_dir())
        return [name for name in [next(ready, None)] if name]

    def list(self) -> list[dict[str, Any]]:
        """Return what a table of runs shows; settings are those that differ between runs which have them.

        Those in OF_IDEAS are there under `ideas` as well, whether they differ or not.
        """
        with self._one_at_a_time:
            entries = [self._entry_or_error(name) for name in self.names()]
        known = [entry["settings"] for entry in entries if entry["settings"]]
        one_text = len({entry["text_sha256"] for entry in entries if entry["settings"]}) == 1
        left_out = (*NOT_COMPARED, *([TEXT] if one_text else []))
        keys = dict.fromkeys(key for settings in known for key in settings if not key.startswith(left_out))
        differing = [key for key in keys if len({repr(each[key]) for each in known if key in each}) > 1]
        for entry in entries:
            entry["ideas"] = {key: entry["settings"][key] for key in OF_IDEAS if key in entry["settings"]}
            entry["settings"] = {key: entry["settings"][key] for key in differing if key in entry["settings"]}
        return entries

    def _entry_or_error(self, name: str) -> dict[str, Any]:
        try:
            return self._entry(name)
        except (MingptError, OSError, ValueError) as damaged:
            return {**_blank(name), "error": in_one_line(damaged)}

    def _entry(self, name: str) -> dict[str, Any]:
        folder = self.folder(name)
        settings, environment = self.facts(folder)
        metrics = self._metrics.setdefault(folder, Metrics(folder))
        metrics.update()
        return {
            "name": name,
            "family": settings.get("model.type", "gpt"),
            **self.progress(folder, metrics),
            "parameters": environment.get("model", {}).get("parameters"),
            "settings": settings,
            "text_sha256": environment.get("text_sha256"),
        }

    def facts(self, folder: Path) -> tuple[dict[str, Any], Record]:
        """Return a run's settings by key and its environment.

        Raises:
            CheckpointError: a damaged file.
        """
        changed = _started(folder)
        known = self._settings.get(folder)
        if known is None or known[0] != changed:
            known = changed, settings_of(folder), read_json(folder / "environment.json", Environment)
            self._settings[folder] = known
        return known[1], known[2]

    def progress(self, folder: Path, metrics: Metrics) -> dict[str, Any]:
        """Return how far a run is, and its status."""
        settings, environment = self.facts(folder)
        steps = 0 if "imported" in environment else int(settings.get("trainer.max_iters", 1))
        status = status_of(folder, metrics, steps)
        return {
            "status": status,
            **({"error": last_error(folder)} if status == FAILED else {}),
            "step": metrics.step,
            "max_iters": steps,
            "val_loss": metrics.val_loss,
            "pseudo": metrics.pseudo,
            "seconds": metrics.seconds,
        }


def status_of(folder: Path, metrics: Metrics, steps: int) -> str:
    """Return whether a run is at work, finished, stopped, or has ended with an error that its output names."""
    if holder(folder) is not None:
        return RUNNING
    if metrics.step >= steps or metrics.complete:
        return FINISHED
    return FAILED if last_error(folder) else STOPPED


def last_error(folder: Path) -> str | None:
    """Return the error that a training which was started from the page ended with; None without one."""
    path, metrics = folder / OUTPUT, folder / "metrics.jsonl"
    if path.is_symlink() or not path.is_file():
        return None
    if metrics.is_file() and metrics.stat().st_mtime > path.stat().st_mtime:
        return None  # it went on since, started elsewhere
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - 4096, 0))
        lines = file.read(4096).decode("utf-8", "replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines and lines[-1].startswith("error: ") else None


def _blank(name: str) -> dict[str, Any]:
    nothing = dict.fromkeys(("val_loss", "pseudo", "parameters", "text_sha256"))
    return {"name": name, "family": "", "status": FAILED, "step": 0, "max_iters": 0, "seconds": 0.0, "settings": {}} | (
        nothing
    )


def _runs(root: Path) -> Iterator[Path]:
    """The run folders in `root`; folders in a run, and links, are not followed."""
    for number, (place, folders, files) in enumerate(os.walk(root)):
        if number >= MOST_FOLDERS:
            return
        here = Path(place)
        if "config.yaml" in files:
            folders.clear()
            yield here
        elif len(here.relative_to(root).parts) >= DEEPEST:
            folders.clear()
        folders[:] = sorted(each for each in folders if not each.startswith("."))


def _started(folder: Path) -> int:
    try:
        return (folder / "config.yaml").stat().st_mtime_ns
    except OSError:  # removed since
        return 0


def opened(root: str | None, runs: Sequence[str]) -> Catalogue:
    """Return the catalogue that `chargpt play RUN RUN2 --root=ROOT` asks for.

    Args:
        root: None: out/, or where the runs are if that is elsewhere.
        runs: folders of runs, at most 2.

    Raises:
        UsageError: too many runs, there is no such root, or a run lies outside it.
        CheckpointError: there is no run in a folder; names the nearest.
    """
    require(len(runs) <= MOST_CHOSEN, "runs", len(runs), f"must be at most {MOST_CHOSEN}, side by side")
    folders = [Path(absolute(run)).resolve() for run in runs]
    home = Path(absolute(root if root is not None else HOME)).resolve()
    if root is None and folders and not all(folder.is_relative_to(home) for folder in folders):
        home = Path(os.path.commonpath([folder.parent for folder in folders]))
    if root is not None and not home.is_dir():
        raise UsageError(f"root={root}: there is no such folder")
    found = Catalogue(home)
    for given, folder in zip(runs, folders, strict=True):
        if not is_run(folder):
            near = [*found.names(), *(shown(home / name) for name in found.names())]
            raise CheckpointError(f"{given}: no run here (it has no config.yaml){did_you_mean(given, near)}")
        if not folder.is_relative_to(home):
            raise UsageError(f"{given}: not below --root={shown(home)}; name a folder that holds all runs")
    found.chosen = [folder.relative_to(home).as_posix() for folder in folders]
    return found
