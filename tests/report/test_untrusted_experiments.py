"""An experiment's folder that somebody else made: no number in it costs memory, and nothing is shown through a link."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mingpt.core.errors import CheckpointError
from mingpt.core.run_files.records import OWN_FILES
from mingpt.report import page
from mingpt.report.experiment_files import last_stage, read_record, trial_folders
from mingpt.report.publish import publish, unfinished

Damage = Callable[[Path], Any]


def test_number_of_seeds_costs_no_memory(experiment_folder: Path) -> None:
    record = {**read_record(experiment_folder), "seeds": 10**18}
    found = trial_folders(experiment_folder, record)
    assert {name: len(trials) for name, trials in found.items()} == {"rope": 3, "learned": 3}
    assert [len(trials) for trials in trial_folders(experiment_folder, {**record, "seeds": 2}).values()] == [2, 2]


def test_folder_of_no_number_is_no_stage(experiment_folder: Path) -> None:
    trial = experiment_folder / "cells" / "rope" / "seed-1"
    for name in ("stage-x", "stage-03", "stage-"):
        (trial / name).mkdir()
    assert last_stage(trial).name == "stage-2"


PICTURES: dict[str, tuple[Damage, str]] = {
    "large": (lambda path: path.write_bytes(b"<svg>" + bytes(8 << 20)), "at most 8,388,608 are read"),
    "no picture": (lambda path: path.write_bytes(b"\x7fELF"), "no SVG"),
    "link": (lambda path: path.symlink_to(path.parents[1] / "record.json"), "a link, .* its own files alone"),
    "endless": (lambda path: os.mkfifo(path), "no ordinary file"),
}


@pytest.mark.parametrize("odd", PICTURES)
def test_odd_picture_is_not_put_into_a_page(experiment_folder: Path, odd: str) -> None:
    (experiment_folder / "figures").mkdir()
    damage, said = PICTURES[odd]
    damage(experiment_folder / "figures" / "far.svg")
    with pytest.raises(CheckpointError, match=f"far.svg: can't be read: .*{said}"):
        page.write([experiment_folder], experiment_folder / "page.html")


def test_picture_behind_a_linked_folder_is_not_put_into_a_page(experiment_folder: Path, tmp_path: Path) -> None:
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
@pytest.mark.thin(4)
def test_runs_behind_a_link_are_neither_shown_nor_published(
    experiment_folder: Path, tmp_path: Path, linked: str
) -> None:
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


def test_way_to_an_experiment_may_be_a_link(experiment_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(experiment_folder)
    assert unfinished(tmp_path / "here") is None


def published(experiment_folder: Path, tmp_path: Path) -> Path:
    publish(experiment_folder, tmp_path / "kept")
    return tmp_path / "kept"


PACKED: dict[str, tuple[Callable[[list[Any]], Any], str]] = {
    "no experiment": (lambda lines: lines.pop(0), "line 1: the experiment must be on the first line, once"),
    "two experiments": (lambda lines: lines.append(lines[0]), "line 9: the experiment must be on the first line, once"),
    "no kind": (lambda lines: lines.append({"x": 1}), "line 9: must have one of experiment, trial, measurement"),
    "seed of text": (lambda lines: lines[1].update(seed="1"), "line 2: seed must be a valid integer, is '1'"),
    "no stage": (lambda lines: lines[1].update(stages=[]), "line 2: stages: List should have at least 1 item"),
    "no metrics": (
        lambda lines: lines[1]["stages"][0].update(metrics=[]),
        "line 2: stages.0.metrics: List should have at least 1 item",
    ),
    "step of text": (
        lambda lines: lines[1]["stages"][1]["metrics"][0].update(step="1"),
        "line 2: stages.1.metrics.0.step",
    ),
    "settings of text": (lambda lines: lines[1]["stages"][1].update(settings="x"), "line 2: stages.1.settings must be"),
    "tables of numbers": (lambda lines: lines[0]["experiment"].update(tables=[1]), "line 1: experiment.tables must be"),
    "row of a number": (lambda lines: lines.append({"measurement": 1}), "line 9: measurement must be a valid string"),
}


@pytest.mark.parametrize("odd", PACKED)
@pytest.mark.thin(2)
def test_damaged_published_record_is_rejected_with_its_line(experiment_folder: Path, tmp_path: Path, odd: str) -> None:
    kept = published(experiment_folder, tmp_path)
    lines = [json.loads(line) for line in (kept / "record.jsonl").read_text().splitlines()]
    damage, said = PACKED[odd]
    damage(lines)
    (kept / "record.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = re.escape("record.jsonl: can't be read: ") + ".*" + re.escape(said)
    with pytest.raises(CheckpointError, match=told) as error:
        page.write([kept], tmp_path / "page.html")
    assert "\n" not in str(error.value)


def test_published_record_that_is_huge_or_a_link_is_rejected(experiment_folder: Path, tmp_path: Path) -> None:
    kept = published(experiment_folder, tmp_path)
    (kept / "record.jsonl").rename(tmp_path / "private.jsonl")
    (kept / "record.jsonl").symlink_to(tmp_path / "private.jsonl")
    with pytest.raises(CheckpointError, match="a link"):
        page.of_experiment(kept)
    (kept / "record.jsonl").unlink()
    with open(kept / "record.jsonl", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match="1,099,511,627,776 bytes; at most 67,108,864 are read"):
        page.of_experiment(kept)


def test_text_of_a_published_record_is_escaped(experiment_folder: Path, tmp_path: Path) -> None:
    kept = published(experiment_folder, tmp_path)
    text = (kept / "record.jsonl").read_text().replace("a/b /c/d |*_", "<script>x</script>")
    (kept / "record.jsonl").write_text(text.replace('"variant":"rope"', '"variant":"<b>"'))
    content = page.write([kept], tmp_path / "page.html").read_text()
    assert "<script>" not in content
    assert "<b>" not in content
    assert "&lt;script&gt;" in content
