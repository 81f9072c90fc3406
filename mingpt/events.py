"""What happens around a training step: judging, drawing samples, logging, saving.

Each is an event of the Trainer.  `run.py` puts them in this order, since a record is complete when it is logged, and
what is logged is on the disk when a checkpoint says that it happened.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mingpt import checkpoint
from mingpt.errors import NotFiniteError
from mingpt.evaluate import held_out_loss
from mingpt.generate import Sampling, spells, write
from mingpt.runlog import JsonLines, WandbMirror
from mingpt.text.tokenizers import Ids, Tokenizer
from mingpt.trainer import Record, Trainer
from mingpt.utils import derived_seed

PROMPTS = ("ROMEO:", "KING HENRY", "\n")  # what the text has no character for is left out
SAMPLE_TOKENS = 300


@dataclass
class Judge:
    """Adds `val_loss` and `bits_per_byte` after the last step, over all held-out text, and `val_loss_part`, over some
    evenly spread blocks of it, every `eval_every` steps before that."""

    held_out: Ids
    tokenizer: Tokenizer

    def __call__(self, trainer: Trainer, record: Record) -> None:
        config, progress = trainer.config, trainer.progress
        if trainer.finished:
            loss = held_out_loss(trainer.model, self.held_out, self.tokenizer)
            _refuse_not_finite(loss.nats, record)
            record["val_loss"], record["bits_per_byte"] = loss.nats, loss.bits_per_byte
            progress.val_loss = loss.nats
        elif trainer.due(config.eval_every):
            loss = held_out_loss(trainer.model, self.held_out, self.tokenizer, at_most=config.eval_tokens)
            _refuse_not_finite(loss.nats, record)
            record["val_loss_part"] = progress.val_loss = loss.nats


def _refuse_not_finite(nats: float, record: Record) -> None:
    if not math.isfinite(nats):
        raise NotFiniteError(f"step {record['step']}: held-out loss {nats}, learning rate {record['lr']:g}: not finite")


@dataclass
class Log:
    """Appends the record to metrics.jsonl and to the mirror."""

    metrics: JsonLines
    mirror: WandbMirror

    def __call__(self, trainer: Trainer, record: Record) -> None:
        self.metrics.write(record)
        self.mirror.log(record)


@dataclass
class Sampler:
    """Writes text at fixed prompts and seeds to samples.jsonl, every `sample_every` steps and at the end."""

    samples: JsonLines
    mirror: WandbMirror
    tokenizer: Tokenizer

    def __call__(self, trainer: Trainer, record: Record) -> None:
        if not trainer.due(trainer.config.sample_every):
            return
        for number, prompt in enumerate(prompts_for(self.tokenizer)):
            sampling = Sampling(seed=derived_seed(trainer.seed, "sample", number))
            text = write(trainer.model, self.tokenizer, prompt, SAMPLE_TOKENS, sampling)
            step = record["step"]
            self.samples.write({"step": step, "prompt": prompt, "text": text, **asdict(sampling)})
            self.mirror.sample(step, prompt, text)


@dataclass
class Saver:
    """Saves a checkpoint every `save_every` steps, at the end, and when the run is told to stop."""

    folder: Path
    tokenizer: Tokenizer
    metrics: JsonLines
    state: dict[str, Any]

    def __call__(self, trainer: Trainer, record: Record) -> None:
        if trainer.last or trainer.due(trainer.config.save_every):
            self.metrics.sync()
            checkpoint.save(
                self.folder,
                model=trainer.model.state_dict(),
                optimizer=trainer.optimizer_tensors(),
                state={**asdict(trainer.progress), **self.state},
                tokenizer=self.tokenizer.to_json(),
            )


def prompts_for(tokenizer: Tokenizer) -> list[str]:
    """The fixed prompts that this vocabulary can spell; its first token where it can spell none."""
    return [prompt for prompt in PROMPTS if spells(tokenizer, prompt)] or [tokenizer.decode([0])]
