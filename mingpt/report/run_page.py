"""What the page of a single run shows in addition: its settings, and the samples along the way."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mingpt.core.run_files.records import read_run
from mingpt.report.formatting import setting
from mingpt.report.table import Table

PLACES = ("system.work_dir",)  # say where a run lies, not what it is


@dataclass(frozen=True, kw_only=True)
class OneRun:
    """A run by itself.

    Attributes:
        settings: all of them, `{"system.seed": 3407, ...}`.
        changed: setting -> its value and the default, where these differ; None where no defaults are known.
        samples: (step, prompts with texts), the newest first.
    """

    settings: dict[str, Any]
    changed: dict[str, tuple[Any, Any]] | None
    samples: list[tuple[int, list[dict[str, str]]]]

    @property
    def tables(self) -> list[Table]:
        """Its settings, first those that differ from the defaults."""
        full = key_values(self.settings, f"All settings, {len(self.settings)}")
        if self.changed is None:
            return [full]
        rows = [[key, setting(value), setting(default)] for key, (value, default) in self.changed.items()]
        title = "Settings that differ from the defaults"
        return [Table(heads=["setting", "value", "default"], rows=rows, names=3, title=title), full]


def key_values(values: Mapping[str, Any], title: str) -> Table:
    """A row for each key."""
    rows = [[key, setting(value)] for key, value in values.items()]
    return Table(heads=["name", "value"], rows=rows, names=2, title=title)


def one_run(folder: Path, defaults: Mapping[str, Any] | None = None) -> OneRun:
    """Read the run in `folder`.

    Args:
        defaults: default of every setting; None: not known.

    Raises:
        UsageError: no run there.
        CheckpointError: a damaged file.
    """
    run = read_run(folder)
    by_step: dict[int, list[dict[str, str]]] = {}
    for line in run.samples:
        by_step.setdefault(line["step"], []).append({"prompt": line["prompt"], "text": line["text"]})
    return OneRun(
        settings=run.settings,
        changed=None if defaults is None else _changed(run.settings, defaults),
        samples=sorted(by_step.items(), reverse=True),
    )


def _changed(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Those of which YAML would keep another value; one that has no default by now, too."""
    return {
        key: (value, defaults.get(key))
        for key, value in settings.items()
        if key not in PLACES and json.dumps(value, default=str) != json.dumps(defaults.get(key), default=str)
    }
