"""Run folders made of their files alone, with whatever losses a test wants."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

MakeRun = Callable[..., Path]
CURVE = (3.0, 2.0, 1.5)  # held-out, every 10 steps


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """make("a", seed=2, curve=[3, 2, 1.6], rope=True) -> a run folder; its last loss is over all held-out text."""

    def make(
        name: str,
        *,
        seed: int = 1,
        curve: Sequence[float] = CURVE,
        steps: int | None = None,
        second: float = 0.1,
        text: str = "t",
        vocabulary: str = "v",
        bits: float | None = None,
        sample: str = "ROMEO: ay",
        environment: dict[str, Any] | None = None,
        **model: Any,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        settings = {
            "system": {"seed": seed, "work_dir": None},
            "data": {"path": "t.txt", "val_fraction": 0.1, "block_size": 8},
            "model": {"rope": False, "pretrained_folder": None, **model},
            "trainer": {"max_iters": steps or 10 * len(curve), "eval_every": 10},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        lines = []
        for step in range(1, 10 * len(curve) + 1):
            line: dict[str, Any] = {"step": step, "tokens": 8 * step, "seconds": second * step}
            line["train_loss"] = curve[(step - 1) // 10] + 0.1
            if step % 10 == 0:
                part = "" if step == (steps or 10 * len(curve)) else "_part"
                loss = curve[step // 10 - 1]
                line |= {f"val_loss{part}": loss, f"bits_per_byte{part}": bits or loss / 0.6931471805599453}
            lines.append(line)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        told = {
            "text_sha256": text,
            "vocabulary_sha256": vocabulary,
            "device": "cpu",
            "threads": 2,
            "text": f"{text}.txt",
        }
        told |= {"packages": {"torch": "2.13"}, "model": {"parameters": 16044, "flops_per_token": 2.5e6}}
        (folder / "environment.json").write_text(json.dumps({**told, **(environment or {})}))
        (folder / "baselines.json").write_text('{"1-gram": 2.5, "2-gram": 1.8}')
        (folder / "samples.jsonl").write_text(json.dumps({"step": 30, "prompt": "ROMEO:", "text": sample}) + "\n")
        (folder / "timing.jsonl").write_text(json.dumps({"training": 3.0}) + "\n")
        return folder

    return make


@pytest.fixture
def costly(make_run: MakeRun) -> dict[str, list[Path]]:
    """Two variants of three seeds, 8 tokens a step: "dear" takes twice the FLOPs per token and ends lower."""

    def runs(name: str, end: float, flops: float | None, **model: Any) -> list[Path]:
        size = {"model": {"parameters": 7, **({} if flops is None else {"flops_per_token": flops})}}
        ends = [end + seed / 100 + (0.002 if seed == 2 else 0) for seed in (1, 2, 3)]
        return [
            make_run(f"{name}-{seed}", seed=seed, curve=[3.0, 2.0, last], environment=size, **model)
            for seed, last in enumerate(ends, start=1)
        ]

    return {"cheap": runs("cheap", 1.6, 1e6), "dear": runs("dear", 1.5, 2e6, rope=True)}


@pytest.fixture
def experiment_folder(make_run: MakeRun, tmp_path: Path) -> Path:
    """out/experiments/positions-quick, finished, in two stages; what it holds names this machine's folders."""
    folder = tmp_path / "out" / "experiments" / "positions-quick"
    for seed in (1, 2, 3):
        for variant, rope in (("rope", True), ("learned", False)):
            home = folder / "cells" / variant / f"seed-{seed}"
            text = {"text": f"{tmp_path}/out/t.txt"}
            first = make_run(str(home / "stage-1"), seed=seed, rope=rope, environment=text)
            curve = [2.5, 2.0, 1.6 + 0.01 * seed - 0.1 * rope]
            second = home / "stage-2"
            start = {"pretrained_folder": str(first), "rope": rope}
            make_run(str(second), seed=seed, curve=curve, environment=text, sample="a/b /c/d |*_", **start)
            (second / "checkpoints").mkdir()
            (second / "checkpoints" / "model.safetensors").write_bytes(b"0")
    stage = {"trainer.max_iters": 30, "model.n_layer": 2}
    record = {
        "name": "positions",
        "question": "RoPE | learned?",
        "hypothesis": "RoPE.",
        "quick": True,
        "seeds": 3,
        "arms": {"rope": [stage, stage], "learned": [stage, stage]},
        "measurements": ["far"],
        "tables": {"far": [{"variant": "rope", "loss at 16": 2.123456789}]},
        "answer": "Rotary wins.",
        "command": f"chargpt experiment run positions --quick --data={tmp_path}/t.txt",
        "text": {"path": f"{tmp_path}/t.txt"},
    }
    (folder / "record.json").write_text(json.dumps(record))
    (folder / "measurements.jsonl").write_text('{"measurement": "far", "times": 2, "loss": 2.123456789}\n')
    (folder / "text.txt").write_text("the text")
    (folder / "logs").mkdir()
    (folder / "report.html").write_text("old")
    return folder


@pytest.fixture
def runs(make_run: Any) -> list[Path]:
    return [
        make_run(
            f"{'rope' if rope else 'learned'}-{seed}",
            seed=seed,
            curve=[3, 2, 1.6 + 0.01 * seed - 0.1 * rope],
            rope=rope,
        )
        for seed in (1, 2, 3)
        for rope in (False, True)
    ]


@pytest.fixture
def six(make_run: Any) -> list[Path]:
    """Two variants of three seeds: rope ends 0.1 lower, give or take, and is twice as slow."""
    return [
        make_run(
            f"{'rope' if rope else 'learned'}-{seed}",
            seed=seed,
            curve=[3.0, 2.0, 1.6 + 0.01 * seed - (0.1 + 0.002 * seed) * rope],
            second=0.2 if rope else 0.1,
            rope=rope,
        )
        for seed in (1, 2, 3)
        for rope in (False, True)
    ]
