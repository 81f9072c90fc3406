"""A run: trained as its settings say, or got back from its folder."""

import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from mingpt.core.errors import CheckpointError, require
from mingpt.core.paths import absolute, shown
from mingpt.core.phases import START_UP, TRAINING
from mingpt.core.run_files.reading import each_line
from mingpt.core.run_files.records import HOME, TIMING, Sample, TrainedStep, is_run, newest_first
from mingpt.core.signals import stop_on_signals
from mingpt.data import special_tokens, tokenizers
from mingpt.data.batches import Batches, ContiguousStreams
from mingpt.data.dataset import Corpus, prepare
from mingpt.data.prompts import prompts_for
from mingpt.data.text_files import DEFAULT_PATH
from mingpt.data.tokenizers import Tokenizer
from mingpt.distributed.ddp_fsdp import joined
from mingpt.distributed.strategy import ProcessGroup
from mingpt.inference.evaluate import require_autoregressive
from mingpt.model import build
from mingpt.models.base import LanguageModel, ModelConfig
from mingpt.report import loss_plot
from mingpt.runs import checkpoint, compatibility, oom, summary
from mingpt.runs import run_dir as folders
from mingpt.runs.baselines import NAME as BASELINES
from mingpt.runs.baselines import Baselines, made
from mingpt.runs.callbacks import Evaluate, Guard, Log, Sampler, Saver
from mingpt.runs.checkpoint import Checkpoint
from mingpt.runs.config import Config, resolved
from mingpt.runs.metrics_log import JsonLines
from mingpt.runs.ngram_trainer import Counting
from mingpt.runs.trained_run import Run
from mingpt.runs.wandb_log import WandbMirror
from mingpt.trainer import Callback, Progress, Trainer
from mingpt.training.trainer_config import NGramTrainerConfig
from mingpt.utils import cpu_threads, derived_seed, pick_device, usable_threads

logger = logging.getLogger(__name__)


def train(config: Config, *, callbacks: Sequence[Callback] = (), began: float | None = None) -> Run:
    """Train as `config` says and leave everything in the run folder.

    Args:
        callbacks: called after every step, after the run's own callbacks have completed its record.
        began: when what led here began, on the clock of time.perf_counter, which counts as start-up; None: now.

    Where several processes were started together, each calls this, and the first one writes and talks.

    Raises:
        MingptError: of the kind that fits (see errors.py); bad settings or texts leave nothing written.
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
        # Rejected before a text is read or a folder made; a resumed run's settings are compared with it first.
        if isinstance(config.trainer, NGramTrainerConfig):
            rule = "counts in one step, by one process: start it alone"
            processes.require_single_process("model.type", config.model.type, rule)
        processes.micro_batches(config.trainer.batch_size, config.trainer.accumulation)
        if not config.trainer.resume:
            summary.kernels(replace(config.model, block_size=config.data.block_size), device)
        opened = folders.opened(config, processes.launch)
        with (
            processes.enter_on_rank_zero(opened, folders.as_json, folders.from_json) as (folder, saved),
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
    since: float,
) -> Run:
    pretrained = _pretrained(config) if saved is None else None
    corpus = processes.main_process_first(prepare, config.data)
    if config.data.path == DEFAULT_PATH:  # it was made just now
        config = replace(config, data=replace(config.data, path=corpus.place))
    began = saved or pretrained
    if is_run(folder) and (saved or (folder / "environment.json").exists()):
        folders.refuse_other_text(folder, corpus.source, corpus.sha256)
    if saved:
        _refuse_misfit(config, saved, corpus, folder)
    model = _model(config, corpus.tokenizer, began)
    if pretrained:
        compatibility.start_from(model, pretrained, corpus.tokenizer)
    if saved:
        checkpoint.load_weights(model, saved.model, saved.folder)
    trainer = _trainer(config, model, corpus, device, processes)
    trainer.phases.began = since
    if saved:
        _restore(trainer, saved)
    prompts = _prompts(config, trainer, corpus, folders.stored_prompts(folder) if saved else ())
    special = special_tokens.from_state(began.state if began else {})
    state = {"wandb_id": _mirror_id(saved), "special": special.as_json()}
    logger.info(f"run folder: {shown(folder)}")
    if trainer.model.autoregressive:
        require_autoregressive(trainer.model)  # again with the final validation loss: fresh weights may hide a leak
    processes.rank_zero_only(summary.describe, folder, config, trainer, corpus, prompts)
    baselines = Baselines(folder, corpus, config.data.block_size)
    with _callbacks(folder, config, trainer, corpus, prompts, state, [baselines, *callbacks]) as trainer.callbacks:
        seconds_before = trainer.progress.seconds
        trainer.phases.spent[START_UP] = time.perf_counter() - trainer.phases.began
        trainer.run()
        trainer.phases.spent[TRAINING] = trainer.progress.seconds - seconds_before
    stopped = None if trainer.finished else trainer.stop_reason
    if not stopped:
        processes.rank_zero_only(_draw, folder, baselines, trainer)
    processes.rank_zero_only(trainer.phases.note, folder / TIMING, trainer.progress.step)
    spent = dict(trainer.phases.spent)
    own = processes.unwrap(trainer.model, lambda: _model(config, corpus.tokenizer, began))
    return Run(
        folder, config.of_model(own.config), own, corpus.tokenizer, trainer.progress, stopped, special, spent=spent
    )


def _trainer(
    config: Config, model: LanguageModel, corpus: Corpus, device: torch.device, processes: ProcessGroup
) -> Trainer:
    """Who teaches `model` the text, in steps or in one."""
    ids = corpus.data.train
    if isinstance(config.trainer, NGramTrainerConfig):
        return Counting(config.trainer, model, ids, seed=config.system.seed, device=device)
    cut: dict[str, int] = {
        "block_size": config.data.block_size,
        "batch_size": config.trainer.batch_size,
        "seed": derived_seed(config.system.seed, "batches"),
    }
    streams = ContiguousStreams(ids, **cut, source=corpus.source) if config.data.stateful else None
    batches, fresh = (streams, streams.fresh) if streams else (Batches(ids, **cut), None)
    seed = config.system.seed
    return Trainer(config.trainer, model, batches, fresh=fresh, seed=seed, device=device, processes=processes)


def _prompts(config: Config, trainer: Trainer, corpus: Corpus, before: Sequence[str]) -> list[str]:
    """What the run's samples begin with."""
    writes, rule = trainer.model.autoregressive, "has no effect with a model that sees the tokens that it predicts"
    require(writes or config.sample.prompts is None, "sample.prompts", config.sample.prompts, rule)
    return prompts_for(config.sample, corpus.data.train, corpus.tokenizer, before)


@contextmanager
def _callbacks(
    folder: Path,
    config: Config,
    trainer: Trainer,
    corpus: Corpus,
    prompts: Sequence[str],
    state: dict[str, Any],
    callbacks: Sequence[Callback],
) -> Iterator[list[Callback]]:
    """Open the run's logs and yield its callbacks, in order: a record is complete when it is logged."""
    tokenizer, done, first = corpus.tokenizer, trainer.progress.step, trainer.processes.rank_zero_only
    mirror_id, state = state["wandb_id"], {"model": compatibility.described(trainer.model.config), **state}
    with (
        closing(first(JsonLines, folder / "metrics.jsonl", until=done, kind=TrainedStep)) as metrics,
        closing(first(JsonLines, folder / "samples.jsonl", until=done, kind=Sample)) as samples,
        trainer.phases.closing("W&B logger", first(_mirror, folder, config, mirror_id)) as mirror,
        stop_on_signals(trainer.stop),
    ):
        writes, judged = trainer.model.autoregressive, trainer.model.autoregressive or trainer.model.infills
        yield [
            Guard(),
            *([Evaluate(corpus.data.held_out, tokenizer, carries=config.data.stateful)] if judged else []),
            Log(metrics, mirror),
            *([Sampler(samples, mirror, tokenizer, prompts, config.sample.tokens)] if writes else []),
            Saver(folder, tokenizer, metrics, state),
            *callbacks,
        ]


def _mirror(folder: Path, config: Config, mirror_id: str) -> WandbMirror:
    told = {**config.flat(), "environment": folders.environment(folder)}
    mirror = WandbMirror(config.wandb, folder, mirror_id, told)
    for line in each_line(folder / "samples.jsonl"):  # the mirror's table is sent whole, at the end
        mirror.sample(line["step"], line["prompt"], line["text"])
    return mirror


def _draw(folder: Path, baselines: Baselines, trainer: Trainer) -> None:
    """Leave the curve against the n-gram losses of the text.  All that was trained is saved by now."""
    if not baselines.given:  # no step was left to make, or none was evaluated
        made(folder / BASELINES, lambda: baselines.losses(trainer))
    with trainer.phases.timed("drawing"):
        made(folder / "loss.png", lambda: loss_plot.draw(folder))


def load_newest(*, device: str = "auto") -> Run:
    """The last started run under out/ that has something to load; says which newer ones have not, and why.

    Raises:
        CheckpointError: none has a valid checkpoint.
    """
    pick_device(device, "device")
    runs = newest_first()
    for folder in runs:
        try:
            return load(folder, device=device)
        except CheckpointError as nothing:
            logger.warning(f"passed over: {nothing}")
    raise CheckpointError(f"no run under {HOME}/ has a checkpoint that can be loaded; the newest is {runs[0]}")


def load(run_dir: str | Path, *, device: str = "auto") -> Run:
    """The run in `run_dir`, as its newest valid checkpoint has it.

    Raises:
        CheckpointError: no run there, or none of its checkpoints is valid.
    """
    folder, where = Path(absolute(run_dir)), pick_device(device, "device")
    config = folders.read_config(folder)
    saved = checkpoint.newest(folder)
    tokenizer = tokenizers.from_json(saved.tokenizer)
    compatibility.refuse_other_model(_model_settings(config, tokenizer, saved), saved)
    model = _model(config, tokenizer, saved)
    checkpoint.load_weights(model, saved.model, saved.folder)
    model.to(where).eval()
    return Run(
        folder,
        config.of_model(model.config),
        model,
        tokenizer,
        _progress(saved),
        special=special_tokens.from_state(saved.state),
    )


def _model(config: Config, tokenizer: Tokenizer, saved: Checkpoint | None) -> LanguageModel:
    """Freshly initialised, the same for the same seed."""
    return build(_model_settings(config, tokenizer, saved), derived_seed(config.system.seed, "weights"))


def _model_settings(config: Config, tokenizer: Tokenizer, saved: Checkpoint | None) -> ModelConfig:
    """A model's settings; as large a vocabulary as `saved` has, if it is larger."""
    rows = max(tokenizer.vocab_size, compatibility.rows_of(saved) if saved else 0)
    settings: ModelConfig = replace(config.model, vocab_size=rows, block_size=config.data.block_size)
    return settings


def _pretrained(config: Config) -> Checkpoint | None:
    folder = config.pretrained_folder
    require("\0" not in (folder or ""), "model.pretrained_folder", repr(folder), "must not hold a NUL")
    return None if folder is None else checkpoint.newest(Path(folder))


def _refuse_misfit(config: Config, saved: Checkpoint, corpus: Corpus, folder: Path) -> None:
    """Reject a checkpoint of another run, before a model of the size that the settings say costs any memory."""
    if "imported" in folders.environment(folder):
        raise CheckpointError(
            f"{shown(folder)}: imported, so there is no training to go on with; begin one in another folder by "
            f"--model.pretrained_folder={shown(folder)}"
        )
    compatibility.refuse_other_vocabulary(saved, corpus.tokenizer, resumed=True)
    compatibility.refuse_other_model(_model_settings(config, corpus.tokenizer, saved), saved)


def _restore(trainer: Trainer, saved: Checkpoint) -> None:
    """Put the trainer where the checkpoint was."""
    progress = _progress(saved)
    require(
        progress.step <= trainer.config.max_iters,
        "trainer.max_iters",
        trainer.config.max_iters,
        f"this run has already made {progress.step} steps",
    )
    trainer.restore(saved.optimizer, saved.carried, progress)


def _progress(saved: Checkpoint) -> Progress:
    try:
        older = {"cpu_seconds": 0.0}  # what checkpoints have not always had
        return Progress(**{field.name: {**older, **saved.state}[field.name] for field in fields(Progress)})
    except (KeyError, TypeError):
        raise CheckpointError(f"{saved.folder}: state.json lacks what a run needs") from None


def _mirror_id(saved: Checkpoint | None) -> str:
    """The same for all of a run, however often it is stopped."""
    return (saved.state.get("wandb_id") if saved else None) or secrets.token_hex(4)
