"""How a run shows itself in a Python session: a line, a small table in a notebook, its records as columns."""

import html
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mingpt.core.errors import CheckpointError
from mingpt.core.run_files.reading import each_line, evaluated_loss, last_line
from mingpt.models.base import LanguageModel


def columns(path: Path) -> dict[str, NDArray[Any]]:
    """Return the numbers of metrics.jsonl as equally long arrays by their names, in order of the steps.

    Whole numbers that every record has are int64; all else is float64, NaN where a record has none.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    found: dict[str, list[Any]] = {}
    rows = 0
    for record in each_line(path):
        for name, value in record.items():
            if isinstance(value, int | float):
                column = found.setdefault(name, [])
                column += [np.nan] * (rows - len(column)) + [value]
        rows += 1
    if not rows:
        raise CheckpointError(f"{path}: missing, or it holds no step")
    return {name: np.array(column + [np.nan] * (rows - len(column))) for name, column in found.items()}


def as_table(found: Mapping[str, NDArray[Any]]) -> Any:
    """Return columns as a pandas DataFrame, one row a step; without pandas as they are."""
    try:
        import pandas
    except ModuleNotFoundError:
        return dict(found)
    return pandas.DataFrame(dict(found))


def facts(folder: Path, model: LanguageModel, step: int, max_iters: int) -> dict[str, str]:
    """Return what a run is, in a few words each."""
    record: dict[str, Any] = {}
    with suppress(CheckpointError):  # an imported one has no metrics.jsonl; a damaged one is still shown
        record = last_line(folder / "metrics.jsonl") or {}
    loss, pseudo = evaluated_loss(record), evaluated_loss(record, "pseudo_nats")
    losses = {"validation loss": (loss, "nats"), "pseudo-likelihood": (pseudo, "pseudo-nats")}
    return {
        "model": f"{type(model).__name__}, {model.parameter_count:,} parameters",
        "training": f"{step:,} of {max_iters:,} steps" if record else "none here: imported",
        **{name: f"{value:.3f} {unit} per token" for name, (value, unit) in losses.items() if value is not None},
    }


def line(folder: Path, shown: Mapping[str, str]) -> str:
    """Return a run's `repr`: short, in one line."""
    words = ", ".join(f"{name} {value}" if "loss" in name else value for name, value in shown.items())
    return f"<Run {str(folder)!r}: {words}>"


def table(folder: Path, shown: Mapping[str, str], settings: Mapping[str, Any]) -> str:
    """Return a run as HTML: what it is, and the settings that are not the defaults."""
    listed = "<br>".join(html.escape(f"{key}: {value}") for key, value in settings.items())
    rows = {**{name: html.escape(value) for name, value in shown.items()}, "settings": listed or "the defaults"}
    left = 'style="text-align: left; vertical-align: top"'
    cells = "".join(f"<tr><th {left}>{name}</th><td {left}>{value}</td></tr>" for name, value in rows.items())
    return f"<table><caption>{html.escape(str(folder))}</caption>{cells}</table>"
