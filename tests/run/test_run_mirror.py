"""wandb missing, mute, slow or broken: training never waits for it and never differs."""

import functools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mingpt import run
from mingpt.mirror import WandbConfig, WandbMirror
from mingpt.report.reading import read_lines

ROOT = Path(run.__file__).parents[1]


class FakeWandb(ModuleType):
    """As much of wandb as the mirror asks for, which fails in one place."""

    def __init__(self, fails: str = "") -> None:
        super().__init__("wandb")
        self.fails, self.released = fails, threading.Event()
        self.logged: list[tuple[int | None, dict[str, Any]]] = []
        self.asked: dict[str, Any] = {}
        self.finished = False
        self.Settings, self.Table = SimpleNamespace, SimpleNamespace

    def login(self, prompt: bool) -> bool:
        assert not prompt
        return self.fails != "login"

    def init(self, **asked: Any) -> Any:
        self.asked = asked
        if self.fails == "init":
            raise RuntimeError("no such project\nand a second line")
        if self.fails == "init exits":
            sys.exit(3)
        if self.fails == "init hangs":
            self.released.wait()
            raise RuntimeError("the test is over")
        return SimpleNamespace(log=self.log, finish=self.finish)

    def log(self, record: dict[str, Any], step: int | None = None) -> None:
        if self.fails == "log" and step == 10:
            raise OSError("disk quota")
        self.logged.append((step, record))

    def finish(self) -> None:
        if self.fails == "finish hangs":
            self.released.wait()
        self.finished = True


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch, request: Any) -> Iterator[FakeWandb]:
    fake = FakeWandb(getattr(request, "param", ""))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(run, "WandbMirror", functools.partial(WandbMirror, patience=0.2))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("prompted"))
    yield fake
    fake.released.set()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, tiny: Any, trace: Any) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("disabled")
    run.train(tiny(folder))
    return trace(folder)


def test_healthy_mirror_differs_from_the_record(
    tmp_path: Path, tiny: Any, trace: Any, wandb: FakeWandb, reference: dict[str, Any]
) -> None:
    run.train(tiny(tmp_path, {"wandb.mode": "offline", "wandb.project": "p", "trainer.sample_every": 6}))
    assert trace(tmp_path) == reference
    *metrics, (_, samples) = wandb.logged
    assert [{"step": step, **record} for step, record in metrics] == read_lines(tmp_path / "metrics.jsonl")
    drawn = read_lines(tmp_path / "samples.jsonl")
    assert samples["samples"].data == [(line["step"], line["prompt"], line["text"]) for line in drawn]
    assert wandb.finished
    assert (wandb.asked["mode"], wandb.asked["project"], wandb.asked["dir"]) == ("offline", "p", str(tmp_path))
    assert wandb.asked["config"]["trainer.max_iters"] == 12


def test_resumed_run_is_another_one_there(tmp_path: Path, tiny: Any, wandb: FakeWandb) -> None:
    changes = {"wandb.mode": "offline", "trainer.schedule": "constant", "trainer.max_iters": 2}
    run.train(tiny(tmp_path, changes))
    first = wandb.asked["id"]
    run.train(tiny(tmp_path, {**changes, "trainer.max_iters": 3, "trainer.resume": True}))
    assert wandb.asked["id"] == first
    run.train(tiny(tmp_path / "other", changes))
    assert wandb.asked["id"] != first


def test_disabled_mirror_imports_wandb(tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    said: list[str] = []
    run.train(tiny(tmp_path, {"trainer.max_iters": 1}), say=said.append)
    assert not [line for line in said if "wandb" in line]


@pytest.mark.parametrize(
    ("wandb", "mode", "says"),
    [
        ("init", "offline", "wandb stopped (no such project)"),
        ("init exits", "offline", "wandb stopped (3)"),
        ("log", "offline", "wandb stopped (disk quota)"),
        ("login", "online", "wandb stopped (no API key"),
        ("init hangs", "offline", "wandb did not finish in time"),
        ("finish hangs", "offline", "wandb did not finish in time"),
    ],
    indirect=["wandb"],
)
def test_broken_mirror_is_waited_for_or_changes_training(
    tmp_path: Path, tiny: Any, trace: Any, reference: dict[str, Any], wandb: FakeWandb, mode: str, says: str
) -> None:
    said: list[str] = []
    began = time.monotonic()
    run.train(tiny(tmp_path, {"wandb.mode": mode}), say=said.append)
    assert time.monotonic() - began < 4
    assert trace(tmp_path) == reference
    about = [line for line in said if "wandb" in line]
    assert len(about) == 1
    assert about[0].startswith(says)
    assert "\n" not in about[0]


def test_missing_wandb_stops_a_run(
    tmp_path: Path, tiny: Any, trace: Any, reference: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    said: list[str] = []
    run.train(tiny(tmp_path, {"wandb.mode": "online"}), say=said.append)
    assert trace(tmp_path) == reference
    assert [line for line in said if line.startswith("wandb stopped (import of wandb")]


@pytest.mark.parametrize("wandb", ["init hangs"], indirect=True)
def test_finish_waits_longer_than_its_patience(tmp_path: Path, wandb: FakeWandb) -> None:
    said: list[str] = []
    mirror = WandbMirror(WandbConfig(), tmp_path, "id", {}, said.append, patience=0.3)
    began = time.monotonic()
    mirror.log({"step": 1})
    assert time.monotonic() - began < 0.2
    mirror.close()
    assert 0.25 < time.monotonic() - began < 1.5
    assert len(said) == 1
    assert {field.name: field.default for field in fields(WandbMirror)}["patience"] <= 5


@pytest.mark.slow
def test_real_offline_run_is_unreadable_or_holds_a_key(tmp_path: Path, tiny: Any) -> None:
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
