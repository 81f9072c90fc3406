"""Callbacks of a run: evaluation, samples, logging, checkpoints.

`run.py` calls them after every step in this order: a record is complete when it is logged, and what is logged is on the
disk before a checkpoint says so.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mingpt.core.errors import NotFiniteError
from mingpt.core.run_files.reading import judged
from mingpt.core.token_ids import Ids
from mingpt.data.tokenizers import Tokenizer
from mingpt.distributed.strategy import local
from mingpt.inference.evaluate import pseudo_likelihood, stateful_loss, validation_loss
from mingpt.inference.generate import Sampling, write
from mingpt.runs import checkpoint
from mingpt.runs.metrics_log import JsonLines
from mingpt.runs.wandb_log import WandbMirror
from mingpt.trainer import Record, Trainer
from mingpt.utils import derived_seed

FEWER_TOKENS = 64  # of a sample before the last step


class Guard:
    """Stop a run whose update made a weight infinite, as a finite gradient can, before it is evaluated or saved."""

    def __call__(self, trainer: Trainer, record: Record) -> None:
        if not (trainer.last or trainer.evaluated_or_saved):
            return
        remembered = (*trainer.optimizer_tensors().values(), *trainer.recurrent_states.tensors().values())
        tensors = (*trainer.model.parameters(), *remembered)
        finite = all(bool(local(tensor).isfinite().all()) for tensor in tensors)
        if trainer.processes.sum(not finite):
            raise NotFiniteError(
                f"step {record['step']}: loss {record['train_loss']}, gradient norm {record['grad_norm']}, learning "
                f"rate {record['lr']:g}: the update left weights that are not finite; nothing was saved"
            )


@dataclass
class Evaluate:
    """Add the validation loss to the record: `val_loss` and `bits_per_byte` over the complete validation set after the
    last step; every `eval_every` steps before it, `val_loss_part` and `bits_per_byte_part` over evenly spread blocks.

    With `carries`, after the last step also `val_loss_carried`: with the recurrent state kept from block to block.

    A masked language model gets `pseudo_nats` instead, over `eval_tokens` tokens after the last step, and
    `pseudo_nats_part` before it, over a block_size-th of them: each masked token takes a forward pass of its block.
    """

    held_out: Ids
    tokenizer: Tokenizer
    carries: bool = False

    def __call__(self, trainer: Trainer, record: Record) -> None:
        if trainer.due(trainer.config.eval_every):
            some = trainer.config.eval_tokens
            last = some if trainer.model.infills else len(self.held_out)  # tokens that the last evaluation scores
            before = max(some // trainer.model.config.block_size, 1) if trainer.model.infills else some
            with trainer.phases.timed("evaluation", after=max(last / before, 1)):
                self._evaluate(trainer, record)

    def _evaluate(self, trainer: Trainer, record: Record) -> None:
        model, some, part = trainer.model, trainer.config.eval_tokens, "" if trainer.finished else "_part"
        if model.infills:
            hidden = max(some // model.config.block_size, 1) if part else some
            pseudo = pseudo_likelihood(
                model, self.held_out, self.tokenizer, at_most=hidden, processes=trainer.processes
            )
            record[f"pseudo_nats{part}"] = _finite(pseudo.pseudo_nats, "pseudo-nats per token", record)
            return
        at_most = some if part else None
        loss = validation_loss(
            model, self.held_out, self.tokenizer, at_most=at_most, verify=trainer.finished, processes=trainer.processes
        )
        record[f"val_loss{part}"] = _finite(loss.nats, "validation loss", record)
        record[f"bits_per_byte{part}"] = loss.bits_per_byte
        if self.carries and trainer.finished:
            record["val_loss_carried"] = _finite(
                stateful_loss(model, self.held_out), "validation loss with the recurrent state kept,", record
            )


def _finite(nats: float, name: str, record: Record) -> float:
    if not math.isfinite(nats):
        raise NotFiniteError(f"step {record['step']}: {name} {nats}, lr {record['lr']:g}: not finite")
    return nats


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
    """Samples text to samples.jsonl, always from the same prompts and seeds, and adds it to the record as `samples`.

    After the last step that is `tokens` tokens after each of `prompts`, every `sample_every` steps before it at most
    64 after the first.
    """

    samples: JsonLines
    mirror: WandbMirror
    tokenizer: Tokenizer
    prompts: Sequence[str]
    tokens: int

    def __call__(self, trainer: Trainer, record: Record) -> None:
        if not trainer.due(trainer.config.steps_to_sample):
            return
        fewer, step = min(self.tokens, FEWER_TOKENS), record["step"]
        prompts, tokens = (self.prompts, self.tokens) if trainer.finished else (self.prompts[:1], fewer)
        record["samples"] = []
        with trainer.phases.timed("samples", after=len(self.prompts) * self.tokens / fewer):
            for number, prompt in enumerate(prompts):
                sampling = Sampling(seed=derived_seed(trainer.seed, "sample", number), past_block="half")
                text = write(trainer.model, self.tokenizer, prompt, tokens, sampling)
                self.samples.write({"step": step, "prompt": prompt, "text": text, **asdict(sampling)})
                self.mirror.sample(step, prompt, text)
                record["samples"].append({"prompt": prompt, "text": text})


@dataclass
class Saver:
    """Saves a checkpoint every `save_every` steps, at the end, and when the run is told to stop."""

    folder: Path
    tokenizer: Tokenizer
    metrics: JsonLines
    state: dict[str, Any]

    def __call__(self, trainer: Trainer, record: Record) -> None:
        if trainer.last or trainer.due(trainer.config.save_every):
            with trainer.phases.timed("checkpoint", after=1):
                self._save(trainer, record)

    def _save(self, trainer: Trainer, record: Record) -> None:
        self.metrics.sync()
        unsharded = trainer.processes.unshard
        trainer.processes.rank_zero_only(
            checkpoint.save,
            self.folder,
            model=unsharded(trainer.model.state_dict(keep_vars=True)),
            optimizer=unsharded(trainer.optimizer_tensors()),
            carried=trainer.recurrent_states.tensors(),
            state={**asdict(trainer.progress), "val_loss": judged(record), **self.state},
            tokenizer=self.tokenizer.to_json(),
        )
