"""Tasks that need memory alone, and whose difficulty is distance: symbols, fillers, a sign, and the symbols again.

After the sign the symbols are to be repeated in their order, which is all that is scored.  One symbol is recall;
several are the copying task (Hochreiter & Schmidhuber 1997; Arjovsky et al. 2016).  Places are counted back as
everywhere: the token last read is 1 back, so that each symbol is `distance` back when it is to be repeated.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SYMBOLS = 8  # kinds, of which chance gets one in so many right
NOT_SCORED = -100  # a target that the loss leaves out


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        name: name of its measurement.
        length: number of symbols of a text that are to be repeated.
        fillers: kinds of what stands between the symbols and the sign; 1: blanks.
    """

    name: str
    length: int
    fillers: int

    @property
    def vocabulary(self) -> int:
        """Number of tokens: symbols, fillers and the sign, which is the last one."""
        return SYMBOLS + self.fillers + 1

    @property
    def nearest(self) -> int:
        """The smallest distance, without any filler."""
        return self.length + 1

    def texts(self, count: int, distance: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets, (count, distance + length - 1) ids each.

        Args:
            distance: at least `nearest`.
            seed: of the symbols and fillers.
        """
        draws = torch.Generator().manual_seed(seed)
        symbols = torch.randint(SYMBOLS, (count, self.length), generator=draws)
        between = SYMBOLS + torch.randint(self.fillers, (count, distance - self.nearest), generator=draws)
        sign = torch.full((count, 1), self.vocabulary - 1)
        idx = torch.cat((symbols, between, sign, symbols[:, :-1]), 1)
        targets = torch.full_like(idx, NOT_SCORED)
        targets[:, -self.length :] = symbols
        return idx, targets


RECALL = Task("recall", length=1, fillers=8)
COPYING = Task("copying", length=3, fillers=1)
