"""Damaged and hostile checkpoints: seen before anything is used, never executed, and no reason to lose the run."""

import contextlib
import json
import os
import pickle
import random
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mingpt.core.errors import CheckpointError
from mingpt.core.log_output import messages
from mingpt.runs import checkpoint, run
from mingpt.runs.checkpoint import MANIFEST
from tests.campaign.hostile import HOSTILE_JSON, HOSTILE_TENSORS, Payload, entry, forge, tensors

FILES = [*checkpoint.FILES, MANIFEST]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Path:
    """A run with checkpoints of steps 2 and 4."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    run.train(tiny(folder, {"trainer.max_iters": 4, "trainer.save_every": 2, "trainer.schedule": "constant"}))
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run"))


@pytest.fixture
def newest(copy: Path) -> Path:
    return copy / "checkpoints" / "step_000004"


def falls_back(copy: Path) -> None:
    """Step 2 is what is left, and the fall is told in one line that names step 4."""
    said = list[str]()
    with messages(said.append):
        assert run.load(copy, device="cpu").progress.step == 2
    assert len(said) == 1
    assert "step_000004" in said[0]
    assert "falling back" in said[0]
    assert "\n" not in said[0]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0.0, 1, 8, 0.5, 0.99, -1])
@pytest.mark.thin(5)
def test_shortened_file_is_not_used(copy: Path, newest: Path, name: str, kept: float) -> None:
    size = (newest / name).stat().st_size
    os.truncate(newest / name, int(kept * size) if isinstance(kept, float) else kept % size)
    falls_back(copy)


@pytest.mark.parametrize("name", FILES)
def test_lengthened_file_is_not_used(copy: Path, newest: Path, name: str) -> None:
    with open(newest / name, "ab") as file:
        file.write(b"\0")
    falls_back(copy)


@pytest.mark.parametrize("name", FILES)
def test_checkpoint_without_a_file_is_not_used(copy: Path, newest: Path, name: str) -> None:
    (newest / name).unlink()
    falls_back(copy)


@pytest.mark.parametrize("name", FILES)
def test_file_replaced_by_a_folder_is_one_line(copy: Path, newest: Path, name: str) -> None:
    (newest / name).unlink()
    (newest / name).mkdir()
    falls_back(copy)


@pytest.mark.parametrize("name", FILES)
def test_flipped_bit_is_not_used(newest: Path, name: str) -> None:
    content = (newest / name).read_bytes()
    bits = random.Random(name).sample(range(8 * len(content)), 100)
    for bit in [0, 8 * len(content) - 1, *bits]:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        (newest / name).write_bytes(flipped)
        with pytest.raises(CheckpointError, match="step_000004"):
            checkpoint.read(newest)
    (newest / name).write_bytes(content)
    assert checkpoint.read(newest).state["step"] == 4


def test_resume_after_a_flipped_bit_takes_the_same_path(
    copy: Path, newest: Path, tiny: Any, trace: Any, caplog: pytest.LogCaptureFixture
) -> None:
    changes = {"trainer.max_iters": 4, "trainer.save_every": 2, "trainer.schedule": "constant", "trainer.resume": True}
    whole = trace(copy)
    with open(newest / "model.safetensors", "r+b") as file:
        file.seek(200)
        byte = file.read(1)[0]
        file.seek(200)
        file.write(bytes([byte ^ 4]))
    run.train(tiny(copy, changes))
    assert trace(copy) == whole
    assert "model.safetensors is not what was written" in caplog.messages[0]


def test_no_valid_checkpoint_is_an_error(copy: Path, tiny: Any, tmp_path: Path) -> None:
    for folder in (copy / "checkpoints").iterdir():
        (folder / "state.json").unlink()
    before = (copy / "metrics.jsonl").read_bytes()
    constant = {"trainer.max_iters": 4, "trainer.save_every": 2, "trainer.schedule": "constant"}
    for use in (
        lambda: run.load(copy),
        lambda: run.train(tiny(copy, {**constant, "trainer.resume": True})),
        lambda: run.train(tiny(tmp_path / "next", {"model.pretrained_folder": str(copy)})),
    ):
        with pytest.raises(CheckpointError, match="no valid checkpoint") as refused:
            use()
        assert refused.value.exit_code == 4
    assert (copy / "metrics.jsonl").read_bytes() == before
    assert not (tmp_path / "next").exists()


def test_only_a_checkpoint_with_another_before_it_is_reported_to_fall_back(
    copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in (copy / "checkpoints").iterdir():
        (folder / "state.json").unlink()
    with pytest.raises(CheckpointError, match="no valid checkpoint"):
        run.load(copy)
    reason = "not a readable checkpoint (state.json: No such file or directory)"
    assert [line.partition(": ")[2] for line in caplog.messages] == [
        f"{reason}; falling back to the checkpoint before it",
        reason,
    ]


# ---- hostile files, which their manifest vouches for


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("content", HOSTILE_TENSORS.values(), ids=HOSTILE_TENSORS)
@pytest.mark.thin(4)
def test_hostile_tensors_end_in_one_line(copy: Path, newest: Path, name: str, content: bytes) -> None:
    forge(newest, name, content)
    began = time.perf_counter()
    with pytest.raises(CheckpointError, match="step_000004"):
        checkpoint.read(newest)
    assert time.perf_counter() - began < 1
    falls_back(copy)


@pytest.mark.parametrize("name", FILES)
def test_pickle_is_not_executed(copy: Path, newest: Path, tmp_path: Path, name: str) -> None:
    proof = tmp_path / "proof"
    payload = pickle.dumps(Payload(proof))
    if name == MANIFEST:
        (newest / name).write_bytes(payload)
    else:
        forge(newest, name, payload)
    with contextlib.suppress(CheckpointError):
        assert run.load(copy, device="cpu").progress.step == 2
    assert not proof.exists()
    pickle.loads(payload)
    assert proof.exists(), "the payload proves nothing"


@pytest.mark.parametrize("name", ["state.json", "tokenizer.json", MANIFEST])
@pytest.mark.parametrize("content", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
@pytest.mark.thin(4)
def test_hostile_json_ends_in_one_line(copy: Path, newest: Path, tiny: Any, name: str, content: bytes) -> None:
    """That checkpoint is passed over, or refused in one line; nothing else may come of it."""
    if name == MANIFEST:
        (newest / name).write_bytes(content)
    else:
        forge(newest, name, content)
    changes = {"trainer.max_iters": 4, "trainer.save_every": 2, "trainer.schedule": "constant", "trainer.resume": True}
    for use, step in ((lambda: run.load(copy, device="cpu"), 2), (lambda: run.train(tiny(copy, changes)), 4)):
        refused = None
        try:
            assert use().progress.step == step
        except CheckpointError as error:
            refused = str(error)
        assert refused is None or "\n" not in refused


@pytest.mark.parametrize("path", ["../../../secret", "/etc/passwd", "sub/../model.safetensors"])
def test_manifest_does_not_lead_out_of_the_folder(copy: Path, newest: Path, path: str) -> None:
    (copy.parent / "secret").write_bytes(b"")
    manifest = json.loads((newest / MANIFEST).read_bytes())
    for files in ({path: manifest["files"]["state.json"]}, {**manifest["files"], path: {"bytes": 0, "sha256": ""}}):
        (newest / MANIFEST).write_text(json.dumps({**manifest, "files": files}) + "\n")
        with pytest.raises(CheckpointError, match="not of format"):
            checkpoint.read(newest)


@pytest.fixture
def pipe(newest: Path) -> Iterator[Path]:
    """A named pipe that nobody writes to, in the place of the manifest."""
    path = newest / MANIFEST
    path.unlink()
    os.mkfifo(path)
    yield path
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))  # lets a reader that waits go


def test_pipe_is_rejected_without_waiting(copy: Path, pipe: Path) -> None:
    reader = threading.Thread(target=checkpoint.newest, args=(copy,), daemon=True)
    reader.start()
    reader.join(2)
    assert not reader.is_alive()


@pytest.mark.parametrize("name", ["../../evil", "blocks.0.__class__", "/etc/evil"])
def test_tensor_of_a_strange_name_is_rejected(copy: Path, newest: Path, name: str) -> None:
    forge(newest, "model.safetensors", tensors({name: entry(0, 16)}))
    with pytest.raises(CheckpointError, match=rf"{re.escape(name)} is unknown here"):
        run.load(copy, device="cpu")
