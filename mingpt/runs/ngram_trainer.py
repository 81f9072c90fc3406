"""The one step of an n-gram model, in the place of a training loop.

It is a Trainer, so that evaluation, sampling, logging, saving and resuming are the same code.
"""

import time

import torch
from torch import Tensor

from mingpt.core.token_ids import Ids
from mingpt.models.base import LanguageModel
from mingpt.trainer import Record, Trainer
from mingpt.training.trainer_config import NGramTrainerConfig
from mingpt.utils import synchronise


class NGramTrainer(Trainer):
    """Fits `model` to `ids`, all at once.

    Args:
        config: how often to evaluate, and where.
        model: one whose config is `count_based`, moved to `device`.
        ids: token ids of the training set.
        seed: seed of the samples.
        device: a torch.device.
    """

    def __init__(
        self,
        config: NGramTrainerConfig,
        model: LanguageModel,
        ids: Ids,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(config, model, _no_batches, seed=seed, device=device)  # type: ignore[arg-type]
        self.ids = ids

    def step(self) -> Record:
        """Count everything; a record as of any other step, without a learning rate and a gradient."""
        began, cpu_began = time.perf_counter(), time.process_time()
        loss = self.model.fit(self.ids)
        synchronise(self.device)
        seconds = time.perf_counter() - began
        self.progress.step, self.progress.tokens, self.progress.seconds = 1, len(self.ids), seconds
        self.progress.cpu_seconds = time.process_time() - cpu_began
        return {
            "step": 1,
            "tokens": len(self.ids),
            "seconds": seconds,
            "cpu_seconds": self.progress.cpu_seconds,
            "train_loss": loss,
            "tokens_per_second": len(self.ids) / seconds,
        }


def _no_batches(step: int) -> tuple[Tensor, Tensor]:
    raise AssertionError("counting takes no batches")
