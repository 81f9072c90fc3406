"""A model that counts, in a run of its own: one step, the same folder, the same verbs."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from mingpt.core.atomic_io import sha256
from mingpt.core.errors import CheckpointError, UsageError
from mingpt.core.run_files.reading import read_lines
from mingpt.core.token_ids import Ids
from mingpt.data.splits import split
from mingpt.inference.evaluate import validation_loss
from mingpt.report import loss_plot
from mingpt.runs import checkpoint, run
from mingpt.runs import config as settings
from mingpt.runs.config import Config
from mingpt.runs.trained_run import Run
from mingpt.training.trainer_config import TrainerConfig

DRAW = loss_plot.draw  # the fixtures of this folder put something quicker in its place
Make = Callable[..., Config]


@pytest.fixture(scope="module")
def ngram(text_file: Path) -> Make:
    """`ngram(folder, "--model.order=2")`: the configuration of a run that counts."""

    def make(folder: Path, *flags: str) -> Config:
        here = f"--system.work_dir={folder}"
        plain = ["--model.type=ngram", "--model.order=4", "--data.block_size=8", "--trainer.device=cpu"]
        return settings.parse([f"--data.path={text_file}", here, "--wandb.mode=disabled", *plain, *flags])

    return make


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, ngram: Make) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_plot, "draw", DRAW)
        return run.train(ngram(tmp_path_factory.mktemp("ngram") / "run"))


def test_every_promised_file_is_there(finished: Run) -> None:
    names = {"config.yaml", "environment.json", "metrics.jsonl", "samples.jsonl", "baselines.json", "loss.png"}
    assert {path.name for path in finished.folder.iterdir()} == names | {"timing.jsonl", "checkpoints", ".lock"}
    assert checkpoint.steps(finished.folder) == [1]
    assert checkpoint.newest(finished.folder).optimizer == {}
    assert (finished.folder / "loss.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_record_is_that_of_one_step(finished: Run, text_file: Path) -> None:
    (record,) = read_lines(finished.folder / "metrics.jsonl")
    always = {"step", "tokens", "seconds", "cpu_seconds", "wall_seconds", "train_loss", "tokens_per_second"}
    assert record.keys() == always | {"val_loss", "bits_per_byte"}
    assert (record["step"], record["tokens"]) == (1, int(0.9 * len(text_file.read_text())))
    assert record["wall_seconds"] >= record["seconds"] > 0
    assert 0 < record["train_loss"] < record["val_loss"]
    samples = read_lines(finished.folder / "samples.jsonl")
    assert [(line["step"], line["prompt"]) for line in samples] == [(1, prompt) for prompt in finished.prompts()]


def test_loss_on_record_is_the_models(finished: Run) -> None:
    judged = finished.evaluate()
    assert (judged.nats, judged.bits_per_byte) == tuple(
        finished.last_record()[n] for n in ("val_loss", "bits_per_byte")
    )


@pytest.mark.parametrize(("order", "block_size"), [(4, 8), (6, 8), (4, 13), (1, 1), (3, 2)])
@pytest.mark.thin(1)
def test_ngram_run_is_the_line_that_it_is_itself(tmp_path: Path, ngram: Make, order: int, block_size: int) -> None:
    """The lines are judged by the rules of every model: else one could beat them by looking further back."""
    done = run.train(ngram(tmp_path / "run", f"--model.order={order}", f"--data.block_size={block_size}"))
    exact = validation_loss(done.model.double(), held_out(done), done.tokenizer)
    assert exact.nats == pytest.approx(done.baselines()[f"{order}-gram"], rel=1e-12)
    assert done.last_record()["val_loss"] == pytest.approx(exact.nats, rel=1e-6)  # float32 logits


def held_out(done: Run) -> Ids:
    text, data = Path(done.config.data.path).read_text(encoding="utf-8"), done.config.data
    return split(text, done.tokenizer, block_size=data.block_size, val_fraction=data.val_fraction).validation


def test_loaded_run_is_the_one_that_was_trained(finished: Run) -> None:
    loaded = run.load(finished.folder, device="cpu")
    assert loaded.progress == finished.progress
    assert loaded.evaluate() == finished.evaluate()
    assert loaded.generate("abc", 50, seed=3) == finished.generate("abc", 50, seed=3)
    assert loaded.generate("abc", 50, seed=4) != finished.generate("abc", 50, seed=3)
    assert settings.read(finished.folder / "config.yaml").of_model(finished.model.config).model == finished.config.model


@pytest.mark.full
def test_resumed_ngram_run_is_finished_and_says_so(
    tmp_path: Path, ngram: Make, caplog: pytest.LogCaptureFixture
) -> None:
    run.train(ngram(tmp_path / "run"))
    weights = tmp_path / "run" / "checkpoints" / "step_000001" / "model.safetensors"
    before = sha256(weights.read_bytes())
    again = run.train(ngram(tmp_path / "run", "--trainer.resume=True"))
    assert "NGram: nothing left to do: the run has made all its steps (1)" in caplog.messages
    assert sha256(weights.read_bytes()) == before
    assert len(read_lines(tmp_path / "run" / "metrics.jsonl")) == 1
    assert again.evaluate().nats == again.last_record()["val_loss"]


@pytest.mark.full
def test_second_ngram_run_learns_the_same(tmp_path: Path, ngram: Make, finished: Run) -> None:
    again = run.train(ngram(tmp_path / "run"))
    assert again.last_record()["train_loss"] == finished.last_record()["train_loss"]
    tables = [each.model.state_dict() for each in (again, finished)]
    assert all(torch.equal(table, tables[1][name]) for name, table in tables[0].items())
    samples = [(each.folder / "samples.jsonl").read_bytes() for each in (again, finished)]
    assert samples[0] == samples[1]


@pytest.mark.full
def test_summary_of_an_ngram_run_promises_no_gradients(
    tmp_path: Path, ngram: Make, caplog: pytest.LogCaptureFixture
) -> None:
    run.train(ngram(tmp_path / "run"))
    assert caplog.messages == [f"run folder: {tmp_path / 'run'}", "NGram: counts the training text in one step on cpu"]


@pytest.mark.full
def test_signal_during_the_only_step_keeps_it(tmp_path: Path, ngram: Make) -> None:
    done = run.train(ngram(tmp_path / "run"), callbacks=[lambda trainer, record: trainer.stop("SIGINT")])
    assert done.stopped is None
    assert checkpoint.steps(tmp_path / "run") == [1]


@pytest.mark.parametrize("name", ["eval_every", "sample_every", "save_every"])
def test_numbers_of_steps_hold_for_the_only_one(tmp_path: Path, ngram: Make, name: str) -> None:
    """As the last step is always evaluated, sampled and saved."""
    assert ngram(tmp_path, f"--trainer.{name}=300").trainer.max_iters == 1


def test_settings_of_gradients_are_rejected(tmp_path: Path, ngram: Make) -> None:
    config = ngram(tmp_path)
    with pytest.raises(UsageError, match=r"trainer=TrainerConfig: must be NGramTrainerConfig with model\.type=ngram"):
        replace(config, trainer=TrainerConfig(device="cpu"))
    for name in {field.name for field in fields(TrainerConfig)} - {field.name for field in fields(config.trainer)}:
        with pytest.raises(
            UsageError, match=rf"--trainer\.{name}: no setting of model\.type=ngram; it belongs to gpt, rnn"
        ):
            ngram(tmp_path, f"--trainer.{name}=1")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--model.pretrained_folder=there", r"model\.pretrained_folder: no setting of model\.type=ngram"),
        (
            "--data.stateful=True",
            r"data\.stateful=True: needs a model with a recurrent state, which model\.type=ngram has not",
        ),
        ("--model.n_layer=2", r"model\.n_layer: no setting of model\.type=ngram"),
    ],
)
def test_setting_of_other_families_is_rejected(tmp_path: Path, ngram: Make, flag: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ngram(tmp_path, flag)


@pytest.mark.full
def test_checkpoint_of_another_order_is_rejected(tmp_path: Path, ngram: Make) -> None:
    run.train(ngram(tmp_path / "run"))
    flags = ("--model.order=3", "--trainer.resume=True", "--trainer.resume_changed=True")
    with pytest.raises(CheckpointError, match=r"another model: model\.order is 4 there and 3 here"):
        run.train(ngram(tmp_path / "run", *flags))
