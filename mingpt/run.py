"""Training a run from its settings, and getting one back from its folder."""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mingpt import checkpoint, fitting, folders, runlog
from mingpt.attention.maps import attention_weights
from mingpt.checkpoint import Checkpoint
from mingpt.errors import CheckpointError, DataError, UsageError, require
from mingpt.evaluate import HeldOutLoss, held_out_loss
from mingpt.events import Guard, Judge, Log, Sampler, Saver
from mingpt.files import sha256
from mingpt.generate import Sampling, stream, write
from mingpt.interrupt import stop_on_signals
from mingpt.lm import LanguageModel, ModelConfig
from mingpt.mirror import WandbMirror
from mingpt.ngram import additive_losses
from mingpt.probe import USUAL_SHARE, expected_memory, matrix_rate
from mingpt.report import curve
from mingpt.runlog import JsonLines
from mingpt.settings import Config
from mingpt.text import tokenizers
from mingpt.text.batches import Batches, split
from mingpt.text.corpora import read_text
from mingpt.text.corpus import Corpus, prepare
from mingpt.text.tokenizers import Tokenizer
from mingpt.trainer import Event, Progress, Trainer
from mingpt.utils import derived_seed, pick_device, training_type
from mingpt.zoo import build

Say = Callable[[str], None]
UNJUDGED = "this model sees the tokens that it predicts, so it has no held-out loss and writes no samples"


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

    def stream(self, prompt: str, max_new_tokens: int, sampling: Sampling, *, cache: bool = True) -> Iterator[str]:
        """What follows the prompt, token by token; without a cache the same text, each token from all before it."""
        return stream(self.model, self.tokenizer, prompt, max_new_tokens, sampling, cache=cache)

    def attention(self, text: str) -> list[Tensor]:
        """Who reads whom: for each layer its (1, heads, queries, keys) weights on `text`, dropout off.

        The definition's, whatever kernel the layers use; a list as bertviz takes it.

        Raises:
            UsageError: no text, more than block_size tokens of it, or characters outside the vocabulary.
        """
        ids = torch.from_numpy(self.tokenizer.encode(text).astype("int64"))[None]
        size = self.model.config.block_size
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        require(1 <= ids.shape[1] <= size, "text", repr(shown), f"must be 1 to {size} tokens, not {ids.shape[1]}")
        return attention_weights(self.model, ids.to(self.model.device))

    def evaluate(self, path: str | None = None, say: Say = silent) -> HeldOutLoss:
        """Loss on the run's own held-out text, or on all of the file at `path`.

        Raises:
            DataError: no such text, one with unknown characters, or no longer the one that the run began with.
        """
        text = read_text(self._own_text() if path is None else path, say)
        try:
            ids = self.tokenizer.encode(text.content)
        except UsageError as unknown:
            raise DataError(f"{text.source}: {unknown}") from None
        if path is None:
            if text.sha256 != _environment(self.folder)["text_sha256"]:
                raise DataError(
                    f"{text.source}: no longer the text that {self.folder} began with; --text judges another"
                )
            data = self.config.data
            ids = split(ids, block_size=data.block_size, val_fraction=data.val_fraction).held_out
        if len(ids) < 2:
            raise DataError(f"{text.source}: one token has no next one to predict; at least 2 are needed")
        return held_out_loss(self.model, ids, self.tokenizer)

    def _own_text(self) -> str:
        """Where the run's text lies, from whatever folder one asks; never a reason to write it anew."""
        path: str = _environment(self.folder)["text"]
        if not Path(path).exists():
            raise DataError(f"{self.folder}: its text is no longer at {path}; name one with --text")
        return path

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
    with folders.opened(config, say) as (folder, saved):
        pretrained = _pretrained(config, say) if saved is None else None
        corpus = prepare(config.data, say)
        model = _model(config, corpus.tokenizer)
        if pretrained:
            fitting.start_from(model, pretrained, corpus.tokenizer, say)
        batches = Batches(
            corpus.data.train,
            block_size=config.data.block_size,
            batch_size=config.trainer.batch_size,
            seed=derived_seed(config.system.seed, "batches"),
        )
        trainer = Trainer(config.trainer, model, batches, seed=config.system.seed, device=device, say=say)
        if saved:
            _restore(trainer, saved, corpus, folder)
        mirror_id = _mirror_id(saved)
        say(f"run folder: {folder}")
        _describe(folder, config, trainer, corpus)
        _train_in(folder, config, trainer, corpus, mirror_id, events)
        stopped = None if trainer.finished else trainer.stop_reason
        if not stopped:
            _draw(folder, corpus)
        return Run(folder, config, trainer.model, corpus.tokenizer, trainer.progress, stopped)


def _describe(folder: Path, config: Config, trainer: Trainer, corpus: Corpus) -> None:
    """Write down what is about to happen, and say it."""
    attention = trainer.model.kernels(trainer.device, training_type(trainer.device))  # before anything is written
    folders.write_config(folder, config)
    vocabulary = sha256(corpus.tokenizer.to_json().encode())
    text = {
        "text": str(Path(corpus.text.source).absolute()),
        "text_sha256": corpus.text.sha256,
        "vocabulary_sha256": vocabulary,
    }
    environment = runlog.environment(trainer.device, **text, attention=attention)
    folders.write_json(folder, "environment.json", environment)
    trainer.say(_announcement(trainer))
    if not trainer.model.autoregressive:
        trainer.say(f"{UNJUDGED}: its training loss is all there is to see")


def _train_in(
    folder: Path, config: Config, trainer: Trainer, corpus: Corpus, mirror_id: str, events: Sequence[Event]
) -> None:
    tokenizer, done = corpus.tokenizer, trainer.progress.step
    told = {**config.flat(), "environment": _environment(folder)}
    state = {"model": fitting.described(trainer.model.config), "wandb_id": mirror_id}
    with (
        closing(JsonLines(folder / "metrics.jsonl", until=done)) as metrics,
        closing(JsonLines(folder / "samples.jsonl", until=done)) as samples,
        closing(WandbMirror(config.wandb, folder, mirror_id, told, trainer.say)) as mirror,
        stop_on_signals(trainer.stop),
    ):
        for line in runlog.read_lines(folder / "samples.jsonl"):  # the mirror's table is sent whole, at the end
            mirror.sample(line["step"], line["prompt"], line["text"])
        writes = trainer.model.autoregressive
        trainer.events = [
            Guard(),
            *([Judge(corpus.data.held_out, tokenizer)] if writes else []),
            Log(metrics, mirror),
            *([Sampler(samples, mirror, tokenizer)] if writes else []),
            Saver(folder, tokenizer, metrics, state),
            *events,
        ]
        trainer.run()


def _draw(folder: Path, corpus: Corpus) -> None:
    """The n-gram losses of the text, and the curve against them."""
    if not (folder / "baselines.json").exists():
        losses = additive_losses(corpus.data.train, corpus.data.held_out, corpus.tokenizer.vocab_size)
        folders.write_json(folder, "baselines.json", losses)
    curve.draw(folder)


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
    folder, where = Path(run_dir), pick_device(device)
    config = folders.read_config(folder)
    saved = checkpoint.newest(folder, say)
    tokenizer = tokenizers.from_json(saved.tokenizer)
    model = _model(config, tokenizer)
    fitting.refuse_other_model(model.config, saved)
    checkpoint.load_weights(model, saved.model, saved.folder)
    model.to(where).eval()
    return Run(folder, config, model, tokenizer, _progress(saved))


def _model(config: Config, tokenizer: Tokenizer) -> LanguageModel:
    """Freshly initialised, the same for the same seed."""
    sizes = {"vocab_size": tokenizer.vocab_size, "block_size": config.data.block_size}
    settings: ModelConfig = replace(config.model, **sizes)  # type: ignore[arg-type]
    torch.manual_seed(derived_seed(config.system.seed, "weights"))
    return build(settings)


def _pretrained(config: Config, say: Say) -> Checkpoint | None:
    folder = config.model.pretrained_folder
    require("\0" not in (folder or ""), "model.pretrained_folder", repr(folder), "must not hold a NUL")
    return None if folder is None else checkpoint.newest(Path(folder), say)


def _restore(trainer: Trainer, saved: Checkpoint, corpus: Corpus, folder: Path) -> None:
    """Put the trainer where the checkpoint was, once it is known to be the same run's."""
    fitting.refuse_other_vocabulary(saved, corpus.tokenizer)
    if _environment(folder)["text_sha256"] != corpus.text.sha256:
        raise CheckpointError(
            f"{folder}: {corpus.text.source} is no longer the text that it began with (sha256 differs)"
        )
    fitting.refuse_other_model(trainer.model.config, saved)
    progress = _progress(saved)
    require(
        progress.step <= trainer.config.max_iters,
        "trainer.max_iters",
        trainer.config.max_iters,
        f"this run has already made {progress.step} steps",
    )
    checkpoint.load_weights(trainer.model, saved.model, saved.folder)
    trainer.restore(saved.optimizer, progress)


def _progress(saved: Checkpoint) -> Progress:
    try:
        return Progress(**{field.name: saved.state[field.name] for field in fields(Progress)})
    except (KeyError, TypeError):
        raise CheckpointError(f"{saved.folder}: state.json lacks what a run needs") from None


def _mirror_id(saved: Checkpoint | None) -> str:
    """The same for all of a run, however often it is stopped."""
    there = saved.state.get("wandb_id") if saved else None
    return there if isinstance(there, str) else secrets.token_hex(4)


def _environment(folder: Path) -> runlog.Record:
    environment: runlog.Record = json.loads((folder / "environment.json").read_bytes())
    return environment
