"""A resumed run goes on as if it had never ended, or says why it doesn't."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mingpt.core.errors import CheckpointError, DataError, UsageError
from mingpt.runs import config as settings
from mingpt.runs import run, run_dir

RESUME = {"trainer.resume": True}
STEPS = 12


@pytest.fixture(scope="module", params=["muon", "adamw"])
def stations(request: Any, tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Path:
    """A finished run, and beside it its folder as it stood after each step."""
    home = tmp_path_factory.mktemp(request.param)

    def keep(trainer: Any, record: dict[str, Any]) -> None:
        shutil.copytree(home / "whole", home / str(record["step"]))

    changes = {"trainer.optimizer": request.param, "trainer.save_every": 1, "trainer.sample_every": 2}
    run.train(tiny(home / "whole", changes), callbacks=[keep])
    return home


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Path:
    """Four steps under a constant schedule."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    run.train(tiny(folder, {"trainer.max_iters": 4, "trainer.save_every": 2, "trainer.schedule": "constant"}))
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def on(folder: Path, **trainer: Any) -> Any:
    """The configuration that `folder` was made with, to be resumed there with other `trainer` settings."""
    config = settings.read(folder / "config.yaml")
    return dataclasses.replace(
        config,
        system=dataclasses.replace(config.system, work_dir=str(folder)),
        trainer=dataclasses.replace(config.trainer, **{"resume": True, **trainer}),
    )


@pytest.mark.parametrize("step", range(1, STEPS + 1))
@pytest.mark.thin(2)
def test_resumed_run_takes_the_same_path(stations: Path, tmp_path: Path, trace: Any, step: int) -> None:
    """The crash came two steps after the save, in the middle of a line."""
    folder, whole = Path(shutil.copytree(stations / str(step), tmp_path / "run")), stations / "whole"
    lines = (whole / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    torn = b"".join(lines[: step + 2]) + b'{"step": 15, "train_l'
    (folder / "metrics.jsonl").write_bytes(torn)
    resumed = run.train(on(folder, save_every=0))
    assert trace(folder) == trace(whole)
    assert [record["step"] for record in trace(folder)["records"]] == list(range(1, STEPS + 1))
    assert (folder / "samples.jsonl").read_bytes() == (whole / "samples.jsonl").read_bytes()
    assert resumed.last_record()["val_loss"] == json.loads(lines[-1])["val_loss"]


def test_clock_goes_on_at_a_resume(copy: Path) -> None:
    run.train(on(copy, max_iters=6))
    records = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    for name in ("tokens", "seconds", "wall_seconds"):
        values = [record[name] for record in records]
        assert values == sorted(set(values)), name


@pytest.mark.parametrize("torn", [b'{"step": 5, "tokens"', b"{", b"\0" * 40, b"\xff\xfe\x9c"], ids=repr)
@pytest.mark.thin(2)
def test_torn_last_line_is_removed(copy: Path, torn: bytes) -> None:
    with open(copy / "metrics.jsonl", "ab") as file:
        file.write(torn)
    run.train(on(copy, max_iters=6))
    lines = (copy / "metrics.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("key", "value", "there"),
    [
        ("trainer.learning_rate", 0.5, 0.003),
        ("trainer.batch_size", 6, 4),
        ("trainer.schedule", "linear", "constant"),
        ("model.attn_pdrop", 0.1, 0.2),
        ("data.val_fraction", 0.2, 0.1),
        ("system.seed", 12, 11),
    ],
)
def test_changed_setting_is_named_and_rejected(
    copy: Path, tiny: Any, trace: Any, key: str, value: Any, there: Any
) -> None:
    same = {"trainer.max_iters": 4, "trainer.save_every": 2, "trainer.schedule": "constant", **RESUME}
    before = trace(copy), (copy / "config.yaml").read_bytes()
    with pytest.raises(UsageError, match=rf"{key} was {there}, is {value}; --trainer\.resume_changed=True"):
        run.train(tiny(copy, {**same, key: value}))
    assert (trace(copy), (copy / "config.yaml").read_bytes()) == before


def test_several_changes_are_listed_one_at_a_time(copy: Path) -> None:
    with pytest.raises(UsageError) as refused:
        run.train(on(copy, learning_rate=0.5, weight_decay=0.0))
    assert "trainer.learning_rate" in str(refused.value)
    assert "trainer.weight_decay" in str(refused.value)


def test_forced_change_is_accepted(copy: Path) -> None:
    assert run.train(on(copy, max_iters=5, weight_decay=0.5, resume_changed=True)).progress.step == 5


def test_free_setting_may_change(copy: Path) -> None:
    config = on(copy, max_iters=5, eval_every=1, eval_tokens=3, sample_every=1, save_every=1)
    wandb = dataclasses.replace(config.wandb, project="other", name="other")
    assert run.train(dataclasses.replace(config, wandb=wandb)).progress.step == 5


def test_length_of_a_falling_schedule_does_not_change_silently(tmp_path: Path, tiny: Any) -> None:
    run.train(tiny(tmp_path / "run", {"trainer.max_iters": 2}))
    with pytest.raises(UsageError, match=r"trainer\.max_iters was 2, is 3"):
        run.train(on(tmp_path / "run", max_iters=3))


def test_permission_to_change_ends_with_the_resume_that_it_was_given_for(copy: Path) -> None:
    run.train(on(copy, max_iters=5, weight_decay=0.5, resume_changed=True))
    argv = [f"--system.work_dir={copy}", "--trainer.resume=True", "--trainer.weight_decay=0.7"]
    with pytest.raises(UsageError, match=r"weight_decay was 0\.5, is 0\.7"):
        run.train(run_dir.resume_settings(argv, settings.parse(argv)))


def test_saved_settings_of_a_resumed_run_resume_it_again(copy: Path) -> None:
    """`--config=RUN/config.yaml` starts a run of the same settings; it doesn't go on with that one."""
    run.train(on(copy, max_iters=5))
    assert not settings.read(copy / "config.yaml").trainer.resume


def test_flags_of_a_resume_keep_the_settings_of_the_run(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.parent)
    argv = ["--trainer.resume=True", "--trainer.max_iters=6", f"--system.work_dir={copy}"]
    config = run_dir.resume_settings(argv, settings.parse(argv))
    assert config == on(copy, max_iters=6)


@pytest.mark.parametrize(("was", "becomes"), [("muon", "adamw"), ("adamw", "muon")])
def test_state_of_another_optimizer_is_rejected_in_one_line(tmp_path: Path, tiny: Any, was: str, becomes: str) -> None:
    folder = tmp_path / "run"
    run.train(tiny(folder, {"trainer.max_iters": 2, "trainer.optimizer": was}))
    changes = {"trainer.max_iters": 3, "trainer.optimizer": becomes, "trainer.resume_changed": True, **RESUME}
    with pytest.raises(CheckpointError, match="optimizer"):
        run.train(tiny(folder, changes))


@pytest.mark.parametrize("text", ["hgfedcba ,\n" * 80, "abcdefgh ,\nz" * 80], ids=["order", "letters"])
def test_resume_on_another_text_is_rejected(copy: Path, tmp_path: Path, tiny: Any, text: str) -> None:
    path = tmp_path / "other.txt"
    path.write_text(text)
    changes = {"trainer.max_iters": 6, "trainer.schedule": "constant", "trainer.save_every": 2, **RESUME}
    kept = {name: (copy / name).read_bytes() for name in ("config.yaml", "environment.json", "metrics.jsonl")}
    with pytest.raises(CheckpointError, match="no longer the text"):
        run.train(tiny(copy, {**changes, "data.path": str(path), "trainer.resume_changed": True}))
    assert {name: (copy / name).read_bytes() for name in kept} == kept


def test_folder_without_a_run_is_not_resumed(tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="no run here"):
        run.train(tiny(tmp_path, RESUME))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no run under out/"):
        run.train(tiny(None, RESUME))
    assert list(tmp_path.iterdir()) == []


def test_run_past_its_new_end_is_rejected(copy: Path) -> None:
    with pytest.raises(UsageError, match=r"trainer\.max_iters=3: this run has already made 4 steps"):
        run.train(on(copy, max_iters=3))
    assert run.train(on(copy, max_iters=4)).progress.step == 4


def test_folder_of_a_run_that_could_not_begin_is_removed(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        run.train(tiny(tmp_path / "deep" / "run", {"data.path": str(tmp_path / "none.txt")}))
    assert list(tmp_path.iterdir()) == []


def test_hidden_file_of_the_user_stays(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / ".mine.tmp").write_text("mine")
    run.train(tiny(tmp_path, {"trainer.max_iters": 1}))
    assert (tmp_path / ".mine.tmp").read_text() == "mine"
