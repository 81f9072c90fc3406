"""A carried state that is damaged, forged or of another shape is never trained on; a whole one is judged."""

import dataclasses
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from rich.console import Console
from stateful import STATEFUL, on

from mingpt.cli.results import show_outcome
from mingpt.core.atomic_io import sha256
from mingpt.core.errors import CheckpointError, UsageError
from mingpt.core.run_files.reading import read_lines
from mingpt.data.splits import split
from mingpt.inference.evaluate import validation_loss
from mingpt.runs import checkpoint, run
from mingpt.runs.checkpoint import CARRIED, MANIFEST


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Path:
    """A run with checkpoints of steps 2 and 4, in the middle of its first epoch."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    run.train(tiny(folder, STATEFUL | FOUR))
    return folder


FOUR = {"trainer.max_iters": 4, "trainer.save_every": 2, "trainer.schedule": "constant"}


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run"))


@pytest.fixture
def newest(copy: Path) -> Path:
    return copy / "checkpoints" / "step_000004"


# ---- damage


def damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "cut":
        os.truncate(path, len(content) // 2)
    else:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 16]))


@pytest.mark.parametrize("how", ["missing", "cut", "a bit flipped"])
@pytest.mark.thin(1)
def test_damaged_state_is_not_used(
    copy: Path, newest: Path, trace: Any, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = trace(copy)
    damaged(newest / CARRIED, how)
    run.train(on(copy))
    assert "step_000004" in caplog.messages[0]
    assert "falling back" in caplog.messages[0]
    assert trace(copy) == whole


def forge(folder: Path, content: bytes | None) -> None:
    """Replace the carried state of a checkpoint by one that its manifest vouches for, or leave it out."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    if content is None:
        (folder / CARRIED).unlink()
        del manifest["files"][CARRIED]
    else:
        (folder / CARRIED).write_bytes(content)
        manifest["files"][CARRIED] = {"bytes": len(content), "sha256": sha256(content)}
    (folder / MANIFEST).write_text(json.dumps(manifest) + "\n")


def changed(carried: dict[str, torch.Tensor], name: str, value: torch.Tensor | None) -> dict[str, torch.Tensor]:
    return {key: kept for key, kept in {**carried, name: value}.items() if kept is not None}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("0/1.0", None, r"0/1\.0 is missing there and floating \(10, 6\) here"),
        ("1/length", None, r"1/length is missing there and integer \(\) here"),
        ("0/0.0", torch.zeros(10, 7), r"0/0\.0 is floating \(10, 7\) there and floating \(10, 6\) here"),
        ("1/0.1", torch.zeros(1, 6), r"1/0\.1 is floating \(1, 6\) there"),
        ("1/0.1", torch.zeros(10, 6, dtype=torch.long), r"1/0\.1 is integer \(10, 6\) there"),
        ("2/0.0", torch.zeros(10, 6), r"2/0\.0 is floating \(10, 6\) there and unknown here"),
        ("../evil", torch.zeros(1), r"\.\./evil is floating \(1,\) there and unknown here"),
    ],
)
@pytest.mark.thin(2)
def test_state_of_another_shape_is_rejected(copy: Path, newest: Path, name: str, value: Any, message: str) -> None:
    forge(newest, safetensors.torch.save(changed(checkpoint.read(newest).carried, name, value)))
    with pytest.raises(CheckpointError, match=f"another run's recurrent state: {message}") as refused:
        run.train(on(copy, max_iters=6))
    assert refused.value.exit_code == 4


def test_state_that_was_never_saved_is_needed_to_train_alone(copy: Path, newest: Path) -> None:
    forge(newest, None)
    assert checkpoint.read(newest).carried == {}
    with pytest.raises(CheckpointError, match=r"recurrent state: 0/0\.0 is missing there"):
        run.train(on(copy, max_iters=6))
    assert run.load(copy, device="cpu").progress.step == 4  # loading needs none


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"\xff" * 40], ids=["empty", "a pickle", "a long header"])
def test_hostile_state_ends_in_one_line(copy: Path, newest: Path, content: bytes) -> None:
    forge(newest, content)
    assert checkpoint.newest(copy).state["step"] == 2


def test_forced_change_of_the_rows_rejects_a_state_of_others(copy: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is floating \(10, 6\) there and floating \(20, 6\) here"):
        run.train(on(copy, max_iters=6, batch_size=40, resume_changed=True))


def test_stateful_training_can_be_switched_off_at_a_resume_and_not_on(copy: Path) -> None:
    off = on(copy, max_iters=6)
    off = dataclasses.replace(off, data=dataclasses.replace(off.data, stateful=False))
    with pytest.raises(UsageError, match=r"data\.stateful was True, is False"):
        run.train(off)
    run.train(dataclasses.replace(off, trainer=dataclasses.replace(off.trainer, resume_changed=True)))
    back = on(copy, max_iters=8, resume_changed=True)
    back = dataclasses.replace(back, data=dataclasses.replace(back.data, stateful=True))
    with pytest.raises(CheckpointError, match="recurrent state"):
        run.train(back)


def test_validation_loss_with_the_state_is_that_of_stateful_runs_alone(saved: Path, tmp_path: Path, tiny: Any) -> None:
    done = run.load(saved)
    *earlier, last = read_lines(saved / "metrics.jsonl")
    text = Path(done.config.data.path).read_text(encoding="utf-8")
    ids = split(text, done.tokenizer, block_size=8, val_fraction=0.1).validation
    assert last["val_loss_carried"] == validation_loss(done.model, ids, done.tokenizer, carried=True).nats
    assert last["val_loss_carried"] == done.evaluate(context="carried").nats
    assert last["val_loss"] == done.evaluate().nats != last["val_loss_carried"]
    assert not any("val_loss_carried" in record for record in earlier)
    console = Console(file=io.StringIO(), width=200)
    show_outcome(done, console, "chargpt")
    assert (
        f"\n{last['val_loss_carried']:.3f} nats per character with the recurrent state kept" in console.file.getvalue()
    )
    other = run.train(tiny(tmp_path / "run", STATEFUL | FOUR | {"data.stateful": False}))
    assert "val_loss_carried" not in other.last_record()
