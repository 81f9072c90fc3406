"""Checkpoints behind a link: of the run that began so, and of no other."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mingpt.core.errors import CheckpointError
from mingpt.runs import checkpoint, run, scratch

STEPS = {"trainer.max_iters": 2, "trainer.schedule": "constant", "trainer.save_every": 1}
FURTHER = {**STEPS, "trainer.max_iters": 4, "trainer.resume": True}


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A run folder of which only the link is there, to an empty folder."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "disk")
    return tmp_path / "run"


def test_run_keeps_its_checkpoints_behind_its_own_link(linked: Path, tiny: Any, trace: Any) -> None:
    run.train(tiny(linked, STEPS))
    assert checkpoint.steps(linked) == [2, 1]
    assert run.load(linked).progress.step == 2
    for steps in (3, 4):  # environment.json is written again by each
        run.train(tiny(linked, {**FURTHER, "trainer.max_iters": steps}))
    assert checkpoint.steps(linked)[:2] == [4, 3]
    assert (linked.parent / "disk" / scratch.SECRET).is_file()
    run.train(tiny(linked.parent / "whole", {**STEPS, "trainer.max_iters": 4}))
    assert trace(linked) == trace(linked.parent / "whole")


def test_run_that_could_not_begin_begins_later(linked: Path, tiny: Any) -> None:
    with pytest.raises(ValueError, match="no file"):
        run.train(tiny(linked, {**STEPS, "data.path": str(linked / "none")}))
    assert list((linked.parent / "disk").iterdir()) == []
    assert run.train(tiny(linked, STEPS)).progress.step == 2


def test_second_run_cannot_begin_behind_a_link_of_a_first_without_checkpoints(linked: Path, tiny: Any) -> None:
    second = linked.parent / "second"
    second.mkdir()
    (second / "checkpoints").symlink_to(linked.parent / "disk")
    message = f"link an empty one, or remove its {scratch.SECRET} if"
    with scratch.beginning(linked), pytest.raises(CheckpointError, match=message):
        run.train(tiny(second, STEPS))
    assert list((linked.parent / "disk").iterdir()) == []  # since the first has no settings yet
    assert run.train(tiny(second, STEPS)).progress.step == 2


def test_link_to_files_or_nowhere_is_rejected_when_a_run_begins(linked: Path, tiny: Any) -> None:
    (linked.parent / "disk" / "precious").touch()
    with pytest.raises(CheckpointError, match="checkpoints: a link to a folder with files in it; link an empty one"):
        run.train(tiny(linked, STEPS))
    shutil.rmtree(linked.parent / "disk")
    with pytest.raises(CheckpointError, match="checkpoints: a link to a folder that is not there; make"):
        run.train(tiny(linked, STEPS))


@pytest.mark.parametrize("claim", [None, "", 7, "0" * 32])
def test_folder_of_somebody_else_cannot_claim_the_checkpoints_of_a_run(linked: Path, tiny: Any, claim: Any) -> None:
    run.train(tiny(linked, STEPS))
    theirs = linked.parent / "theirs"
    shutil.copytree(linked, theirs, symlinks=True)
    environment = json.loads((theirs / "environment.json").read_text())
    environment[scratch.IN_ENVIRONMENT] = claim
    (theirs / "environment.json").write_text(json.dumps(environment))
    before = sorted((linked.parent / "disk").rglob("*"))
    with pytest.raises(CheckpointError, match="checkpoints: a link to a folder that this run has not begun"):
        run.train(tiny(theirs, FURTHER))
    assert sorted((linked.parent / "disk").rglob("*")) == before


def test_run_folder_that_is_a_link_is_used_as_the_folder(tmp_path: Path, tiny: Any) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    run.train(tiny(tmp_path / "run", STEPS))
    assert run.train(tiny(tmp_path / "run", FURTHER)).progress.step == 4
    assert checkpoint.steps(tmp_path / "disk")[:1] == [4]
