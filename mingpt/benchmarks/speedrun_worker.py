"""One training from its first step to its last, and the evaluation of what came of it, in a process of its own.

    python speedrun_worker.py KIND ASK       KIND: of KINDS; ASK: JSON, as `ask` of each says

The last thing that it prints is a line of JSON: `loss`, nats per token of the validation set in blocks of BLOCK tokens,
by the project's own evaluation for each; `seconds` of training, evaluation left out; `steps`.
"""

import importlib
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mingpt.core.log_output import messages, to_stderr
from mingpt.core.token_ids import Ids
from mingpt.data.data_config import DataConfig
from mingpt.data.dataset import Corpus, prepare
from mingpt.inference.evaluate import validation_loss
from mingpt.models.base import LanguageModel, LMOutput, ModelConfig, next_token_loss
from mingpt.runs import config as settings
from mingpt.runs import run

BLOCK = 64  # tokens: of the peer's training, and of every evaluation
# karpathy/nanoGPT's README, "I only have a macbook": its Shakespeare config with what it overrides for a CPU.  Its
# loop makes one step more, as it counts past the last; these are the steps that it is asked for.
STEPS, BATCH = 2000, 12
SIZES = {"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": BLOCK, "dropout": 0.0, "bias": False}
PEAK, FLOOR, WARMUP = 1e-3, 1e-4, 100  # learning rate, and steps over which it rises
WEIGHT_DECAY, BETAS, CLIP = 0.1, (0.9, 0.99), 1.0

Outcome = dict[str, float]


class Guest(LanguageModel):
    """Another project's model, as our evaluation, and its look for leaks, takes one."""

    def __init__(self, model: nn.Module, vocab_size: int) -> None:
        super().__init__()
        self.model, self.config = model, ModelConfig(vocab_size=vocab_size, block_size=BLOCK)

    def forward(self, idx: Tensor, targets: Tensor | None = None, *, state: Any = None) -> LMOutput:
        logits = self.model(idx, idx.contiguous())[0]  # without targets it would give those of the last place alone
        return LMOutput(logits, next_token_loss(logits, targets))

    def flops_per_token(self) -> float:
        """About: two per weight, by which the look for leaks chooses its size."""
        return 2 * self.parameter_count


def ours(ask: dict[str, Any]) -> Outcome:
    """An ordinary run, as `chargpt train --config` makes it.

    Its seconds are those of its metrics, and those of compiling the step, where it is, as no other work before the
    first step is charged to the peer, either.

    Args:
        ask: config: a file of all its settings.
    """
    config, compiling = settings.read(Path(ask["config"])), list[float]()
    result = run.train(config, callbacks=[lambda trainer, record: compiling.append(trainer.compile_seconds)])
    if result.stopped:
        raise KeyboardInterrupt(result.stopped)
    record, model = result.last_record(), result.model
    model.config = replace(model.config, block_size=BLOCK)
    corpus = prepare(config.data)
    seconds = record["seconds"] + compiling[-1]
    return {"loss": _loss(model, corpus), "seconds": seconds, "steps": record["step"]}


def nanogpt(ask: dict[str, Any]) -> Outcome:
    """karpathy/nanoGPT's CPU recipe: its model and optimizer, its loop written out, without its printing.

    Args:
        ask: path: a clone; seed; threads; data: settings of DataConfig.
    """
    sys.path.insert(0, ask["path"])
    torch.set_num_threads(ask["threads"])
    torch.manual_seed(ask["seed"])
    corpus = prepare(DataConfig(**ask["data"]))
    peer, vocab_size = importlib.import_module("model"), corpus.tokenizer.vocab_size
    model = peer.GPT(peer.GPTConfig(vocab_size=vocab_size, **SIZES))
    optimizer = model.configure_optimizers(WEIGHT_DECAY, PEAK, BETAS, "cpu")
    model.train()
    began = time.perf_counter()
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        _, loss = model(*random_blocks(corpus.data.train))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    seconds = time.perf_counter() - began
    return {"loss": _loss(Guest(model, vocab_size), corpus), "seconds": seconds, "steps": STEPS}


def learning_rate(step: int) -> float:
    """As nanoGPT's train.py has it: linear to PEAK over WARMUP steps, then a cosine that ends at FLOOR."""
    if step < WARMUP:
        return PEAK * (step + 1) / (WARMUP + 1)
    done = (step - WARMUP) / (STEPS - WARMUP)
    return FLOOR + 0.5 * (1 + math.cos(math.pi * done)) * (PEAK - FLOOR)


def random_blocks(ids: Ids) -> tuple[Tensor, Tensor]:
    """As its `get_batch`: (b, t) inputs and targets from places drawn anywhere, with replacement."""
    starts = torch.randint(len(ids) - BLOCK, (BATCH,))
    windows = torch.stack([torch.from_numpy(ids[i : i + BLOCK + 1].astype(np.int64)) for i in starts])
    return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()


def _loss(model: LanguageModel, corpus: Corpus) -> float:
    return validation_loss(model, corpus.data.validation, corpus.tokenizer).nats


def data_settings(config: DataConfig) -> dict[str, Any]:
    """The text of `config`, cut for the peer."""
    return asdict(replace(config, block_size=BLOCK, stateful=False))


KINDS: dict[str, Callable[[dict[str, Any]], Outcome]] = {"ours": ours, "nanogpt": nanogpt}


def main(kind: str, ask: str) -> None:
    """Print the outcome; what a peer prints goes elsewhere."""
    answers, sys.stdout = sys.stdout, sys.stderr
    with messages(to_stderr):
        print(json.dumps(KINDS[kind](json.loads(ask))), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
