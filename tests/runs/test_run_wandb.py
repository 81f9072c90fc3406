"""wandb missing, mute, slow or broken: training never waits for it and never differs."""

import functools
import json
import os
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mingpt.core.errors import UsageError
from mingpt.core.run_files.reading import read_lines
from mingpt.runs import callbacks, run
from mingpt.runs.wandb_log import PROCESS, WandbConfig, WandbLogger, variables

ROOT = Path(__file__).parents[2]


class Fake:
    """The wandb of tests/fakes, in the place of the installed one."""

    def __init__(self, patch: pytest.MonkeyPatch, log: Path, way: str = "") -> None:
        self._log = log
        for name in [name for name in os.environ if name.startswith("WANDB")]:
            patch.delenv(name)
        for name, value in {"PYTHONPATH": ROOT / "tests" / "fakes", "FAKE_WANDB": way, "FAKE_WANDB_LOG": log}.items():
            patch.setenv(name, str(value))

    def notes(self, key: str) -> list[Any]:
        """What it wrote down under `key`, in order."""
        notes = map(json.loads, self._log.read_text(encoding="utf-8").splitlines())
        return [note[key] for note in notes if key in note]

    @property
    def asked(self) -> dict[str, Any]:
        return self.notes("asked")[-1]


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch, request: Any, tmp_path_factory: pytest.TempPathFactory) -> Fake:
    if hasattr(request, "param"):
        patience = 0.2 if "hangs" in request.param else 60.0  # a process that fails may take seconds to start
        monkeypatch.setattr(callbacks, "WandbLogger", functools.partial(WandbLogger, patience=patience))
    return Fake(monkeypatch, tmp_path_factory.mktemp("fake") / "log.jsonl", getattr(request, "param", ""))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, tiny: Any, trace: Any) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("disabled")
    run.train(tiny(folder))
    return trace(folder)


def test_healthy_wandb_log_is_the_record(
    tmp_path: Path, tiny: Any, trace: Any, wandb: Fake, reference: dict[str, Any]
) -> None:
    run.train(tiny(tmp_path, {"wandb.mode": "offline", "wandb.project": "p", "trainer.sample_every": 6}))
    assert trace(tmp_path) == reference
    *metrics, samples = zip(wandb.notes("step"), wandb.notes("record"), strict=True)
    assert [{"step": step, **record} for step, record in metrics] == read_lines(tmp_path / "metrics.jsonl")
    drawn = read_lines(tmp_path / "samples.jsonl")
    assert samples[1]["samples"]["data"] == [[line["step"], line["prompt"], line["text"]] for line in drawn]
    assert wandb.notes("finished") == [0]
    assert (wandb.asked["mode"], wandb.asked["project"], wandb.asked["dir"]) == ("offline", "p", str(tmp_path))
    assert wandb.asked["config"]["trainer.max_iters"] == 12


def test_resumed_run_is_the_same_one_there(tmp_path: Path, tiny: Any, wandb: Fake) -> None:
    changes = {"wandb.mode": "offline", "trainer.schedule": "constant", "trainer.max_iters": 2}
    run.train(tiny(tmp_path, changes))
    first = wandb.asked["id"]
    run.train(tiny(tmp_path, {**changes, "trainer.max_iters": 3, "trainer.resume": True}))
    assert wandb.asked["id"] == first
    run.train(tiny(tmp_path / "other", changes))
    assert wandb.asked["id"] != first


def test_disabled_wandb_starts_no_process(
    tmp_path: Path, tiny: Any, wandb: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    run.train(tiny(tmp_path, {"trainer.max_iters": 1}))
    assert not [line for line in caplog.messages if line.startswith("wandb")]
    assert not wandb._log.exists()


@pytest.mark.parametrize(
    ("given", "variables", "mode"),
    [
        (None, {}, "offline"),
        (None, {"WANDB_MODE": "online"}, "online"),
        (None, {"WANDB_MODE": "DISABLED"}, "disabled"),
        (None, {"WANDB_MODE": "dryrun"}, "offline"),
        (None, {"WANDB_DISABLED": "true", "WANDB_MODE": "online"}, "disabled"),
        (None, {"WANDB_DISABLED": "false"}, "offline"),
        ("offline", {"WANDB_MODE": "online", "WANDB_DISABLED": "true"}, "offline"),
    ],
)
def test_mode_is_the_settings_or_else_the_environments(
    given: str | None, variables: dict[str, str], mode: str, tmp_path: Path
) -> None:
    assert WandbConfig(mode=given).resolved_mode(variables) == mode


def test_unknown_mode_in_the_environment_is_rejected_before_training(
    tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "sideways")
    with pytest.raises(UsageError, match="WANDB_MODE=sideways: must be one of offline, online, disabled; or give"):
        run.train(tiny(tmp_path / "run", {"wandb.mode": None}))
    assert not (tmp_path / "run").exists()


def test_project_and_name_are_the_environments_where_none_is_given(
    tmp_path: Path, tiny: Any, wandb: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_NAME", "my run")
    run.train(tiny(tmp_path, {"wandb.mode": None, "trainer.max_iters": 1}))
    assert (wandb.asked["mode"], wandb.asked["project"], wandb.asked["name"]) == ("offline", "theirs", "my run")


def test_a_killed_training_is_no_finished_run_there(tmp_path: Path, wandb: Fake) -> None:
    first = {"mode": "offline"}
    command = [sys.executable, "-P", str(PROCESS)]
    subprocess.run(command, input=json.dumps(first).encode(), env=variables("offline", tmp_path), check=True)
    assert wandb.notes("finished") == [1]


@pytest.mark.parametrize(
    ("wandb", "mode", "says"),
    [
        ("init raises", "offline", "wandb stopped (no such project)"),
        ("init exits", "offline", "wandb stopped (3)"),
        ("log raises", "offline", "wandb stopped (no such project)"),
        ("no key", "online", "wandb stopped (no API key"),
        ("missing", "online", "wandb stopped (wandb is not installed"),
        ("init hangs", "offline", "wandb did not finish in time"),
        ("finish hangs", "offline", "wandb did not finish in time"),
    ],
    indirect=["wandb"],
)
@pytest.mark.thin(2)
def test_broken_wandb_is_not_waited_for_and_changes_nothing(
    tmp_path: Path,
    tiny: Any,
    trace: Any,
    reference: dict[str, Any],
    wandb: Fake,
    mode: str,
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    began = time.monotonic()
    run.train(tiny(tmp_path, {"wandb.mode": mode}))
    assert says != "wandb did not finish in time" or time.monotonic() - began < 4
    assert trace(tmp_path) == reference
    about = [line for line in caplog.messages if line.startswith("wandb")]
    assert len(about) == 1
    assert about[0].startswith(says)
    assert "\n" not in about[0]


@pytest.mark.parametrize("wandb", ["init hangs"], indirect=True)
def test_finish_waits_no_longer_than_its_patience(
    tmp_path: Path, wandb: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    mirror = WandbLogger(WandbConfig(), tmp_path, "id", {}, patience=0.3)
    began = time.monotonic()
    mirror.log({"step": 1})
    assert time.monotonic() - began < 0.2
    mirror.close()
    assert 0.25 < time.monotonic() - began < 1.5
    assert len(caplog.messages) == 1
    assert {field.name: field.default for field in fields(WandbLogger)}["patience"] <= 5


@pytest.mark.slow
def test_real_offline_run_is_readable_and_holds_no_key(tmp_path: Path, tiny: Any) -> None:
    """wandb leaves resources open at exit, so it runs in a process of its own."""
    folder, config, key = tmp_path / "run", tmp_path / "config.yaml", "0123456789abcdef" * 2 + "01234567"
    config.write_text(tiny(folder, {"wandb.mode": "offline"}).to_yaml(), encoding="utf-8")
    variables = {**os.environ, "WANDB_API_KEY": key, "HOME": str(tmp_path / "home")}
    command = [sys.executable, "chargpt.py", f"--config={config}"]
    subprocess.run(command, cwd=ROOT, env=variables, check=True, stdin=subprocess.DEVNULL, timeout=120)
    offline = list(folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(offline) == 1
    assert not [path for path in folder.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]
    tool = Path(sys.executable).with_name("wandb")
    asked = subprocess.run([tool, "leet", "inspect", "--json", offline[0]], capture_output=True, text=True, timeout=60)
    if asked.returncode:
        pytest.skip("this wandb can't inspect an offline run")
    records = [json.loads(line) for line in asked.stdout.splitlines()]
    history = [record for record in records if record.get("type") == "history"]
    assert sorted(record["history"]["item"]["_step"] for record in history) == list(range(1, 13))
    assert all(repr(line["train_loss"])[:6] in asked.stdout for line in read_lines(folder / "metrics.jsonl"))
