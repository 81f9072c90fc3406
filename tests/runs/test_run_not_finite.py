"""A loss or a gradient that is no number ends a run before it can spoil a weight."""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from mingpt.cli import main
from mingpt.core.atomic_io import sha256
from mingpt.core.errors import NotFiniteError, UsageError
from mingpt.core.run_files.reading import read_lines
from mingpt.runs import checkpoint, run


def spoil_loss(model: torch.nn.Module, value: float) -> None:
    def spoiled(module: torch.nn.Module, inputs: Any, output: Any) -> Any:
        return output if output.loss is None else output._replace(loss=output.loss * value)

    model.register_forward_hook(spoiled)


def spoil_gradient(model: torch.nn.Module, value: float) -> None:
    def spoiled(gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.clone()
        gradient[1, 2] = value
        return gradient

    model.blocks[0].attention.out_proj.weight.register_hook(spoiled)  # type: ignore[index,union-attr]


def digest(tensors: dict[str, torch.Tensor]) -> str:
    return sha256(safetensors.torch.save({name: tensor.detach().contiguous() for name, tensor in tensors.items()}))


@pytest.mark.parametrize("spoil", [spoil_loss, spoil_gradient])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("clip", [1.0, 0.0])
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.thin(4)
def test_number_that_is_not_finite_reaches_neither_weights_nor_checkpoint(
    tmp_path: Path, tiny: Any, trace: Any, spoil: Any, value: float, clip: float, optimizer: str
) -> None:
    seen: dict[str, Any] = {}

    def after_step(trainer: Any, record: dict[str, Any]) -> None:
        if record["step"] == 5:
            seen.update(trainer=trainer, saved=trace(tmp_path)["newest"])
            seen.update(before=(digest(trainer.model.state_dict()), digest(trainer.optimizer_tensors())))
            seen.update(checkpoint=trace(tmp_path)["weights"])
            spoil(trainer.model, value)

    changes = {"trainer.save_every": 2, "trainer.grad_norm_clip": clip, "trainer.optimizer": optimizer}
    with pytest.raises(NotFiniteError) as stopped:
        run.train(tiny(tmp_path, changes), callbacks=[after_step])
    message, trainer = str(stopped.value), seen["trainer"]
    assert stopped.value.exit_code == 5
    for part in ("step 6", "loss ", "gradient norm ", "learning rate "):
        assert part in message
    assert "nan" in message or "inf" in message
    assert "\n" not in message
    assert (digest(trainer.model.state_dict()), digest(trainer.optimizer_tensors())) == seen["before"]
    assert trainer.progress.step == 5
    assert (trace(tmp_path)["newest"], trace(tmp_path)["weights"]) == ("step_000004", seen["checkpoint"])
    assert [record["step"] for record in read_lines(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5]


def strict(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize("rate", [1e6, 1e20, 1e38, 1e200])
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("steps", [1, 8])
@pytest.mark.thin(4)
def test_absurd_learning_rate_ends_in_one_line_and_whole_checkpoints(
    tmp_path: Path, tiny: Any, rate: float, optimizer: str, steps: int
) -> None:
    changes = {"trainer.max_iters": steps, "trainer.optimizer": optimizer, "trainer.schedule": "constant"}
    changes |= {"trainer.warmup_iters": 0, "trainer.save_every": 1, "trainer.eval_every": 2}
    rates = {"trainer.learning_rate": rate} | ({"trainer.matrix_learning_rate": rate} if optimizer == "muon" else {})
    allowed = (NotFiniteError, UsageError) if rate > 1e38 else NotFiniteError  # no float32 holds such a rate
    with contextlib.suppress(allowed):
        run.train(tiny(tmp_path, {**changes, **rates}))
    for step in checkpoint.steps(tmp_path):
        saved = checkpoint.read(tmp_path / "checkpoints" / f"step_{step:06d}")
        for name, tensor in {**saved.model, **saved.optimizer}.items():
            assert tensor.isfinite().all(), (step, name)
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=strict)


def test_command_ends_with_code_5(
    tmp_path: Path, text_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run.build

    def build(*args: Any) -> Any:
        model = real(*args)
        spoil_loss(model, math.nan)
        return model

    monkeypatch.setattr(run, "build", build)
    small = ["--model.n_layer=1", "--model.n_embd=8", "--data.block_size=8", "--wandb.mode=disabled"]
    assert main.main([*small, f"--system.work_dir={tmp_path / 'run'}", f"--data.path={text_file}"]) == 5
    error = capsys.readouterr().err
    assert error.startswith("error: step 1: loss nan")
    assert error.count("\n") == 1
