"""Layers of recurrent cells: one upon another, and in both directions.

Letters: b rows, t positions, e width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mingpt.core.registry import Registry
from mingpt.models.dropout import Dropout
from mingpt.models.recurrent.cells import CELLS, Hidden


class Stack(nn.Module):
    """`n_layer` cells, each on the features of the one below, dropout between them.

    Args:
        outputs: width of the last one's features; None: e, and any cell will do.
    """

    def __init__(self, cell: str, n_layer: int, width: int, dropout_p: float, outputs: int | None = None) -> None:
        super().__init__()
        cells = [CELLS[cell](width) for _ in range(n_layer - 1)]
        last = CELLS[cell](width) if outputs is None else CELLS[cell](width, outputs)
        self.cells = nn.ModuleList([*cells, last])
        self.dropout = Dropout(dropout_p)

    def forward(self, x: Tensor, hidden: list[Hidden]) -> tuple[Tensor, list[Hidden]]:
        """(b, t, e), and what each layer remembers -> features of the last, and what each remembers then."""
        after = []
        for number, (cell, before) in enumerate(zip(self.cells, hidden, strict=True)):
            x, now = cell(self.dropout(x) if number else x, before)
            after.append(now)
        return x, after

    @property
    def centre(self) -> float:
        """About where its inputs should lie."""
        return self.cells[0].centre  # type: ignore[return-value]

    def start(self, batch: int) -> list[Hidden]:
        """What each layer remembers of nothing."""
        return [cell.start(batch) for cell in self.cells]  # type: ignore[operator]


class BothWays(nn.Module):
    """A layer that reads from both ends: a cell per direction, joined by a linear map (Schuster & Paliwal 1997)."""

    def __init__(self, cell: str, width: int) -> None:
        super().__init__()
        self.onwards, self.backwards = CELLS[cell](width), CELLS[cell](width)
        self.join = nn.Linear(2 * width, width)
        nn.init.constant_(self.join.bias, self.centre)

    def forward(self, x: Tensor, turned: Tensor) -> Tensor:
        """(b, t, e) -> (b, t, e).

        Args:
            turned: (b, t) positions in the order in which the second cell reads them, its own inverse.
        """
        there = turned[..., None].expand_as(x)
        back, _ = self.backwards(x.gather(1, there))
        both = torch.cat((self.onwards(x)[0], back.gather(1, there)), dim=-1)
        return self.join(both - self.centre)

    @property
    def centre(self) -> float:
        """About where its features lie, and its inputs should."""
        return self.onwards.centre


class BothWaysStack(nn.Module):
    """`n_layer` layers that read both ways, dropout between them."""

    def __init__(self, cell: str, n_layer: int, width: int, dropout_p: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(BothWays(cell, width) for _ in range(n_layer))
        self.dropout = Dropout(dropout_p)

    @property
    def centre(self) -> float:
        """About where its inputs should lie."""
        return self.layers[0].centre  # type: ignore[return-value]

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(b, t, e) -> (b, t, e); features of row r before position lengths[r] depend on nothing from there on.

        Args:
            lengths: (b,) how much of each row is text.
        """
        t = x.shape[1]
        # The last of the text first; what follows the text is turned in itself and read after it.
        turned = (lengths[:, None] - 1 - torch.arange(t, device=x.device)) % t
        for number, layer in enumerate(self.layers):
            x = layer(self.dropout(x) if number else x, turned)
        return x


@dataclass(frozen=True)
class Reading:
    """What a prediction may look at, and what that costs.

    Attributes:
        autoregressive: whether that is what came before alone.
        read: (layers, (b, t, e) embedded text, start) -> (b, t - start, e) features of positions from `start` on.
        work: t -> positions that the layers go through for the features of t.
    """

    autoregressive: bool
    read: Callable[[BothWaysStack, Tensor, int], Tensor]
    work: Callable[[int], int]


def whole(layers: BothWaysStack, x: Tensor, start: int) -> Tensor:
    """Each position's features are of all the text."""
    b, t, _ = x.shape
    return layers(x, torch.full((b,), t, device=x.device))[:, start:]


PREFIXES_AT_ONCE = 32  # bounds memory, and how far a short prefix is read beyond its end in company of longer ones


def each_prefix(layers: BothWaysStack, x: Tensor, start: int) -> Tensor:
    """Each position's features are of the text up to it, read anew: O(t^2) steps of work, O(t) of them in a row."""
    parts = [_last_of_prefixes(layers, x, first, stop) for first, stop in _groups(start, x.shape[1])]
    return torch.cat(parts, dim=1)


def _groups(start: int, stop: int) -> list[tuple[int, int]]:
    return [(at, min(at + PREFIXES_AT_ONCE, stop)) for at in range(start, stop, PREFIXES_AT_ONCE)]


def _last_of_prefixes(layers: BothWaysStack, x: Tensor, first: int, stop: int) -> Tensor:
    """(b, stop - first, e): the last position's features of each prefix that ends in one of first, ..., stop - 1."""
    b, _, e = x.shape
    lengths = torch.arange(first + 1, stop + 1, device=x.device).repeat(b)
    prefixes = x[:, None, :stop].expand(-1, stop - first, -1, -1).reshape(-1, stop, e)
    y = layers(prefixes, lengths)
    return y[torch.arange(len(y), device=x.device), lengths - 1].unflatten(0, (b, stop - first))


def _work_of_prefixes(t: int) -> int:
    return sum((stop - first) * stop for first, stop in _groups(0, t))


READINGS: Registry[Reading] = Registry("model.reading")
READINGS.add("full")(Reading(autoregressive=False, read=whole, work=lambda t: t))
READINGS.add("prefix")(Reading(autoregressive=True, read=each_prefix, work=_work_of_prefixes))
