"""A process that dies, a disk that is full: what was saved before stays whole, and the run goes on from it."""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from mingpt.cli import main
from mingpt.core.errors import CheckpointError
from mingpt.runs import checkpoint, run
from mingpt.runs.checkpoint import MANIFEST
from tests.campaign.disks import FILES, calls_of_a_save, newest_step, save, two_saves


def test_kill_inside_a_save_keeps_the_checkpoint_before(tmp_path: Path, disk: Any, listing: Any) -> None:
    calls = calls_of_a_save(tmp_path / "whole", disk)
    outcomes = []
    for at, name in enumerate(calls):
        folder = two_saves(tmp_path / str(at))
        with disk.watched(killed_at=at), pytest.raises(disk.Killed):
            save(folder, 4, 2.0)
        outcomes.append(newest_step(folder))
        save(folder, 4, 2.0)
        assert listing(folder) == listing(tmp_path / "whole"), f"stray files after a kill at call {at}, {name}"
        shutil.rmtree(folder)
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {3, 4}
    assert outcomes.index(4) > calls.index("write") + len(FILES), "whole before all of it was written"


def test_kill_while_a_damaged_step_is_saved_again_keeps_the_one_before(tmp_path: Path, disk: Any) -> None:
    def damaged(name: str) -> Path:
        folder = two_saves(tmp_path / name)
        (folder / "checkpoints" / "step_000003" / "state.json").unlink()
        return folder

    whole = damaged("whole")
    with disk.watched() as watched:
        save(whole, 3)
    calls = list(watched)
    assert calls.count("unlink") == len(FILES) - 1
    for at in range(len(calls)):
        folder = damaged(str(at))
        with disk.watched(killed_at=at), pytest.raises(disk.Killed):
            save(folder, 3)
        assert newest_step(folder) in (2, 3)
        save(folder, 3)
        assert newest_step(folder) == 3


def test_full_disk_is_one_line(
    tmp_path: Path, text_file: Path, disk: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, saved = checkpoint.save, list[Path]()

    def full(folder: Path, **kwargs: Any) -> Any:
        saved.append(folder)
        with disk.watched(full_at=0) if len(saved) > 1 else contextlib.nullcontext():
            return real(folder, **kwargs)

    monkeypatch.setattr(checkpoint, "save", full)
    small = ["--model.n_layer=1", "--model.n_embd=8", "--data.block_size=8", "--trainer.batch_size=4"]
    place = [f"--system.work_dir={tmp_path / 'run'}", f"--data.path={text_file}"]
    code = main.main([*small, *place, "--trainer.max_iters=2", "--trainer.save_every=1", "--wandb.mode=disabled"])
    error = capsys.readouterr().err.strip()
    assert code == 1
    assert "No space left on device; what was saved before is whole; make room, and resume from the last" in error
    assert f"checkpoint with --trainer.resume=True --system.work_dir={tmp_path / 'run'} (see --debug)" in error
    assert "\n" not in error


@pytest.mark.parametrize(
    "names", [pytest.param({"replace"}, id="renames"), pytest.param(None, id="every call", marks=pytest.mark.slow)]
)
@pytest.mark.full
def test_kill_anywhere_in_a_resumed_run_leaves_its_path_and_no_files(
    tmp_path: Path, tiny: Any, trace: Any, listing: Any, disk: Any, names: set[str] | None
) -> None:
    """Before, inside and after the saves: config.yaml, environment.json, metrics.jsonl, samples.jsonl, baselines."""
    begun, longer = tmp_path / "begun", {"trainer.schedule": "constant", "trainer.sample_every": 1}
    run.train(tiny(begun, {**longer, "trainer.max_iters": 1}))

    def go_on(folder: Path) -> None:
        run.train(tiny(folder, {**longer, "trainer.max_iters": 2, "trainer.resume": True}))

    whole = Path(shutil.copytree(begun, tmp_path / "whole"))
    with disk.watched() as watched:
        go_on(whole)
    calls = list(watched)
    assert calls.count("replace") == 4 + len(FILES) + 1
    for at, name in enumerate(calls):
        if names and name not in names:
            continue
        folder = Path(shutil.copytree(begun, tmp_path / str(at)))
        with disk.watched(killed_at=at), pytest.raises(disk.Killed):
            go_on(folder)
        go_on(folder)
        assert trace(folder) == trace(whole), f"killed at call {at}, {name}"
        assert listing(folder) == listing(whole), f"killed at call {at}, {name}"
        shutil.rmtree(folder)


def test_run_killed_before_its_first_checkpoint_begins_again(tmp_path: Path, tiny: Any, trace: Any, disk: Any) -> None:
    """Its folder is taken, so a new run can't have it; then resuming must begin where it began."""
    run.train(tiny(tmp_path / "whole"))
    folder = tmp_path / "run"

    def die(trainer: Any, record: dict[str, Any]) -> None:
        if record["step"] == 2:
            raise disk.Killed

    with pytest.raises(disk.Killed):
        run.train(tiny(folder), callbacks=[die])
    run.train(tiny(folder, {"trainer.resume": True}))
    assert trace(folder) == trace(tmp_path / "whole")


# ---- which checkpoints are kept


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ((None, None, None, None), [4, 3]),
        ((3.0, 1.0, 2.0, 2.0), [4, 3, 2]),
        ((1.0, 2.0, 2.0, 2.0), [4, 3, 1]),
        ((2.0, 2.0, 1.0, 1.5), [4, 3]),
        ((None, 2.0, None, None), [4, 3, 2]),
    ],
)
def test_last_two_and_the_best_are_kept(tmp_path: Path, losses: tuple[float | None, ...], kept: list[int]) -> None:
    for step, loss in enumerate(losses, start=1):
        save(tmp_path, step, loss)
    assert checkpoint.steps(tmp_path) == kept


@pytest.mark.parametrize(("name", "limit"), [("tokenizer.json", 32 << 20), ("state.json", 8 << 20)])
def test_checkpoint_that_would_not_be_read_is_not_written(tmp_path: Path, name: str, limit: int) -> None:
    empty: dict[str, Any] = {"model": {}, "optimizer": {}}
    saved = checkpoint.save(tmp_path, **empty, state={"step": 1}, tokenizer=" " * (32 << 20))
    assert len(checkpoint.read(saved).tokenizer) == 32 << 20
    long = "x" * limit
    state, tokenizer = ({"step": 2}, long + "x") if name == "tokenizer.json" else ({"step": 2, "long": long}, "")
    with pytest.raises(CheckpointError, match=f"step_000002: {name} would have .* bytes; at most {limit:,} are read"):
        checkpoint.save(tmp_path, **empty, state=state, tokenizer=tokenizer)
    assert checkpoint.steps(tmp_path) == [1]
    assert not (tmp_path / "checkpoints" / ".step_000002.tmp").exists()


def test_checkpoint_just_saved_outlives_damaged_ones_of_later_steps(tmp_path: Path) -> None:
    """The run fell back to step 5 over two damaged checkpoints, and went on from there."""
    for step in (4, 5, 8, 9):
        save(tmp_path, step)
        if step > 5:
            (tmp_path / "checkpoints" / f"step_{step:06d}" / MANIFEST).write_bytes(b"")
        else:
            shutil.copytree(tmp_path / "checkpoints", tmp_path / "kept", dirs_exist_ok=True)
    shutil.copytree(tmp_path / "kept", tmp_path / "checkpoints", dirs_exist_ok=True)
    assert newest_step(tmp_path) == 5
    assert save(tmp_path, 6).exists()
    assert newest_step(tmp_path) == 6


def test_millionth_step_is_sorted_after_the_one_before_it(tmp_path: Path) -> None:
    for step in (999_998, 999_999, 1_000_000):
        save(tmp_path, step)
    assert checkpoint.steps(tmp_path) == [1_000_000, 999_999]
