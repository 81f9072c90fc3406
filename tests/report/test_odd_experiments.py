"""An experiment's folder that somebody else made: no number in it costs memory, and nothing is shown through a link."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mingpt.core.errors import CheckpointError
from mingpt.core.run_files.records import OWN_FILES
from mingpt.report import page
from mingpt.report.experiment_files import cells_of, last_stage, read_record
from mingpt.report.publish import publish, unfinished

Damage = Callable[[Path], Any]


def test_number_of_seeds_costs_memory(experiment_folder: Path) -> None:
    record = {**read_record(experiment_folder), "seeds": 10**18}
    assert {arm: len(cells) for arm, cells in cells_of(experiment_folder, record).items()} == {"rope": 3, "learned": 3}
    assert [len(cells) for cells in cells_of(experiment_folder, {**record, "seeds": 2}).values()] == [2, 2]


def test_folder_of_no_number_ends_the_choice_of_the_last_stage(experiment_folder: Path) -> None:
    cell = experiment_folder / "cells" / "rope" / "seed-1"
    for name in ("stage-x", "stage-03", "stage-"):
        (cell / name).mkdir()
    assert last_stage(cell).name == "stage-2"


PICTURES: dict[str, tuple[Damage, str]] = {
    "large": (lambda path: path.write_bytes(b"<svg>" + bytes(8 << 20)), "at most 8,388,608 are read"),
    "no picture": (lambda path: path.write_bytes(b"\x7fELF"), "no SVG"),
    "link": (lambda path: path.symlink_to(path.parents[1] / "record.json"), "a link, .* its own files alone"),
    "endless": (lambda path: os.mkfifo(path), "no ordinary file"),
}


@pytest.mark.parametrize("odd", PICTURES)
def test_odd_picture_is_put_into_a_page(experiment_folder: Path, odd: str) -> None:
    (experiment_folder / "figures").mkdir()
    damage, said = PICTURES[odd]
    damage(experiment_folder / "figures" / "far.svg")
    with pytest.raises(CheckpointError, match=f"far.svg: can't be read: .*{said}"):
        page.write([experiment_folder], experiment_folder / "page.html")


def test_picture_behind_a_linked_folder_is_put_into_a_page(experiment_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "far.svg").write_text("<svg/>")
    (experiment_folder / "figures").symlink_to(tmp_path / "private")
    with pytest.raises(CheckpointError, match=r"far.svg: can't be read: .*in a folder that is one"):
        page.write([experiment_folder], experiment_folder / "page.html")
    (experiment_folder / "figures").unlink()
    shutil.copytree(tmp_path / "private", experiment_folder / "figures")
    (tmp_path / "here").symlink_to(experiment_folder)  # a way to the experiment is its owner's own
    assert page.write([tmp_path / "here"], tmp_path / "page.html").is_file()


LINKED = (
    "record.json",
    "measurements.jsonl",
    "cells",
    "cells/rope",
    "cells/rope/seed-2",
    "cells/rope/seed-2/stage-2",
    "cells/rope/seed-2/stage-1",
)


@pytest.mark.parametrize("linked", [*LINKED, *(f"cells/learned/seed-1/stage-2/{name}" for name in OWN_FILES)])
def test_runs_behind_a_link_are_shown_or_published(experiment_folder: Path, tmp_path: Path, linked: str) -> None:
    place, said = experiment_folder / linked, rf"{linked}[\w./-]*: can't be read: a link, or in a folder that is one"
    place.rename(tmp_path / "private")
    place.symlink_to(tmp_path / "private")
    for work in (
        lambda: page.write([experiment_folder], tmp_path / "page.html"),
        lambda: publish(experiment_folder, tmp_path / "kept"),
        lambda: unfinished(experiment_folder),
    ):
        with pytest.raises(CheckpointError, match=said):
            work()
    assert not (tmp_path / "page.html").exists()
    assert not (tmp_path / "kept").exists()


def test_way_to_an_experiment_is_refused_for_a_link(experiment_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(experiment_folder)
    assert unfinished(tmp_path / "here") is None
