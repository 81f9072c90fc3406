"""A run from its settings to its folder, and from its folder back to a model that writes.

out/chargpt/
    config.yaml        every setting; `--config` takes it back
    environment.json   versions, device, threads, commit, sha256 of text and vocabulary
    metrics.jsonl      one object per step, the record of truth
    samples.jsonl      text drawn at fixed prompts and seeds
    baselines.json     n-gram losses of this text
    loss.png           the curve against them
    checkpoints/       step_000600/ ...
    wandb/             the mirror of metrics.jsonl
"""

import dataclasses
import itertools
import json
import secrets
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mingpt import checkpoint, fitting, runlog, settings
from mingpt.errors import CheckpointError, DataError, UsageError
from mingpt.evaluate import HeldOutLoss, held_out_loss
from mingpt.events import Judge, Log, Sampler, Saver
from mingpt.files import locked, sha256, write_atomic
from mingpt.generate import Sampling, stream, write
from mingpt.interrupt import stop_on_signals
from mingpt.lm import LanguageModel, ModelConfig
from mingpt.ngram import additive_losses
from mingpt.probe import USUAL_SHARE, expected_memory, matrix_rate
from mingpt.report import curve
from mingpt.settings import Config
from mingpt.text import tokenizers
from mingpt.text.batches import Batches, Split, split
from mingpt.text.corpora import Text, read_text
from mingpt.text.tokenizers import TOKENIZERS, Tokenizer
from mingpt.trainer import Event, Progress, Trainer
from mingpt.utils import derived_seed, pick_device
from mingpt.zoo import build

Say = Callable[[str], None]
HOME = Path("out")
DEFAULT_NAME = "chargpt"


def silent(line: str) -> None:
    """Where nobody listens."""


@dataclass
class Run:
    """A trained model with all that belongs to it."""

    folder: Path
    config: Config
    model: LanguageModel
    tokenizer: Tokenizer
    progress: Progress
    stopped: str | None = None  # the signal that ended training early

    def generate(self, prompt: str = "", max_new_tokens: int = 200, **sampling: Any) -> str:
        """The prompt and `max_new_tokens` tokens after it.

        Args:
            sampling: fields of `Sampling`: temperature, top_k, top_p, seed.

        Raises:
            UsageError: a character outside the vocabulary, a broken rule of sampling, a model that can't write.
        """
        return write(self.model, self.tokenizer, prompt, max_new_tokens, Sampling(**sampling))

    def stream(self, prompt: str, max_new_tokens: int, sampling: Sampling) -> Any:
        """What follows the prompt, token by token."""
        return stream(self.model, self.tokenizer, prompt, max_new_tokens, sampling)

    def evaluate(self, path: str | None = None, say: Say = silent) -> HeldOutLoss:
        """Loss on the run's own held-out text, or on all of the file at `path`."""
        data = self.config.data
        text = read_text(data.path if path is None else path, say)
        try:
            ids = self.tokenizer.encode(text.content)
        except UsageError as unknown:
            raise UsageError(f"{text.source}: {unknown}") from None
        if path is None:
            ids = split(ids, block_size=data.block_size, val_fraction=data.val_fraction).held_out
        if len(ids) < 2:
            raise DataError(f"{text.source}: one token has no next one to predict; at least 2 are needed")
        return held_out_loss(self.model, ids, self.tokenizer)

    def last_record(self) -> runlog.Record:
        """The last line of metrics.jsonl."""
        return runlog.read_lines(self.folder / "metrics.jsonl")[-1]

    def baselines(self) -> dict[str, float]:
        """n-gram losses of this run's text, in nats per token."""
        losses: dict[str, float] = json.loads((self.folder / "baselines.json").read_text(encoding="utf-8"))
        return losses


def train(config: Config, *, say: Say = silent, events: Sequence[Event] = ()) -> Run:
    """Train as `config` says and leave everything in the run folder.

    Args:
        say: told, a line at a time, what a person should know.
        events: called after every step, once the run's own events have completed its record.

    Raises:
        MingptError: of the kind that fits (see errors.py); bad settings or texts leave nothing written.
    """
    device = pick_device(config.trainer.device)
    if config.system.threads:
        torch.set_num_threads(config.system.threads)
    resumed = _resumable(config, say) if config.trainer.resume else None
    text = read_text(config.data.path, say)
    tokenizer: Tokenizer = TOKENIZERS[config.data.tokenizer].of(text.content)
    ids = tokenizer.encode(text.content)
    data = split(ids, block_size=config.data.block_size, val_fraction=config.data.val_fraction)
    model = _fresh_model(config, tokenizer, say)
    if config.trainer.resume:
        folder = Path(config.system.work_dir) if config.system.work_dir else newest_run()
    else:
        folder = _free_folder(config.system.work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        for stray in folder.glob(".*.tmp"):
            stray.unlink()
        batches = Batches(
            data.train,
            block_size=config.data.block_size,
            batch_size=config.trainer.batch_size,
            seed=derived_seed(config.system.seed, "batches"),
        )
        trainer = Trainer(config.trainer, model, batches, seed=config.system.seed, device=device, say=say)
        if resumed:
            _restore(trainer, resumed, tokenizer, text, folder)
        return _train_in(folder, config, trainer, text, tokenizer, data, resumed, events, say)


def _train_in(
    folder: Path,
    config: Config,
    trainer: Trainer,
    text: Text,
    tokenizer: Tokenizer,
    data: Split,
    resumed: "checkpoint.Checkpoint | None",
    events: Sequence[Event],
    say: Say,
) -> Run:
    say(f"run folder: {folder}")
    write_atomic(
        folder / "config.yaml",
        dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, resume=False, resume_changed=False))
        .to_yaml()
        .encode(),
    )
    environment = runlog.environment(
        trainer.device,
        text=text.source,
        text_sha256=text.sha256,
        vocabulary_sha256=sha256(tokenizer.to_json().encode()),
    )
    write_atomic(folder / "environment.json", (json.dumps(environment, indent=1) + "\n").encode())
    mirror_id = resumed.state["wandb_id"] if resumed else secrets.token_hex(4)
    mirror = runlog.WandbMirror(config.wandb, folder, mirror_id, {**config.flat(), "environment": environment}, say)
    started_at = trainer.progress.step
    say(_announcement(trainer))
    with (
        closing(runlog.JsonLines(folder / "metrics.jsonl", until=started_at)) as metrics,
        closing(runlog.JsonLines(folder / "samples.jsonl", until=started_at)) as samples,
    ):
        trainer.events = [
            Judge(data.held_out, tokenizer),
            Log(metrics, mirror),
            Sampler(samples, mirror, tokenizer),
            Saver(
                folder, tokenizer, metrics, {"model": fitting.described(trainer.model.config), "wandb_id": mirror_id}
            ),
            *events,
        ]
        mirror.start()
        with stop_on_signals(trainer.stop):
            trainer.run()
        mirror.finish()
    if not (folder / "baselines.json").exists():
        losses = additive_losses(data.train, data.held_out, tokenizer.vocab_size)
        write_atomic(folder / "baselines.json", (json.dumps(losses, indent=1) + "\n").encode())
    curve.draw(folder)
    return Run(folder, config, trainer.model, tokenizer, trainer.progress, trainer.stop_reason)


def _announcement(trainer: Trainer) -> str:
    """What is about to be trained, and about what it will take."""
    model, config, left = trainer.model, trainer.config, trainer.config.max_iters - trainer.progress.step
    tokens = config.batch_size * model.config.block_size
    flops = 3 * model.flops_per_token() * tokens * left
    seconds = flops / (USUAL_SHARE * matrix_rate(trainer.device))
    memory = expected_memory(model, tokens // config.accumulation)
    return (
        f"{type(model).__name__}: {model.parameter_count:,} parameters, {model.flops_per_token() / 1e6:.1f} MFLOP per "
        f"token; {left:,} steps of {tokens:,} tokens on {trainer.device} with {torch.get_num_threads()} threads: "
        f"about {seconds:,.0f} s and {memory / 1e9:.1f} GB"
    )


def load(run_dir: str | Path, *, device: str = "auto", say: Say = silent) -> Run:
    """The run in `run_dir`, as its newest valid checkpoint has it.

    Raises:
        CheckpointError: no run there, or none of its checkpoints is valid.
    """
    folder = Path(run_dir)
    config = _config_of(folder)
    saved = checkpoint.newest(folder, say)
    tokenizer = tokenizers.from_json(saved.tokenizer)
    model = build(_model_config(config, tokenizer))
    fitting.refuse_other_model(model.config, saved)
    checkpoint.load_weights(model, saved.model, saved.folder)
    model.to(pick_device(device)).eval()
    return Run(folder, config, model, tokenizer, _progress(saved))


def newest_run(home: Path = HOME) -> Path:
    """The run folder under `home` that was last started.

    Raises:
        CheckpointError: there is none.
    """
    runs = [path.parent for path in home.glob("*/config.yaml")]
    if not runs:
        raise CheckpointError(f"no run under {home}/: train one with `chargpt`, or name its folder with --run=DIR")
    return max(runs, key=lambda run: (run / "config.yaml").stat().st_mtime_ns)


def resume_settings(argv: Sequence[str], config: Config) -> Config:
    """What `argv`, parsed as `config`, asks for on top of the settings of the run that it goes on with."""
    folder = config.system.work_dir or str(newest_run())
    _config_of(Path(folder))
    return settings.parse([f"--config={folder}/config.yaml", *argv, f"--system.work_dir={folder}"])


def _resumable(config: Config, say: Say) -> checkpoint.Checkpoint | None:
    """The checkpoint to go on from, once the settings are known to allow it."""
    folder = Path(config.system.work_dir) if config.system.work_dir else newest_run()
    changes = config.changes_from(_config_of(folder))
    if changes and not config.trainer.resume_changed:
        listed = ", ".join(f"{key} was {there}, is {here}" for key, (there, here) in changes.items())
        raise UsageError(f"{folder}: settings changed since this run began: {listed}; --trainer.resume_changed=True")
    if not checkpoint.steps(folder):
        say(f"{folder}: no checkpoint yet, so it begins at the beginning")
        return None
    return checkpoint.newest(folder, say)


def _restore(trainer: Trainer, saved: checkpoint.Checkpoint, tokenizer: Tokenizer, text: Text, folder: Path) -> None:
    _refuse_other_text(saved, tokenizer, text, folder)
    fitting.refuse_other_model(trainer.model.config, saved)
    checkpoint.load_weights(trainer.model, saved.model, saved.folder)
    trainer.restore(saved.optimizer, _progress(saved))


def _fresh_model(config: Config, tokenizer: Tokenizer, say: Say) -> LanguageModel:
    torch.manual_seed(derived_seed(config.system.seed, "weights"))
    model = build(_model_config(config, tokenizer))
    if config.model.pretrained_folder is not None and not config.trainer.resume:
        fitting.start_from(model, Path(config.model.pretrained_folder), tokenizer, say)
    return model


def _model_config(config: Config, tokenizer: Tokenizer) -> ModelConfig:
    return dataclasses.replace(config.model, vocab_size=tokenizer.vocab_size, block_size=config.data.block_size)


def _refuse_other_text(saved: checkpoint.Checkpoint, tokenizer: Tokenizer, text: Text, folder: Path) -> None:
    fitting.refuse_other_vocabulary(saved, tokenizer)
    environment = json.loads((folder / "environment.json").read_bytes())
    if environment["text_sha256"] != text.sha256:
        raise CheckpointError(
            f"{folder}: {text.source} is no longer the text that this run began with (sha256 differs)"
        )


def _progress(saved: checkpoint.Checkpoint) -> Progress:
    try:
        return Progress(**{field.name: saved.state[field.name] for field in dataclasses.fields(Progress)})
    except (KeyError, TypeError):
        raise CheckpointError(f"{saved.folder}: state.json lacks what a run needs") from None


def _config_of(folder: Path) -> Config:
    if not (folder / "config.yaml").is_file():
        raise CheckpointError(f"{folder}: no run here (it has no config.yaml)")
    return settings.read(folder / "config.yaml")


def _free_folder(wanted: str | None) -> Path:
    """Where a new run goes.

    Raises:
        UsageError: the wanted folder holds another run.
    """
    if wanted is None:
        names = itertools.chain([DEFAULT_NAME], (f"{DEFAULT_NAME}-{n}" for n in itertools.count(2)))
        return next(HOME / name for name in names if not (HOME / name).exists())
    if (Path(wanted) / "config.yaml").exists():
        raise UsageError(
            f"system.work_dir={wanted}: holds another run; go on with it by --trainer.resume=True, or name a new folder"
        )
    return Path(wanted)
