"""Samples of a run and its n-gram baselines: from which prompts, when, and what callbacks learn of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mingpt
from mingpt.core.errors import CheckpointError, UsageError
from mingpt.core.run_files.reading import read_json, read_lines, read_losses
from mingpt.runs import run
from mingpt.runs.config import Config

Tiny = Callable[..., Config]


def seen_by_callbacks(config: Config) -> list[dict[str, Any]]:
    """The records of a run as its last callback sees them."""
    records: list[dict[str, Any]] = []
    run.train(config, callbacks=[lambda trainer, record: records.append(record)])
    return records


def test_first_sample_comes_within_a_tenth_of_the_run(tiny: Tiny, tmp_path: Path) -> None:
    changes = {"trainer.sample_every": None, "trainer.max_iters": 20, "sample.prompts": ("a", "b"), "sample.tokens": 7}
    run.train(tiny(tmp_path, changes))
    samples = read_lines(tmp_path / "samples.jsonl")
    assert [(line["step"], line["prompt"]) for line in samples] == [
        *[(step, "a") for step in range(2, 20, 2)],
        *[(20, "a"), (20, "b")],
    ]
    assert {len(line["text"]) for line in samples} == {8}


def test_samples_before_the_last_step_are_shorter(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mingpt.runs.callbacks.FEWER_TOKENS", 3)
    run.train(tiny(tmp_path, {"trainer.sample_every": 6, "sample.prompts": ("a",)}))
    assert [len(line["text"]) for line in read_lines(tmp_path / "samples.jsonl")] == [4, 6]


def test_prompts_are_stored_and_a_resumed_run_keeps_them(tiny: Tiny, tmp_path: Path) -> None:
    often = {"trainer.schedule": "constant", "trainer.sample_every": 3}
    begun = run.train(tiny(tmp_path, {**often, "trainer.max_iters": 3}))
    prompts = begun.prompts()
    assert prompts == read_json(tmp_path / "environment.json")["prompts"]
    assert mingpt.load(tmp_path).prompts() == prompts
    assert "prompts: null" in (tmp_path / "config.yaml").read_text()  # so it begins a run on another text, too
    stored = read_json(tmp_path / "environment.json")
    (tmp_path / "environment.json").write_text(json.dumps({**stored, "prompts": ["c"]}))
    resumed = run.train(tiny(tmp_path, {**often, "trainer.max_iters": 6, "trainer.resume": True}))
    assert resumed.prompts() == ["c"]
    assert [line["prompt"] for line in read_lines(tmp_path / "samples.jsonl")] == [*prompts, "c"]
    (tmp_path / "environment.json").write_text(json.dumps({**stored, "prompts": [1]}))
    with pytest.raises(CheckpointError, match=r"environment.json: can't be read: prompts"):
        resumed.prompts()


def test_unusable_prompts_are_rejected_before_anything_is_written(tiny: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(UsageError, match=r"^sample.prompts='a\?': unknown"):
        run.train(tiny(folder, {"sample.prompts": ("a", "a?")}))
    with pytest.raises(UsageError, match=r"sample.prompts=.* has no effect with a model that sees the tokens"):
        run.train(tiny(folder, {"sample.prompts": ("a",), "model.mask": "full"}))
    assert not folder.exists()


def test_run_from_before_there_were_sample_settings_is_loaded(tiny: Tiny, tmp_path: Path) -> None:
    run.train(tiny(tmp_path, {"trainer.max_iters": 1}))
    config = (tmp_path / "config.yaml").read_text()
    start, rest = config.split("sample:\n")
    (tmp_path / "config.yaml").write_text(start + rest[rest.index("dist:") :])
    old = read_json(tmp_path / "environment.json")
    (tmp_path / "environment.json").write_text(json.dumps({k: v for k, v in old.items() if k != "prompts"}))
    loaded = mingpt.load(tmp_path)
    assert (loaded.prompts(), loaded.config.sample.tokens) == ([""], 300)


def test_callbacks_get_samples_and_baselines_that_metrics_do_not_hold(tiny: Tiny, tmp_path: Path) -> None:
    changes = {"trainer.eval_every": 5, "trainer.sample_every": 4, "sample.prompts": ("a",)}
    records = seen_by_callbacks(tiny(tmp_path, changes))
    assert [record["step"] for record in records if "baselines" in record] == [5]  # with the first evaluation
    assert records[4]["baselines"] == read_losses(tmp_path / "baselines.json")
    assert [record["step"] for record in records if "samples" in record] == [4, 8, 12]
    assert records[3]["samples"][0]["text"] == read_lines(tmp_path / "samples.jsonl")[0]["text"]
    for line in read_lines(tmp_path / "metrics.jsonl"):
        assert not {"baselines", "samples"} & line.keys()


def test_resumed_run_has_its_baselines_from_the_first_step_on(tiny: Tiny, tmp_path: Path) -> None:
    longer = {"trainer.schedule": "constant"}
    run.train(tiny(tmp_path, {**longer, "trainer.max_iters": 2}))
    (tmp_path / "baselines.json").write_text('{"1-gram": 2.5}')
    records = seen_by_callbacks(tiny(tmp_path, {**longer, "trainer.max_iters": 4, "trainer.resume": True}))
    assert records[0]["baselines"] == {"1-gram": 2.5}
    (tmp_path / "baselines.json").unlink()
    run.train(tiny(tmp_path, {**longer, "trainer.max_iters": 4, "trainer.resume": True}))  # no step is left
    assert len(read_losses(tmp_path / "baselines.json")) == 6
