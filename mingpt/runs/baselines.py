"""The n-gram baselines of a run: what counting the training text predicts, computed once and kept in its folder."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mingpt.core.errors import CheckpointError, in_one_line
from mingpt.core.run_files.reading import read_losses
from mingpt.data.dataset import Corpus
from mingpt.models.ngram import kneser_ney_losses
from mingpt.runs import run_dir
from mingpt.trainer import Record, Trainer

logger = logging.getLogger(__name__)

T = TypeVar("T")
COUNTED = 20_000_000  # tokens of a text at most whose n-grams are counted in every run
NAME = "baselines.json"


@dataclass
class Baselines:
    """A callback: adds `baselines` to the record, n-gram losses in nats per token, once.

    That is after the first evaluation, or with the first step where the folder has them from before; rank 0 alone has
    them.

    Args:
        corpus: the text, and the tokenizer that made ids of it.
        block_size: predictions in a row, as in the evaluation of the model.
    """

    folder: Path
    corpus: Corpus
    block_size: int
    given: bool = False

    def __call__(self, trainer: Trainer, record: Record) -> None:
        if trainer.processes.rank or self.given:
            return
        if self._known() or trainer.due(trainer.config.eval_every):
            record["baselines"] = made(self.folder / NAME, lambda: self.losses(trainer)) or {}

    def losses(self, trainer: Trainer) -> dict[str, float]:
        """The baselines, computed and saved where the folder does not have them; {} of a text too long to count."""
        self.given = True
        with trainer.phases.timed("n-gram baselines"):
            return self._known() or self._counted(trainer)

    def _counted(self, trainer: Trainer) -> dict[str, float]:
        data, vocab_size = self.corpus.data, self.corpus.tokenizer.vocab_size
        few = len(data.train) + len(data.validation) <= COUNTED
        if not few:
            logger.info(f"no n-gram lines: to count more than {COUNTED:,} tokens would take too much memory")
        losses = kneser_ney_losses(data.train, data.validation, vocab_size, self.block_size) if few else {}
        run_dir.write_json(self.folder, NAME, losses)
        return losses

    def _known(self) -> dict[str, float]:
        try:
            return read_losses(self.folder / NAME)
        except CheckpointError:  # it follows from the text, so it can be made again
            return {}


def made(path: Path, make: Callable[[], T]) -> T | None:
    """Return make(), which writes `path` to the run folder; where that fails it is one line, and None."""
    try:
        return make()
    except Exception as error:  # a library of matplotlib's size, memory, the disk
        logger.warning(f"{path}: not made ({in_one_line(error)}); the run is complete without it")
        return None
