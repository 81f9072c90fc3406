"""Callbacks of a run, called after every step: evaluation (the validation loss), samples, logging, checkpoints.

`run_callbacks` has them in order: a record is complete when it is logged, and what is logged is on the disk before the
checkpoint of its step is.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mingpt.core.errors import NotFiniteError
from mingpt.core.run_files.reading import each_line, evaluated_loss
from mingpt.core.run_files.records import Sample, TrainedStep
from mingpt.core.signals import stop_on_signals
from mingpt.core.token_ids import Ids, Tokenizer
from mingpt.data.dataset import Corpus
from mingpt.data.special_tokens import SpecialTokens
from mingpt.distributed.strategy import local
from mingpt.inference.evaluate import pseudo_likelihood, validation_loss
from mingpt.inference.generate import Sampling, write
from mingpt.runs import checkpoint, compatibility, run_dir
from mingpt.runs.config import Config
from mingpt.runs.metrics_log import JsonLines
from mingpt.runs.wandb_log import WandbLogger
from mingpt.trainer import Callback, Record, Trainer
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

    With `stateful`, after the last step also `val_loss_carried`: with the recurrent state kept from block to block.

    A masked language model gets `pseudo_nats` instead, over `eval_tokens` tokens after the last step, and
    `pseudo_nats_part` before it, over a block_size-th of them: each masked token takes a forward pass of its block.
    """

    validation: Ids
    tokenizer: Tokenizer
    stateful: bool = False

    def __call__(self, trainer: Trainer, record: Record) -> None:
        if trainer.due(trainer.config.eval_every):
            some = trainer.config.eval_tokens
            last = some if trainer.model.infills else len(self.validation)  # tokens that the last evaluation scores
            before = max(some // trainer.model.config.block_size, 1) if trainer.model.infills else some
            with trainer.phases.timed("evaluation", after=max(last / before, 1)):
                self._evaluate(trainer, record)

    def _evaluate(self, trainer: Trainer, record: Record) -> None:
        model, processes, final, some = trainer.model, trainer.processes, trainer.finished, trainer.config.eval_tokens
        suffix = "" if final else "_part"
        if model.infills:
            at_most = some if final else max(some // model.config.block_size, 1)
            pseudo = pseudo_likelihood(model, self.validation, self.tokenizer, at_most=at_most, processes=processes)
            record[f"pseudo_nats{suffix}"] = _finite(pseudo.pseudo_nats, "pseudo-nats per token", record)
            return
        tokens = None if final else some
        loss = validation_loss(
            model, self.validation, self.tokenizer, at_most=tokens, verify=final, processes=processes
        )
        record[f"val_loss{suffix}"] = _finite(loss.nats, "validation loss", record)
        record[f"bits_per_byte{suffix}"] = loss.bits_per_byte
        if self.stateful and final:
            kept = validation_loss(model, self.validation, self.tokenizer, carried=True, verify=False)
            name = "validation loss with the recurrent state kept,"
            record["val_loss_carried"] = _finite(kept.nats, name, record)


def _finite(nats: float, name: str, record: Record) -> float:
    if not math.isfinite(nats):
        raise NotFiniteError(f"step {record['step']}: {name} {nats}, lr {record['lr']:g}: not finite")
    return nats


@dataclass
class Log:
    """Append the record to metrics.jsonl and to W&B."""

    metrics: JsonLines
    wandb: WandbLogger

    def __call__(self, trainer: Trainer, record: Record) -> None:
        self.metrics.write(record)
        self.wandb.log(record)


@dataclass
class Sampler:
    """Sample text to samples.jsonl, always from the same prompts and seeds, and add it to the record as `samples`.

    After the last step that is `tokens` tokens after each of `prompts`, every `sample_every` steps before it at most
    64 after the first.
    """

    samples: JsonLines
    wandb: WandbLogger
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
                self.wandb.sample(step, prompt, text)
                record["samples"].append({"prompt": prompt, "text": text})


@dataclass
class Saver:
    """Save a checkpoint every `save_every` steps, at the end, and when the run is stopped."""

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
            state={**asdict(trainer.progress), "val_loss": evaluated_loss(record), **self.state},
            tokenizer=self.tokenizer.to_json(),
        )


@contextmanager
def run_callbacks(
    folder: Path,
    config: Config,
    trainer: Trainer,
    corpus: Corpus,
    prompts: Sequence[str],
    special: SpecialTokens,
    wandb_id: str,
) -> Iterator[list[Callback]]:
    """Open the run's logs and yield its callbacks, in order: a record is complete when it is logged."""
    model, tokenizer = trainer.model, corpus.tokenizer
    done, rank_zero_only = trainer.progress.step, trainer.processes.rank_zero_only
    constant = {"model": compatibility.described(model.config), "wandb_id": wandb_id, "special": special.as_json()}
    with (
        closing(rank_zero_only(JsonLines, folder / "metrics.jsonl", until=done, kind=TrainedStep)) as metrics,
        closing(rank_zero_only(JsonLines, folder / "samples.jsonl", until=done, kind=Sample)) as samples,
        trainer.phases.closing("W&B logger", rank_zero_only(_wandb, folder, config, wandb_id)) as wandb,
        stop_on_signals(trainer.stop),
    ):
        evaluate = Evaluate(corpus.data.validation, tokenizer, stateful=config.data.stateful)
        yield [
            Guard(),
            *([evaluate] if model.autoregressive or model.infills else []),
            Log(metrics, wandb),
            *([Sampler(samples, wandb, tokenizer, prompts, config.sample.tokens)] if model.autoregressive else []),
            Saver(folder, tokenizer, metrics, constant),
        ]


def _wandb(folder: Path, config: Config, wandb_id: str) -> WandbLogger:
    wandb = WandbLogger(config.wandb, folder, wandb_id, {**config.flat(), "environment": run_dir.environment(folder)})
    for line in each_line(folder / "samples.jsonl"):  # its table of samples is sent as a whole, at the end
        wandb.sample(line["step"], line["prompt"], line["text"])
    return wandb
