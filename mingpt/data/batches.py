"""Batches of token ids: step s is a pure function of (seed, s).

Ids stay in one compact array, and a batch is one gather of windows.  These start at uniform random positions, with
replacement (`Batches`), or where the same row ended in the step before (`ContiguousStreams`, for stateful training).
"""

import numpy as np
import torch
from torch import Tensor

from mingpt.core.errors import DataError
from mingpt.core.token_ids import Ids


class Batches:
    """Random blocks: `batches(step)` returns (b, t) int64 inputs and targets; a target is the token after its input.

    Args:
        ids: token ids of the training set; blocks are shorter if it is shorter than block_size + 1
        block_size: block length, t
        batch_size: number of rows, b
        seed: seed of the positions
    """

    def __init__(self, ids: Ids, *, block_size: int, batch_size: int, seed: int) -> None:
        self.ids, self.batch_size, self.seed = ids, batch_size, seed
        self.block_size = min(block_size, len(ids) - 1)
        self._offsets = np.arange(self.block_size + 1)

    def starts(self, step: int) -> np.ndarray:
        """Return the (b,) first positions of step `step`, uniform over all that fit."""
        draws = np.random.Generator(np.random.Philox(key=[self.seed, 0], counter=[0, 0, 0, step]))
        return draws.integers(len(self.ids) - self.block_size, size=self.batch_size)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        windows = torch.from_numpy(self.ids[self.starts(step)[:, None] + self._offsets].astype(np.int64))
        return windows[:, :-1], windows[:, 1:]


class ContiguousStreams(Batches):
    """Contiguous blocks for truncated BPTT: row r of step s + 1 continues row r of step s.

    The text is divided into b streams of equal length, (len(ids) - 1) // b, one per row.  When a stream has no complete
    block left, all rows and recurrent states start again: an epoch, in which no target occurs twice.  Each epoch skips
    a random number of tokens first, so that gradients aren't truncated at the same positions again and the tokens that
    no block covers aren't always the same.

    Args:
        ids: token ids of the training set
        block_size: block length, t
        batch_size: number of rows, b
        seed: seed of the skipped tokens
        source: name of the text, for the error

    Raises:
        DataError: a stream is shorter than a block.
    """

    def __init__(self, ids: Ids, *, block_size: int, batch_size: int, seed: int, source: str = "the text") -> None:
        super().__init__(ids, block_size=block_size, batch_size=batch_size, seed=seed)
        needed = batch_size * block_size + 1
        if len(ids) < needed:
            raise DataError(
                f"{source}: too short: data.stateful=True with trainer.batch_size={batch_size} and "
                f"data.block_size={block_size} needs {needed} tokens to train on, found {len(ids)}: "
                "lower one of the two, or take a longer text"
            )
        self.length = (len(ids) - 1) // batch_size
        self.epoch = self.length // block_size  # steps

    def fresh(self, step: int) -> bool:
        """Return True if recurrent states start again at step `step`."""
        return step % self.epoch == 0

    def starts(self, step: int) -> np.ndarray:
        """Return the (b,) first positions of step `step`, one per stream."""
        epoch, block = divmod(step, self.epoch)
        firsts = np.arange(self.batch_size) * self.length
        room = len(self.ids) - 1 - firsts[-1] - self.epoch * self.block_size
        draws = np.random.Generator(np.random.Philox(key=[self.seed, 1], counter=[0, 0, 0, epoch]))
        return firsts + draws.integers(room + 1) + block * self.block_size
