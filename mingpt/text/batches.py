"""What step s sees: a pure function of (seed, s), whatever came before it.

Ids stay in one compact array; a batch is one gather of windows.  They start at uniformly drawn places, with
replacement (`Batches`), or each where the same row's last one ended (`Lanes`), for models that remember what they read.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mingpt.errors import DataError, UsageError, require
from mingpt.text.tokenizers import TOKENIZERS, Ids, Tokenizer
from mingpt.text.tokens import BYTES, VOCAB_SIZE

FILE_NAME = ".json"  # how the name of a ready-made tokenizer ends
LARGEST = 1_000_000  # tokens of a vocabulary
FEWEST = 4  # tokens of a text: two to train on, two held out, so that one follows another in each


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What text, and how it is cut.

    Attributes:
        path: a UTF-8 file, several (`a.txt,b.txt`), a folder, a pattern (`texts/**/*.txt`), `-` for standard input, or
            what `chargpt prepare` made; `input.txt`: written, where missing, as Shakespeare's plays;
            `tinyshakespeare`: downloaded
        tokenizer: how text becomes ids; or the path of a tokenizer.json, as the tokenizers library or a run saved it
        vocab_size: tokens at most of a tokenizer that learns them from the text
        block_size: tokens that a model sees at once
        val_fraction: part of the text held out, taken from its end
        stateful: blocks follow one another in the text and the model goes on from the state that the last one left;
            gradients stop at a block's edge (truncated back-propagation through time); for recurrent models;
            val_loss still starts each block from nothing, val_loss_carried does not
    """

    path: str = "input.txt"
    tokenizer: str = "char"
    vocab_size: int = VOCAB_SIZE
    block_size: int = 128
    val_fraction: float = 0.1
    stateful: bool = False

    def __post_init__(self) -> None:
        require(self.path != "", "data.path", "''", "must name a text file")
        ready_made = self.tokenizer.endswith(FILE_NAME)
        if ready_made or not TOKENIZERS[self.tokenizer].learns:
            usual, by = self.vocab_size == VOCAB_SIZE, ("data.tokenizer", self.tokenizer)
            require(usual, "data.vocab_size", self.vocab_size, "is not read by {}", by)
        require(BYTES <= self.vocab_size <= LARGEST, "data.vocab_size", self.vocab_size, f"must be in [256, {LARGEST}]")
        require(self.block_size >= 1, "data.block_size", self.block_size, "must be at least 1")
        require(0 < self.val_fraction < 1, "data.val_fraction", self.val_fraction, "must be between 0 and 1")


class Split(NamedTuple):
    """Two parts of a text that share no character."""

    train: Ids
    held_out: Ids


def border(characters: int, val_fraction: float) -> int:
    """Where the held-out part of a text of so many characters begins; each part has at least two where there are four.

    Between characters, not tokens: so no character is in both parts, and every tokenizer is judged on the same text.
    """
    return min(max(int(characters * (1 - val_fraction)), 2), max(characters - 2, 0))


def split(text: str, tokenizer: Tokenizer, *, block_size: int, val_fraction: float, source: str = "the text") -> Split:
    """The ids of the first part, to train on, and of the last, to judge by; each has at least two tokens.

    Args:
        source: of the text, for the error.

    Raises:
        DataError: fewer than block_size + 1 tokens (4 at least), or characters that the tokenizer doesn't know.
    """
    at = border(len(text), val_fraction)
    try:
        data = Split(tokenizer.encode(text[:at]), tokenizer.encode(text[at:]))
    except UsageError as unknown:
        raise DataError(f"{source}: {unknown}") from None
    refuse_short(data, block_size=block_size, source=source)
    return data


def refuse_short(data: Split, *, block_size: int, source: str) -> None:
    """Refuse a text that has not one block and its targets, or a part without a token that follows another."""
    needed, found = max(block_size + 1, FEWEST), len(data.train) + len(data.held_out)
    if found < needed:
        smaller = (
            f", or --data.block_size={found - 1}" if found >= FEWEST else f"; no text of fewer than {FEWEST} will do"
        )
        raise DataError(
            f"{source}: too short: data.block_size={block_size} needs {needed} tokens, found {found}: "
            f"take a longer text{smaller}"
        )
    for name, part, change in (("to train on", data.train, "smaller"), ("held out", data.held_out, "larger")):
        if len(part) < 2:
            raise DataError(
                f"{source}: too short: the part {name} needs 2 tokens, found {len(part)}: "
                f"take a longer text, or a {change} --data.val_fraction"
            )


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
