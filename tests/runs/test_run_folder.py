"""What a run leaves behind: every file that the documentation promises, with what it promises of each."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mingpt.core.atomic_io import sha256
from mingpt.core.errors import CheckpointError, DataError, UsageError
from mingpt.core.run_files.reading import read_lines
from mingpt.data import prepare
from mingpt.data.data_config import DataConfig
from mingpt.data.splits import split
from mingpt.inference.generate import Sampling
from mingpt.models.ngram import kneser_ney_losses
from mingpt.report import loss_plot
from mingpt.runs import checkpoint, run, run_dir
from mingpt.runs import config as settings
from mingpt.runs.checkpoint import MANIFEST
from mingpt.runs.run import Run
from mingpt.utils import device_name

ROOT = Path(__file__).parents[2]
DRAW = loss_plot.draw  # the fixtures of this folder put something quicker in its place
CADENCE = {"trainer.eval_every": 5, "trainer.sample_every": 4, "trainer.save_every": 3}


def nowhere(config: settings.Config) -> settings.Config:
    """As a folder saves its settings: it knows where it is."""
    return replace(config, system=replace(config.system, work_dir=None))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Iterator[Run]:
    """A run with nothing left out of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_plot, "draw", DRAW)
        yield run.train(tiny(tmp_path_factory.mktemp("finished") / "run", CADENCE))


def test_every_promised_file_is_there(finished: Run) -> None:
    names = {"config.yaml", "environment.json", "metrics.jsonl", "samples.jsonl", "baselines.json", "loss.png"}
    assert {path.name for path in finished.folder.iterdir()} == names | {"timing.jsonl", "checkpoints", ".lock"}
    files = {*checkpoint.FILES, MANIFEST}
    kept = {folder.name for folder in (finished.folder / "checkpoints").iterdir()}
    assert {"step_000009", "step_000012"} <= kept <= {"step_000006", "step_000009", "step_000012"}
    for folder in kept:
        assert {path.name for path in (finished.folder / "checkpoints" / folder).iterdir()} == files


def test_config_of_a_run_has_the_sizes_of_its_model(finished: Run, tiny: Any, tmp_path: Path) -> None:
    loaded = run.load(finished.folder, device="cpu")
    longer = {"model.pretrained_folder": str(finished.folder), "data.block_size": 9}
    second = run.train(tiny(tmp_path / "second", longer))
    for each, size in ((finished, 8), (loaded, 8), (second, 9), (run.load(second.folder, device="cpu"), 9)):
        assert each.config.model == each.model.config
        assert each.config.model.vocab_size == each.tokenizer.vocab_size == 11
        assert each.config.model.block_size == each.config.data.block_size == size


def test_settings_read_back_are_the_same(finished: Run) -> None:
    config = settings.read(finished.folder / "config.yaml")
    assert config.of_model(finished.model.config) == nowhere(finished.config)
    assert config.flat().keys() == settings.Config().flat().keys()
    assert "block_size" in (finished.folder / "config.yaml").read_text().partition("model:")[0]


@pytest.mark.parametrize(
    "odd",
    [
        {"system.seed": 2**63 - 1, "trainer.learning_rate": 1e-7, "trainer.betas": (0.0, 0.999)},
        {"data.path": "a b=c: 'é\"#.txt", "model.n_kv_head": 1, "wandb.project": "007", "wandb.name": "true"},
        {"wandb.project": "1e3"},
        {"data.path": "1e-3"},
    ],
    ids=str,
)
def test_odd_settings_read_back_are_the_same(tmp_path: Path, tiny: Any, odd: dict[str, Any]) -> None:
    config = tiny(tmp_path / "run", odd)
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert settings.read(tmp_path / "config.yaml") == config


@pytest.mark.full
def test_run_of_a_damaged_prepared_text_is_loaded(tmp_path: Path, tiny: Any) -> None:
    ids = tmp_path / "ids"
    prepare.write(DataConfig(path=tiny(None).data.path), ids)
    one_step = {"trainer.max_iters": 1, "trainer.schedule": "constant", "trainer.warmup_iters": 0}
    made = run.train(tiny(tmp_path / "run", {"data.path": str(ids), **one_step})).folder
    before = run.load(made, device="cpu").generate("a", 5, seed=1)
    (ids / "prepared.json").write_text("[]")
    assert run.load(made, device="cpu").generate("a", 5, seed=1) == before
    with pytest.raises(DataError, match="not a whole prepared folder"):
        run.load(made, device="cpu").evaluate()


def test_record_has_every_field_of_every_step(finished: Run) -> None:
    records = read_lines(finished.folder / "metrics.jsonl")
    times = {"seconds", "cpu_seconds", "wall_seconds", "tokens_per_second"}
    always = {"step", "tokens", "train_loss", "lr", "grad_norm"} | times
    assert [record["step"] for record in records] == list(range(1, 13))
    assert [record["tokens"] for record in records] == [32 * step for step in range(1, 13)]
    for record in records:
        part = {"val_loss_part", "bits_per_byte_part"}
        judged = {5: part, 10: part, 12: {"val_loss", "bits_per_byte"}}
        assert record.keys() == always | judged.get(record["step"], set())
        assert all(isinstance(value, float | int) for value in record.values())
        assert record["wall_seconds"] >= record["seconds"] > 0
        assert record["cpu_seconds"] > 0
    peak = finished.config.trainer.learning_rate
    assert [record["lr"] for record in records[:4]] == pytest.approx([peak / 3, 2 * peak / 3, peak, peak])


def test_samples_have_every_field_at_every_time(finished: Run) -> None:
    samples = read_lines(finished.folder / "samples.jsonl")
    first, *others = finished.prompts()
    expected = [(4, first), (8, first), (12, first), *((12, prompt) for prompt in others)]
    assert [(sample["step"], sample["prompt"]) for sample in samples] == expected
    for sample in samples:
        assert sample.keys() == {"step", "prompt", "text", *asdict(Sampling())}
        assert sample["text"].startswith(sample["prompt"])
    assert len({sample["seed"] for sample in samples[:3]}) == 1


def test_baselines_are_of_the_runs_text(finished: Run, text_file: Path) -> None:
    text = text_file.read_text(encoding="utf-8")
    ids = split(text, finished.tokenizer, block_size=8, val_fraction=0.1)
    assert finished.baselines() == kneser_ney_losses(ids.train, ids.validation, finished.tokenizer.vocab_size, 8)
    assert list(finished.baselines()) == [f"{n}-gram" for n in range(1, 7)]


def test_environment_names_text_and_versions(finished: Run, text_file: Path) -> None:
    found = json.loads((finished.folder / "environment.json").read_bytes())
    assert found["text_sha256"] == sha256(text_file.read_bytes())
    assert found["vocabulary_sha256"] == sha256(finished.tokenizer.to_json().encode())
    assert found["text"] == str(text_file)
    assert found["device"] == "cpu"
    assert found["device_name"] == device_name(torch.device("cpu"))
    assert found["threads"] >= 1
    assert {"mingpt", "torch", "numpy", "einops", "safetensors"} <= found["packages"].keys()
    assert found["git_commit"] is None or re.fullmatch(r"[0-9a-f]{40}\+?", found["git_commit"])


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("processor\t: 0\nmodel name\t: Some CPU v2: fast\nmodel name\t: Other\n", "Some CPU v2: fast"),
        ("processor\t: 0\n", "its machine"),
        (None, "its machine"),
    ],
)
def test_name_of_a_cpu_is_its_makers_or_else_its_kind(
    written: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path, **kwargs: str) -> str:
        assert path == Path("/proc/cpuinfo")
        if written is None:
            raise FileNotFoundError
        return written

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "its machine")
    assert device_name(torch.device("cpu")) == f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def test_curve_is_a_picture(finished: Run) -> None:
    picture = (finished.folder / "loss.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n")
    assert picture.rstrip().endswith(b"IEND\xaeB`\x82")


def test_loaded_run_is_the_one_that_was_trained(finished: Run) -> None:
    loaded = run.load(finished.folder, device="cpu")
    last = finished.last_record()
    assert loaded.progress == finished.progress
    assert loaded.config == nowhere(finished.config)
    assert loaded.evaluate().nats == last["val_loss"]
    assert loaded.evaluate().bits_per_byte == last["bits_per_byte"]
    assert loaded.generate("abc", 20, seed=3) == finished.generate("abc", 20, seed=3)
    assert not loaded.model.training


def test_state_of_a_checkpoint_has_every_field(finished: Run) -> None:
    saved = checkpoint.newest(finished.folder)
    assert saved.state.keys() >= {"step", "tokens", "seconds", "wall_seconds", "val_loss", "model", "wandb_id"}
    assert saved.state["val_loss"] == finished.last_record()["val_loss"]
    assert saved.model.keys() == finished.model.state_dict().keys()
    assert not [name for name in saved.model if "query" in name or "mask" in name], "tables are never stored"


def test_text_of_unknown_characters_is_rejected(tmp_path: Path, tiny: Any) -> None:
    trained = run.train(tiny(tmp_path / "run", {"trainer.max_iters": 1}))
    (tmp_path / "other.txt").write_text("abc🤗Ж", encoding="utf-8")
    with pytest.raises(DataError, match=r"other\.txt: unknown .*'Ж' \(U\+0416\), '🤗' \(U\+1F917\)"):
        trained.evaluate(str(tmp_path / "other.txt"))
    (tmp_path / "other.txt").write_text("a")
    with pytest.raises(DataError, match="at least 2 are needed"):
        trained.evaluate(str(tmp_path / "other.txt"))
    (tmp_path / "other.txt").write_text("abcabcabcabc")
    assert trained.evaluate(str(tmp_path / "other.txt")).tokens == 11


# ---- one folder, one run


def test_folder_of_another_run_is_not_overwritten(finished: Run, tiny: Any, listing: Any) -> None:
    before = {path: path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"already holds a run; resume it by --trainer\.resume=True, or name a new"):
        run.train(tiny(finished.folder, CADENCE))
    assert {path: path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()} == before


@pytest.mark.full
def test_default_folders_do_not_collide(
    tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    brief = {"trainer.max_iters": 1}
    taken = [run.train(tiny(None, brief)).folder for _ in range(3)]
    names = ["out/chargpt", "out/chargpt-2", "out/chargpt-3"]
    assert taken == [tmp_path / name for name in names]
    assert [line for line in caplog.messages if line.startswith("run folder")] == [
        f"run folder: {name}" for name in names
    ]
    assert run_dir.newest_run() == Path("out/chargpt-3")
    run.train(tiny(Path("out/chargpt"), {**brief, "trainer.resume": True}))
    assert run_dir.newest_run() == Path("out/chargpt")


@pytest.mark.full
def test_newest_run_with_a_checkpoint_is_loaded(
    tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that has only begun, and one whose only checkpoint is damaged, are newer than the one that can be loaded."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no run under out/: train one"):
        run.load_newest()
    for name in ("good", "damaged", "begun"):
        run.train(tiny(Path("out", name), {"trainer.max_iters": 1}))
    shutil.rmtree(Path("out/begun/checkpoints"))
    (weights,) = Path("out/damaged").glob("checkpoints/*/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    assert run.load_newest().folder == tmp_path / "out/good"
    passed = [line.removeprefix("passed over: ") for line in caplog.messages if line.startswith("passed over: ")]
    assert [line.startswith(f"out/{name}") for line, name in zip(passed, ("begun", "damaged"), strict=True)] == [
        True
    ] * 2
    assert run_dir.newest_run() == Path("out/begun")  # which is what `resume` goes on with
    shutil.rmtree(Path("out/good"))
    with pytest.raises(CheckpointError, match=r"no run under out/ has a checkpoint .*; the newest is out/begun"):
        run.load_newest()


def test_rejected_run_leaves_no_folder(tmp_path: Path, tiny: Any) -> None:
    short = tmp_path / "short.txt"
    short.write_text("abcdefgh")
    with pytest.raises(ValueError, match=rf"{re.escape(str(short))}: too short: data\.block_size=\d+ needs"):
        run.train(tiny(tmp_path / "run", {"data.path": str(short)}))
    assert not (tmp_path / "run").exists()


HOLD = """
import sys, time
from pathlib import Path
from mingpt.core.atomic_io import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def hold(folder: Path, seconds: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLD, str(folder), str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_one_process_trains_in_a_folder(tmp_path: Path, tiny: Any) -> None:
    refused: list[str] = []

    def second(trainer: Any, record: dict[str, Any]) -> None:
        if record["step"] == 2:
            refused.extend(hold(tmp_path, 0).communicate())

    run.train(tiny(tmp_path, {"trainer.max_iters": 3}), callbacks=[second])
    assert refused[0] == ""
    assert "CheckpointError" in refused[1]
    assert "another process is training in this folder" in refused[1]


def test_lock_holds_others_and_ends_with_its_process(tmp_path: Path, tiny: Any, trace: Any) -> None:
    constant = {"trainer.schedule": "constant", "trainer.max_iters": 2}
    run.train(tiny(tmp_path, constant))
    before, config = trace(tmp_path), (tmp_path / "config.yaml").read_bytes()
    longer = tiny(tmp_path, {**constant, "trainer.max_iters": 3, "trainer.resume": True})
    with hold(tmp_path, 60) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(CheckpointError, match="another process"):
            run.train(longer)
        assert (trace(tmp_path), (tmp_path / "config.yaml").read_bytes()) == (before, config)
        other.kill()
    assert run.train(longer).progress.step == 3
