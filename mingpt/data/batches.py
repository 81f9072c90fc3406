"""What step s sees: a pure function of (seed, s), whatever came before it.

Ids stay in one compact array; a batch is one gather of windows.  They start at uniformly drawn places, with
replacement (`Batches`), or each where the same row's last one ended (`Lanes`), for models that remember what they read.
"""

import numpy as np
import torch
from torch import Tensor

from mingpt.core.errors import DataError
from mingpt.data.tokenizers import Ids


class Batches:
    """`batches(step)` gives (inputs, targets), both (b, t), int64: targets are inputs one position on.

    Args:
        ids: the training part; where it is shorter than block_size + 1, blocks are as long as it allows.
        block_size: t.
        batch_size: b.
        seed: of the draws.
    """

    def __init__(self, ids: Ids, *, block_size: int, batch_size: int, seed: int) -> None:
        self.ids, self.batch_size, self.seed = ids, batch_size, seed
        self.block_size = min(block_size, len(ids) - 1)
        self._offsets = np.arange(self.block_size + 1)

    def starts(self, step: int) -> np.ndarray:
        """(b,) first positions of step `step`, each equally likely to be any that fits."""
        draws = np.random.Generator(np.random.Philox(key=[self.seed, 0], counter=[0, 0, 0, step]))
        return draws.integers(len(self.ids) - self.block_size, size=self.batch_size)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        windows = torch.from_numpy(self.ids[self.starts(step)[:, None] + self._offsets].astype(np.int64))
        return windows[:, :-1], windows[:, 1:]


class Lanes(Batches):
    """Batches of which row r at step s + 1 goes on where row r at step s ended.

    The text is cut into b lanes of one length, (len(ids) - 1) // b, a row each, and read block by block.  When a lane
    has no whole block left, every row begins again, and a model's memory with it: that is an epoch, in which no target
    comes twice.  Each epoch passes over a number of tokens first, equally likely to be any that leaves room, so that
    gradients aren't cut at the same places again and the tokens that no block covers aren't always the same.

    Args:
        ids: the training part.
        source: what the ids are of, for the error.

    Raises:
        DataError: lanes shorter than a block.
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
        self.lane = (len(ids) - 1) // batch_size
        self.epoch = self.lane // block_size  # steps

    def fresh(self, step: int) -> bool:
        """Whether nothing is carried into step `step`."""
        return step % self.epoch == 0

    def starts(self, step: int) -> np.ndarray:
        """(b,) first positions of step `step`, one in each lane."""
        epoch, block = divmod(step, self.epoch)
        firsts = np.arange(self.batch_size) * self.lane
        room = len(self.ids) - 1 - firsts[-1] - self.epoch * self.block_size
        draws = np.random.Generator(np.random.Philox(key=[self.seed, 1], counter=[0, 0, 0, epoch]))
        return firsts + draws.integers(room + 1) + block * self.block_size
