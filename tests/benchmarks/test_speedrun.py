"""`bench speedrun`: both are judged alike, and a ratio of seconds is taken only where the same loss was reached."""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mingpt.benchmarks import BENCHMARKS, speedrun, speedrun_worker
from mingpt.core.config_cli import Flags
from mingpt.core.errors import UsageError
from mingpt.data.dataset import prepare
from mingpt.runs import config as settings
from mingpt.runs import run as runs
from mingpt.runs.config import Config

# A bigram model under nanoGPT's names; LEAK adds what stands behind the predicted token.
CLONE = """
import torch
from types import SimpleNamespace as GPTConfig
import torch.nn.functional as F
class GPT(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        print("number of parameters: 0.00M")
        self.table = torch.nn.Embedding(config.vocab_size, config.vocab_size)
        self.steps = []
    def configure_optimizers(self, weight_decay, learning_rate, betas, device_type):
        model = self
        class Noting(torch.optim.AdamW):
            def step(self):
                group = self.param_groups[0]
                norm = model.table.weight.grad.norm().item()
                model.steps.append((group["lr"], group["betas"], group["weight_decay"], norm))
                super().step()
        return Noting(self.parameters(), lr=learning_rate, betas=betas, weight_decay=weight_decay)
    def forward(self, idx, targets=None):
        assert idx.shape[1] <= 64
        logits = self.table(idx)
        if LEAK: logits = logits + self.table(idx).flip(1)
        if targets is None: return logits[:, [-1]], None
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))
"""
TINY = """
data: {block_size: 96}
model: {n_layer: 1, n_query_head: 1, n_embd: 8, rope: true}
trainer: {max_iters: 2, batch_size: 2}
"""


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text("".join("abcd e\n"[i * i % 7] + "xyz"[i % 3] for i in range(2000)), encoding="utf-8")
    return str(path)


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(TINY, encoding="utf-8")
    return str(path)


def clone(folder: Path, leak: bool = False, after: str = "") -> str:
    folder.mkdir()
    (folder / "model.py").write_text(f"LEAK = {leak}\n{CLONE}{after}", encoding="utf-8")
    return str(folder)


def parsed(*words: str) -> speedrun.Options:
    options: speedrun.Options = Flags("speedrun", "", {"": BENCHMARKS["speedrun"].options}).parse(words)[""]
    return options


def peer_asked(path: str, text: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(speedrun_worker, "STEPS", 3)
    monkeypatch.setattr(speedrun_worker, "WARMUP", 1)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "model", None)  # so that what is imported under this name goes again
    del sys.modules["model"]
    data = settings.parse([f"--data.path={text}"]).data
    threads = torch.get_num_threads()
    return {"path": path, "seed": 1, "threads": threads, "data": speedrun_worker.data_settings(data)}


def test_peers_loss_has_every_target_once(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[speedrun_worker.Guest] = []
    real = speedrun_worker.Guest
    monkeypatch.setattr(speedrun_worker, "Guest", lambda *words: made.append(real(*words)) or made[-1])
    outcome = speedrun_worker.nanogpt(peer_asked(clone(tmp_path / "clone"), text, monkeypatch))
    corpus = prepare(settings.parse([f"--data.path={text}", "--data.block_size=64"]).data)
    ids = torch.from_numpy(corpus.data.validation.astype(np.int64))
    assert (len(ids) - 1) % 64  # so that a short last block is there
    weight = made[0].model.table.weight.detach()  # type: ignore[union-attr]
    by_hand = F.cross_entropy(weight[ids[:-1]].double(), ids[1:]).item()  # a bigram model needs no blocks
    assert outcome["loss"] == pytest.approx(by_hand, abs=1e-5)
    assert (outcome["steps"], outcome["seconds"] > 0) == (3, True)


def test_peer_trains_with_the_settings_of_its_recipe(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[speedrun_worker.Guest] = []
    real = speedrun_worker.Guest
    monkeypatch.setattr(speedrun_worker, "Guest", lambda *words: made.append(real(*words)) or made[-1])
    asked = peer_asked(clone(tmp_path / "clone"), text, monkeypatch)
    monkeypatch.setattr(speedrun_worker, "CLIP", 1e-3)  # below every gradient here
    speedrun_worker.nanogpt(asked)
    steps: Any = made[0].model.steps
    assert [step[0] for step in steps] == [speedrun_worker.learning_rate(step) for step in range(3)]
    assert {step[1:3] for step in steps} == {((0.9, 0.99), 0.1)}
    assert [step[3] for step in steps] == pytest.approx([1e-3] * 3, rel=1e-2)


def test_peer_that_sees_what_it_predicts_has_no_loss(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = peer_asked(clone(tmp_path / "clone", leak=True), text, monkeypatch)
    with pytest.raises(UsageError, match="sees what it predicts"):
        speedrun_worker.nanogpt(asked)


def test_learning_rate_is_nanogpts() -> None:
    rates = [speedrun_worker.learning_rate(step) for step in (0, 99, 100, 1050, 2000)]
    assert rates == pytest.approx([1e-3 / 101, 1e-1 / 101, 1e-3, 5.5e-4, 1e-4])


def test_random_blocks_reach_all_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speedrun_worker, "BATCH", 500)
    torch.manual_seed(0)
    inputs, targets = speedrun_worker.random_blocks(np.arange(70, dtype=np.uint8))
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert set(inputs[:, 0].tolist()) == set(range(6))
    assert set(targets[:, -1].tolist()) == set(range(64, 70))


@pytest.mark.full
def test_ours_is_evaluated_in_blocks_of_the_same_length(tmp_path: Path, text: str, recipe: str) -> None:
    words = [f"--config={recipe}", f"--data.path={text}", f"--system.work_dir={tmp_path / 'run'}"]
    config = tmp_path / "config.yaml"
    config.write_text(settings.parse([*words, "--wandb.mode=disabled", "--trainer.device=cpu"]).to_yaml())
    outcome = speedrun_worker.ours({"config": str(config)})
    result = runs.load(tmp_path / "run", device="cpu")
    record = result.last_record()
    corpus = prepare(result.config.data)
    ids = torch.from_numpy(corpus.data.validation.astype(np.int64))
    with torch.no_grad():
        blocks = [ids[at : at + 65] for at in range(0, len(ids) - 1, 64)]
        nats = [F.cross_entropy(result.model(x[None, :-1]).logits[0], x[1:], reduction="sum").item() for x in blocks]
    assert outcome["loss"] == pytest.approx(sum(nats) / (len(ids) - 1), abs=1e-5)
    assert abs(outcome["loss"] - record["val_loss"]) > 1e-6  # which is of blocks of 96
    assert (outcome["seconds"], outcome["steps"]) == (record["seconds"], 2)


@pytest.mark.full
def test_seconds_of_compiling_are_charged_and_no_others(
    tmp_path: Path, text: str, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(forward: Any, *others: Any) -> Any:
        time.sleep(0.5)
        return forward, None

    def slowly(*words: Any, **named: Any) -> Any:
        time.sleep(1.0)
        return real(*words, **named)

    real = speedrun_worker.run.train
    monkeypatch.setattr(speedrun_worker.run, "train", slowly)
    monkeypatch.setattr("mingpt.trainer.compile_or_fall_back", compiled)
    words = [f"--config={recipe}", f"--data.path={text}", f"--system.work_dir={tmp_path / 'run'}"]
    config = tmp_path / "config.yaml"
    config.write_text(settings.parse([*words, "--trainer.compile=always", "--trainer.device=cpu"]).to_yaml())
    outcome = speedrun_worker.ours({"config": str(config)})
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert outcome["seconds"] == pytest.approx(0.7 + json.loads(metrics[-1])["seconds"], abs=0.21)


def test_ratio_is_of_all_rounds(
    tmp_path: Path, text: str, recipe: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ends = {"ours": [(1.9, 10.0), (2.1, 1.0), (1.8, 5.0)], "nanogpt": [(1.9, 100.0), (2.0, 100.0), (2.0, 100.0)]}
    order: list[str] = []

    def enter(kind: str, ask: dict[str, Any]) -> dict[str, float]:
        order.append(kind)
        loss, seconds = ends[kind][(len(order) - 1) // 2]
        return {"loss": loss, "seconds": seconds, "steps": 7}

    monkeypatch.setattr(speedrun, "enter", enter)
    words = (f"--recipe={recipe}", f"--data={text}", f"--peers=nanogpt={clone(tmp_path / 'clone')}")
    result = speedrun.run(parsed("--seeds=3", *words))
    json.dumps(result)
    assert order == ["ours", "nanogpt", "nanogpt", "ours", "ours", "nanogpt"]
    row = result["rows"]["nanogpt"]
    assert (row["reached"], row["missed"], row["ratio"]) == (2, 1, {"median": 10.0, "q1": 5.0, "q3": 15.0})
    assert any("in 2 of 3; 1 did not" in line for line in caplog.messages)
    assert any("7 steps" in line for line in caplog.messages)
    ends["ours"] = [(3.0, 1.0)] * 3
    order.clear()
    row = speedrun.run(parsed("--seeds=3", *words))["rows"]["nanogpt"]
    assert (row["reached"], row["missed"], row["ratio"]) == (0, 3, dict.fromkeys(("median", "q1", "q3"), 0.0))


@pytest.mark.full
def test_run_in_a_process_of_its_own_has_its_seed_and_ends(
    tmp_path: Path, text: str, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Config] = []
    real = speedrun.enter

    def enter(kind: str, ask: dict[str, Any]) -> dict[str, float]:
        seen.append(settings.read(Path(ask["config"])))
        return real(kind, ask)

    monkeypatch.setattr(speedrun, "enter", enter)
    result = speedrun.run(parsed("--seeds=1", f"--recipe={recipe}", f"--data={text}", "--threads=1"))
    system = seen[0].system
    assert (system.seed, system.threads, seen[0].wandb.mode, seen[0].trainer.device) == (0, 1, "disabled", "cpu")
    assert system.work_dir
    assert not Path(system.work_dir).exists()
    assert list(result["rows"]) == ["ours"]
    assert math.isfinite(result["rounds"][0]["ours"]["loss"])


@pytest.mark.full
def test_failing_peer_is_one_line(tmp_path: Path, text: str) -> None:
    broken = clone(tmp_path / "clone", after="raise RuntimeError('no such thing')")
    asked = {"path": broken, "seed": 0, "threads": 1, "data": speedrun_worker.data_settings(settings.parse([]).data)}
    asked["data"]["path"] = text
    with pytest.raises(UsageError, match=r"^nanogpt: RuntimeError: no such thing$"):
        speedrun.enter("nanogpt", asked)


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        ("data: {block_size: 32}", "data.block_size=32: must be at least 64"),
        ("data: {val_fraction: 0.5}", "data.val_fraction=0.5: must be 0.1"),
        ("model: {pretrained_folder: out/run}", "model.pretrained_folder=out/run: must not be set"),
        ("trainer: {resume: true}", "trainer.resume=True: must not be set"),
        ("trainer: {device: cuda}", "trainer.device=cuda: must be cpu"),
    ],
)
def test_losses_of_different_things_are_not_compared(tmp_path: Path, line: str, refusal: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(UsageError, match="must") as refused:
        speedrun.our_config(parsed(f"--recipe={path}", "--data=x"))
    assert refusal in str(refused.value)


def test_recipes_are_settings_and_the_ones_raced() -> None:
    config = settings.read(settings.PRESETS["nanogpt-cpu"])
    model, trainer, sizes = config.model, config.trainer, speedrun_worker.SIZES
    assert (model.n_layer, model.n_query_head, model.n_embd) == (sizes["n_layer"], sizes["n_head"], sizes["n_embd"])
    assert (model.bias, model.embd_pdrop, config.data.block_size) == (
        sizes["bias"],
        sizes["dropout"],
        speedrun_worker.BLOCK,
    )
    assert (trainer.max_iters, trainer.batch_size) == (speedrun_worker.STEPS, speedrun_worker.BATCH)
    assert (trainer.learning_rate, trainer.warmup_iters) == (speedrun_worker.PEAK, speedrun_worker.WARMUP)
    assert trainer.final_rate * trainer.learning_rate == pytest.approx(speedrun_worker.FLOOR)
    assert (trainer.betas, trainer.weight_decay) == (speedrun_worker.BETAS, speedrun_worker.WEIGHT_DECAY)
    assert trainer.grad_norm_clip == speedrun_worker.CLIP
    speedrun.our_config(parsed(f"--recipe={settings.PRESETS['speedrun']}"))
