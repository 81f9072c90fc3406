"""Rows of measurements: those that somebody else wrote are told with their file, and our own mistakes as ours."""

import json
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import TypedDict

from mingpt.core.errors import CheckpointError
from mingpt.core.safe_parsing import Number
from mingpt.experiments import commands, drawings, runner
from mingpt.experiments.base import FORMS, Lab, Measurement
from mingpt.experiments.catalogue import EXPERIMENTS
from mingpt.experiments.drawings import measured, tables
from mingpt.report.experiment_files import is_experiment
from mingpt.report.palette import Palette

RESULTS = Path(__file__).parents[2] / "results"


def noted(folder: Path, **row: Any) -> None:
    (folder / "measurements.jsonl").write_text(json.dumps({"measurement": "far", **row}) + "\n")


class LossFields(TypedDict):
    arm: str
    loss: Number


class VariantFields(TypedDict):
    arm: str


def asked(table: Any, draw: Any = None) -> list[Measurement]:
    return [Measurement("far", lambda lab: [], draw, table, row=LossFields)]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"arm": 3, "loss": 1.0}, "arm must be a valid string, is 3"),
        ({"arm": "a"}, "loss is missing"),
        ({"arm": "a", "loss": None}, "loss must be a valid integer or a valid number, is null"),
    ],
)
def test_row_of_another_kind_is_one_line_with_its_file(tmp_path: Path, row: Any, said: str) -> None:
    noted(tmp_path, **row)
    far = asked(lambda rows: [{"arm": rows[0]["arm"].upper()}], lambda rows, figure, look: None)
    told = rf"measurements.jsonl: rows of far are not what it measures: {said}$"
    with pytest.raises(CheckpointError, match=told):
        tables(far, tmp_path)
    with pytest.raises(CheckpointError, match=told):
        drawings.draw(far[0], tmp_path, Palette())


def test_mistake_of_ours_is_no_damaged_file(tmp_path: Path) -> None:
    noted(tmp_path, arm="a", loss=1.0)
    with pytest.raises(KeyError, match="seed"):
        tables(asked(lambda rows: [rows[0]["seed"]]), tmp_path)
    with pytest.raises(ZeroDivisionError):
        drawings.draw(asked(list, lambda rows, figure, look: rows[0]["loss"] / 0)[0], tmp_path, Palette())


def test_rows_that_would_not_be_read_are_not_written(tmp_path: Path) -> None:
    wrong = Measurement("far", lambda lab: [{"arm": None}], row=VariantFields)
    with pytest.raises(AssertionError, match="far: arm must be a valid string, is null"):
        runner._measure([wrong], Lab(tmp_path, (), "quick"))
    assert not (tmp_path / "measurements.jsonl").exists()


@pytest.mark.full
def test_measurements_take_what_was_published_and_no_other_row() -> None:
    known = {each.name: each for name in EXPERIMENTS for each in EXPERIMENTS[name].measurements}
    assert all(each.row for each in known.values())
    published = [(folder, each) for folder in RESULTS.iterdir() if folder.is_dir() for each in known.values()]
    assert sum(len(measured(folder, each.name, each.row)) for folder, each in published) > 1000


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_picture_of_a_measurement_has_a_caption(name: str) -> None:
    for measurement in EXPERIMENTS[name].measurements:
        assert bool(measurement.draw) is measurement.caption.endswith("."), measurement.name


def test_figures_of_an_experiment_give_each_name_one_look(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps({"name": "x", "arms": {"b": [], "a": []}}))
    named = [("far", {"arm": "a"}), ("near", {"way": "c"}), ("near", {"way": "b"})]
    rows = [{"measurement": name, **row} for name, row in named]
    (tmp_path / "measurements.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def drawn(rows: Any, figure: Any, look: Palette) -> None:
        figure.subplots()

    far = Measurement("far", lambda lab: [], drawn)
    near = Measurement("near", lambda lab: [], drawn, variant=lambda row: str(row["way"]))
    assert drawings.palette([far, near], tmp_path).places == {"b": 0, "a": 1, "c": 2}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_published_measurement_has_a_table_of_fixed_columns(name: str) -> None:
    found = [commands.folder_of(EXPERIMENTS[name], form).name for form in FORMS]
    published = [RESULTS / each for each in found if is_experiment(RESULTS / each)]
    assert published
    made = [table for each in published for table in tables(EXPERIMENTS[name].measurements, each)["tables"].items()]
    for title, rows in made:
        assert 0 < len(rows) <= 20, title
        assert len({tuple(row) for row in rows}) == 1 or title == "loss-by-step", title
        cells = [value for row in rows for value in row.values()]
        intervals = [value for value in cells if isinstance(value, dict)]
        assert all({*value} == {"mean", "low", "high"} for value in intervals), title
        plain = [part for value in cells for part in (value.values() if isinstance(value, dict) else [value])]
        assert all(isinstance(part, str | int | float | None) for part in plain), title
