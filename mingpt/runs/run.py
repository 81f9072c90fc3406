"""Train a run, and load one from its folder; run_dir.py lists what is in a run folder.

`train` checks settings and opens a folder; `_train` does the rest, from the text to the trained model, with a Trainer
(mingpt/trainer.py) and the run's callbacks (callbacks.py: validation loss, samples, logs, checkpoints).
"""

import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import torch

from mingpt.core.errors import CheckpointError, require
from mingpt.core.paths import absolute, shown
from mingpt.core.phases import START_UP, TRAINING
from mingpt.core.run_files.records import HOME, TIMING, is_run, newest_first
from mingpt.core.token_ids import Tokenizer
from mingpt.data import special_tokens, tokenizers
from mingpt.data.batches import Batches, ContiguousStreams
from mingpt.data.dataset import Corpus, prepare
from mingpt.data.prompts import prompts_for
from mingpt.data.text_files import DEFAULT_PATH
from mingpt.distributed.ddp_fsdp import joined
from mingpt.distributed.strategy import ProcessGroup
from mingpt.distributed.threads import cpu_threads, usable_threads
from mingpt.inference.evaluate import require_autoregressive
from mingpt.model import build
from mingpt.models.base import LanguageModel, ModelConfig
from mingpt.report import loss_plot
from mingpt.runs import checkpoint, compatibility, oom, run_dir, summary
from mingpt.runs.baselines import NAME as BASELINES
from mingpt.runs.baselines import Baselines, made
from mingpt.runs.callbacks import run_callbacks
from mingpt.runs.checkpoint import Checkpoint
from mingpt.runs.config import Config, resolved
from mingpt.runs.ngram_trainer import NGramTrainer
from mingpt.runs.trained_run import Run
from mingpt.trainer import Callback, Progress, Trainer
from mingpt.training.trainer_config import NGramTrainerConfig
from mingpt.utils import derived_seed, pick_device

logger = logging.getLogger(__name__)


def train(config: Config, *, callbacks: Sequence[Callback] = (), began: float | None = None) -> Run:
    """Train by `config` and leave everything in the run folder.

    With several processes each calls this; rank 0 alone writes and logs.

    Args:
        config: settings of the run
        callbacks: called after every step, after the run's own callbacks have completed its record
        began: time.perf_counter() when the program began, from which start-up counts; None: now

    Raises:
        MingptError: of the kind that fits (see errors.py); wrong settings or texts leave nothing written.
    """
    began = time.perf_counter() if began is None else began
    config.wandb.resolved_mode()  # rejected before anything is made
    config, kind = resolved(config), pick_device(config.trainer.device)
    with (
        cpu_threads(config.system.threads or usable_threads()),
        torch.inference_mode(False),  # a caller's mode is no setting of a run
        torch.enable_grad(),
        joined(config.dist, kind) as processes,
    ):
        device = processes.device(kind)
        _check_early(config, processes, device)
        with (
            processes.enter_on_rank_zero(
                run_dir.opened(config, processes.launch), run_dir.as_json, run_dir.from_json
            ) as (folder, saved),
            oom.explained(config, folder),
        ):
            return _train(config, processes, device, folder, saved, callbacks, began)


def _train(
    config: Config,
    processes: ProcessGroup,
    device: torch.device,
    folder: Path,
    saved: Checkpoint | None,
    callbacks: Sequence[Callback],
    began: float,
) -> Run:
    """Train in `folder`, which this process holds: from the first step, or from the checkpoint `saved` on."""
    # The text, tokenized and divided into training set and validation set.
    pretrained = None if saved else _pretrained(config)
    corpus = processes.main_process_first(prepare, config.data)
    if config.data.path == DEFAULT_PATH:  # it was made just now
        config = replace(config, data=replace(config.data, path=corpus.place))
    _check_resumed(config, folder, saved, corpus)

    # The model, with the weights of the checkpoint, or of another run, or new ones.
    source = saved or pretrained
    model = _model(config, corpus.tokenizer, source)
    if saved:
        checkpoint.load_weights(model, saved.model, saved.folder)
    elif pretrained:
        compatibility.start_from(model, pretrained, corpus.tokenizer)

    # The trainer, at the step of the checkpoint; the model is on its device from here on.
    trainer = _trainer(config, model, corpus, device, processes)
    if saved:
        _restore(trainer, saved)

    # What the run writes, before its first step and after every step.
    prompts = _prompts(config, model, corpus, run_dir.stored_prompts(folder) if saved else ())
    special = special_tokens.from_state(source.state if source else {})
    baselines = Baselines(folder, corpus, config.data.block_size)
    logger.info(f"run folder: {shown(folder)}")
    if model.autoregressive:
        require_autoregressive(model)  # again with the final validation loss: fresh weights may hide a leak
    processes.rank_zero_only(summary.describe, folder, config, trainer, corpus, prompts)
    wandb_id = (saved.state.get("wandb_id") if saved else None) or secrets.token_hex(4)  # one for all of a run
    with run_callbacks(folder, config, trainer, corpus, prompts, special, wandb_id) as own:
        trainer.callbacks = [*own, baselines, *callbacks]
        trainer.phases.began = began
        trainer.phases.spent[START_UP] = time.perf_counter() - began
        seconds_before = trainer.progress.seconds
        trainer.run()
        trainer.phases.spent[TRAINING] = trainer.progress.seconds - seconds_before

    # The curve, the times, and the model as one process has it.
    stopped = None if trainer.finished else trainer.stop_reason
    if not stopped:
        processes.rank_zero_only(_draw, folder, baselines, trainer)
    processes.rank_zero_only(trainer.phases.note, folder / TIMING, trainer.progress.step)
    spent = dict(trainer.phases.spent)
    model = processes.unwrap(model, lambda: _model(config, corpus.tokenizer, source))
    return Run(
        folder, config.of_model(model.config), model, corpus.tokenizer, trainer.progress, stopped, special, spent
    )


def _check_early(config: Config, processes: ProcessGroup, device: torch.device) -> None:
    """Reject settings before a text is read or a folder made; a resumed run's are compared with its own first."""
    if isinstance(config.trainer, NGramTrainerConfig):
        rule = "counts in one step, in one process: start it without torchrun"
        processes.require_single_process("model.type", config.model.type, rule)
    processes.micro_batches(config.trainer.batch_size, config.trainer.accumulation)
    if not config.trainer.resume:
        summary.kernels(replace(config.model, block_size=config.data.block_size), device)


def _check_resumed(config: Config, folder: Path, saved: Checkpoint | None, corpus: Corpus) -> None:
    """Check that a run which already began has this text and, with a checkpoint, this model and tokenizer.

    A model of the size in the settings costs no memory yet.

    Raises:
        CheckpointError: another text, vocabulary or model, or an imported run.
    """
    if is_run(folder) and (saved or (folder / "environment.json").exists()):
        run_dir.require_same_text(folder, corpus.source, corpus.sha256)
    if not saved:
        return
    if "imported" in run_dir.environment(folder):
        raise CheckpointError(
            f"{shown(folder)}: imported, so there is no training to resume; begin one in another folder by "
            f"--model.pretrained_folder={shown(folder)}"
        )
    compatibility.require_same_vocabulary(saved, corpus.tokenizer, resumed=True)
    compatibility.require_same_model(_model_config(config, corpus.tokenizer, saved), saved)


def _trainer(
    config: Config, model: LanguageModel, corpus: Corpus, device: torch.device, processes: ProcessGroup
) -> Trainer:
    """Return the trainer of `model` on the training set: of n-gram counts, or of gradient steps on batches."""
    ids, seed = corpus.data.train, config.system.seed
    if isinstance(config.trainer, NGramTrainerConfig):
        return NGramTrainer(config.trainer, model, ids, seed=seed, device=device)
    cut: dict[str, int] = {
        "block_size": config.data.block_size,
        "batch_size": config.trainer.batch_size,
        "seed": derived_seed(seed, "batches"),
    }
    streams = ContiguousStreams(ids, **cut, source=corpus.source) if config.data.stateful else None
    batches, fresh = (streams, streams.fresh) if streams else (Batches(ids, **cut), None)
    return Trainer(config.trainer, model, batches, fresh=fresh, seed=seed, device=device, processes=processes)


def _prompts(config: Config, model: LanguageModel, corpus: Corpus, stored: Sequence[str]) -> list[str]:
    """Return the prompts of the run's samples."""
    rule = "has no effect with a model that sees the tokens that it predicts"
    require(model.autoregressive or config.sample.prompts is None, "sample.prompts", config.sample.prompts, rule)
    return prompts_for(config.sample, corpus.data.train, corpus.tokenizer, stored)


def _draw(folder: Path, baselines: Baselines, trainer: Trainer) -> None:
    """Draw the curve and the n-gram baselines.  All that was trained is saved by now."""
    if not baselines.given:  # no step was left to make, or none was evaluated
        made(folder / BASELINES, lambda: baselines.losses(trainer))
    with trainer.phases.timed("drawing"):
        made(folder / "loss.png", lambda: loss_plot.draw(folder))


def load_newest(*, device: str = "auto") -> Run:
    """Return the newest run under out/ that can be loaded; log which newer ones can't be, and why.

    Raises:
        CheckpointError: none has a valid checkpoint.
    """
    pick_device(device, "device")
    runs = newest_first()
    for folder in runs:
        try:
            return load(folder, device=device)
        except CheckpointError as error:
            logger.warning(f"passed over: {error}")
    raise CheckpointError(f"no run under {HOME}/ has a checkpoint that can be loaded; the newest is {runs[0]}")


def load(folder: str | Path, *, device: str = "auto") -> Run:
    """Return the run in `folder`, with the weights of its newest valid checkpoint.

    Raises:
        CheckpointError: no run there, or none of its checkpoints is valid.
    """
    folder, to = Path(absolute(folder)), pick_device(device, "device")
    config = run_dir.read_config(folder)
    saved = checkpoint.newest(folder)
    tokenizer = tokenizers.from_json(saved.tokenizer)
    compatibility.require_same_model(_model_config(config, tokenizer, saved), saved)
    model = _model(config, tokenizer, saved)
    checkpoint.load_weights(model, saved.model, saved.folder)
    model.to(to).eval()
    special = special_tokens.from_state(saved.state)
    return Run(folder, config.of_model(model.config), model, tokenizer, _progress(saved), special=special)


def _model(config: Config, tokenizer: Tokenizer, source: Checkpoint | None) -> LanguageModel:
    """Return the model with initial weights, which follow from the seed."""
    return build(_model_config(config, tokenizer, source), derived_seed(config.system.seed, "weights"))


def _model_config(config: Config, tokenizer: Tokenizer, source: Checkpoint | None) -> ModelConfig:
    """Return the model's settings; its vocabulary is the tokenizer's, or that of the checkpoint if it is larger."""
    rows = max(tokenizer.vocab_size, compatibility.rows_of(source) if source else 0)
    return replace(config.model, vocab_size=rows, block_size=config.data.block_size)


def _pretrained(config: Config) -> Checkpoint | None:
    folder = config.pretrained_folder
    require("\0" not in (folder or ""), "model.pretrained_folder", repr(folder), "must not hold a NUL")
    return None if folder is None else checkpoint.newest(Path(folder))


def _restore(trainer: Trainer, saved: Checkpoint) -> None:
    """Continue where the checkpoint was saved."""
    progress, most = _progress(saved), trainer.config.max_iters
    require(progress.step <= most, "trainer.max_iters", most, f"this run has already made {progress.step} steps")
    trainer.restore(saved.optimizer, saved.carried, progress)


def _progress(saved: Checkpoint) -> Progress:
    state = {"cpu_seconds": 0.0, **saved.state}  # which checkpoints have not always had
    try:
        return Progress(**{field.name: state[field.name] for field in fields(Progress)})
    except (KeyError, TypeError):
        raise CheckpointError(f"{saved.folder}: state.json lacks what a run needs") from None
