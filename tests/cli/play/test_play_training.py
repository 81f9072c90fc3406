"""The page starts, follows, stops and resumes an ordinary training; one that was killed shows as stopped."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mingpt.core.atomic_io import holder, locked
from mingpt.runs import config

TINY = {
    "model.n_layer": 1,
    "model.n_embd": 16,
    "data.block_size": 8,
    "trainer.max_iters": 100_000,
    "trainer.batch_size": 2,
    "trainer.eval_every": 50,
    "trainer.eval_tokens": 64,
    "trainer.save_every": 50,
    "trainer.sample_every": 50,
    "trainer.compile": "never",
    "sample.tokens": 5,
    "system.threads": 1,
    "wandb.mode": "disabled",
}


@pytest.fixture
def trainer(serve: Any, tmp_path: Path) -> Iterator[Any]:
    """A page that may train, below an empty root; what it started is ended afterwards."""
    root = tmp_path / "out"
    root.mkdir()
    with serve(root, train=True) as found:
        yield found
        for run in found.play.catalogue.names():
            process = holder(root / run)
            if process:
                os.kill(process, signal.SIGKILL)


def status(client: Any, name: str) -> str:
    return next(each["status"] for each in client.get("runs").json if each["name"] == name)


def until(client: Any, name: str, wanted: str) -> None:
    end = time.monotonic() + 60
    while status(client, name) != wanted:
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.full
@pytest.mark.parametrize(("name", "score"), [("masked", "pseudo"), ("gpt", "val_loss")])
def test_followed_run_says_what_its_evaluations_are(client: Any, name: str, score: str) -> None:
    with client.stream("GET", f"follow?name={name}") as events:
        found = next(data for kind, data in events if kind == "status")
    assert [key for key in ("pseudo", "val_loss") if found[key] is not None] == [score]


@pytest.mark.full
def test_run_is_started_followed_killed_resumed_and_stopped(trainer: Any, text_file: Path) -> None:
    name = trainer.post("train", settings={**TINY, "data.path": str(text_file)}).json["name"]
    assert name == "chargpt"
    folder = trainer.play.catalogue.root / name
    seen: dict[str, Any] = {}
    with trainer.stream("GET", f"follow?name={name}") as events:
        for kind, data in events:
            seen[kind] = data
            if kind == "status":
                assert data["status"] == "running"
            if {"metrics", "baselines", "sample", "status"} <= seen.keys() and data.get("left_seconds"):
                break
    assert seen["baselines"].keys() >= {"1-gram", "2-gram"}
    assert seen["status"]["max_iters"] == 100_000
    assert seen["sample"]["text"]
    assert trainer.post("resume", name=name).error == "chargpt: is training already"

    process = holder(folder)
    assert process
    os.kill(process, signal.SIGKILL)  # from outside
    until(trainer, name, "stopped")
    assert trainer.post("stop", name=name).error == "chargpt: is not training"
    before = trainer.get("curve", name=name).json["steps"][-1]

    assert trainer.post("resume", name=name).json == {"name": name}
    assert status(trainer, name) == "running"
    with trainer.stream("GET", f"follow?name={name}") as events:
        assert any(kind == "status" and data["step"] > before + 10 for kind, data in events)
    assert trainer.post("stop", name=name).json == {"name": name}
    until(trainer, name, "stopped")
    assert (folder / "output.log").read_text().count("stopped by SIGTERM") == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model.n_lyer": 3}, "--model.n_lyer: there is no such setting (did you mean 'model.n_layer'?)"),
        ({"trainer.max_iters": "many"}, "trainer.max_iters=many: must be a whole number"),
        ({"model.n_embd": 30, "model.n_query_head": 4}, "must be a multiple of model.n_query_head=4"),
        ({"system.work_dir": "../elsewhere"}, "must be the path of a run below"),
        ({"system.work_dir": "/tmp/elsewhere"}, "must be the path of a run below"),
        ({"trainer.resume": True}, "has a request of its own"),
        ({"data.path": "-"}, "has no standard input"),
        ({"config": "/etc/passwd"}, "--config=/etc/passwd: there is no such setting"),
        ({"help": ""}, "--help=: there is no such setting"),
        ({"print_config": True}, "there is no such setting"),
        ({"model.n_layer=2 --help": 3}, "there is no such setting"),
        ({"model.type": "gtp"}, "did you mean 'gpt'?"),
    ],
    ids=str,
)
def test_wrong_setting_is_rejected_as_by_the_command(trainer: Any, given: Any, said: str) -> None:
    found = trainer.post("train", settings=given)
    assert found.status in (400, 404)
    assert said in found.error
    assert [*trainer.play.catalogue.root.iterdir()] == []


@pytest.mark.full
def test_training_that_can_not_begin_leaves_its_error_and_nothing_else(trainer: Any, tmp_path: Path) -> None:
    found = trainer.post("train", settings={**TINY, "data.path": str(tmp_path / "missing.txt")})
    assert "missing.txt" in found.error
    assert [*trainer.play.catalogue.root.iterdir()] == []


@pytest.mark.parametrize(
    ("path", "body"),
    [("train", {"settings": {}}), ("stop", {"name": "gpt"}), ("resume", {"name": "gpt"})],
)
def test_page_reads_only_unless_it_may_train(client: Any, root: Path, path: str, body: Any) -> None:
    before = sorted(root.rglob("*"))
    found = client.post(path, **body)
    assert (found.status, found.error) == (403, "this page only reads; start it with `chargpt play --train=True`")
    assert sorted(root.rglob("*")) == before
    assert client.get("state").json["train"] is False


def test_form_has_every_setting_of_help_with_its_default(client: Any, chargpt: Any) -> None:
    for family in ("gpt", "rnn", "ngram"):
        fields = {each["name"]: each for each in client.get("settings", family=family).json}
        usage = chargpt(f"--model.type={family}", "--help").out
        listed = {word.partition("=")[0].split()[0].removeprefix("--") for word in usage.split("\n  --")[1:]}
        assert {key for key in listed if "." in key} - fields.keys() == {
            "trainer.resume",
            "trainer.resume_changed",
        } & listed
        own = config.parse([f"--model.type={family}"]).flat()
        assert {key: each["default"] for key, each in fields.items()} == {key: own[key] for key in fields}
    assert fields["model.type"]["choices"] == ["gpt", "rnn", "birnn", "ngram"]
    assert fields["model.order"]["type"] == "int"
    assert (fields["model.type"]["type"], fields["data.tokenizer"]["type"]) == ("choice", "str")
    assert fields["data.tokenizer"]["choices"] == ["char", "byte", "bpe"]
    assert "did you mean 'gpt'" in client.get("settings", family="gtp").error


def test_run_of_a_terminal_shows_as_running_while_it_is_locked(client: Any, root: Path) -> None:
    with locked(root / "gpt"):
        assert status(client, "gpt") == "running"
        assert holder(root / "gpt") in (os.getpid(), 0)
    assert status(client, "gpt") == "finished"
    assert holder(root / "gpt") is None


@pytest.mark.full
def test_metrics_are_followed_as_they_grow_and_when_they_are_replaced(serve: Any, root: Path, tmp_path: Path) -> None:
    run = tmp_path / "out/copy"
    shutil.copytree(root / "gpt", run)
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:1]) + lines[1][:20])
    with serve(tmp_path / "out") as client, client.stream("GET", "follow?name=copy") as events:
        kind, data = next(events)
        assert (kind, [row[0] for row in data["rows"]], data["replace"]) == ("metrics", [1], True)
        with open(run / "metrics.jsonl", "a") as file:
            file.write(lines[1][20:])
        kind, data = next(each for each in events if each[0] == "metrics")
        assert ([row[0] for row in data["rows"]], data["replace"]) == ([2], False)
        os.replace(shutil.copy(root / "gpt/metrics.jsonl", tmp_path / "new"), run / "metrics.jsonl")
        kind, data = next(each for each in events if each[0] == "metrics")
        assert ([row[0] for row in data["rows"]], data["replace"]) == ([1, 2, 3], True)
        (run / "metrics.jsonl").write_text("{}\n" * 100)
        assert next(each for each in events if each[0] == "error")[1]["error"].endswith("step is missing")


def test_imported_run_has_nothing_left_to_train(serve: Any, root: Path, tmp_path: Path) -> None:
    run = tmp_path / "out/copy"
    shutil.copytree(root / "gpt", run)
    (run / "metrics.jsonl").unlink()
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps({**environment, "imported": "elsewhere"}))
    with serve(tmp_path / "out") as client:
        (found,) = client.get("runs").json
        assert (found["status"], found["step"], found["max_iters"]) == ("finished", 0, 0)
