"""Rows, tables and figures of the measurements in an experiment's folder."""

from collections.abc import Sequence
from pathlib import Path

from mingpt.core.errors import CheckpointError
from mingpt.core.run_files.reading import Record
from mingpt.core.safe_parsing import Kind, fault
from mingpt.experiments.base import Measurement, Row
from mingpt.report import figures
from mingpt.report.drawing import Drawing
from mingpt.report.experiment_files import (
    MEASURED,
    MeasuredRow,
    baselines_of,
    read_record,
    read_rows,
    smallness,
    smallness_of,
)
from mingpt.report.palette import Palette

FIGURES = "figures"


def measured(folder: Path, name: str, row: Kind = MeasuredRow) -> list[Row]:
    """The rows of one measurement.

    Args:
        row: the type of each.

    Raises:
        CheckpointError: a row of another type.
    """
    rows = [each for each in read_rows(folder) if each["measurement"] == name]
    for each in rows:
        if wrong := fault(each, row):
            raise CheckpointError(f"{folder / MEASURED}: rows of {name} are not what it measures: {wrong}")
    return rows


def tables(measurements: Sequence[Measurement], folder: Path) -> Record:
    """What a record holds of its measurements: which were taken, and the table of each that has rows."""
    found = {each.name: (each, measured(folder, each.name, each.row)) for each in measurements}
    made = {name: each.table(rows) for name, (each, rows) in found.items() if rows}
    return {"measured": [*found], "tables": made}


def palette(measurements: Sequence[Measurement], folder: Path) -> Palette:
    """The looks of all that an experiment's figures name: its variants, then what else is measured."""
    rows = [(each, measured(folder, each.name, each.row)) for each in measurements if each.draw]
    named = [each.variant(row) for each, found in rows for row in found]
    return Palette([*read_record(folder).get("arms", {}), *(name for name in named if name is not None)])


def draw(measurement: Measurement, folder: Path, look: Palette) -> None:
    """Write figures/NAME.svg of a measurement that has rows and a picture."""
    drawn = drawing(measurement, folder, look)
    if drawn:
        (folder / FIGURES).mkdir(exist_ok=True)
        drawn.save(folder / FIGURES / f"{measurement.name}.svg")


def drawing(measurement: Measurement, folder: Path, look: Palette) -> Drawing | None:
    """Draw a measurement from the folder's files alone: rows, record, n-gram baselines; None without rows."""
    rows = measured(folder, measurement.name, measurement.row)
    if measurement.draw is None or not rows:
        return None
    lines = baselines_of(folder) if measurement.with_baselines else {}
    record = read_record(folder)
    small = smallness(record) if measurement.of_runs else smallness_of(measurement.smaller, record)
    return figures.measured(measurement.draw, rows, palette=look, lines=lines, small=small, caption=measurement.caption)
