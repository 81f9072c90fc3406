"""Stacks of recurrent cells, unidirectional and bidirectional.

Shapes: b batch, t positions, e width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mingpt.core.registry import Registry
from mingpt.models.dropout import Dropout
from mingpt.models.recurrent.cells import CELLS, Hidden


class Stack(nn.Module):
    """`n_layer` cells on top of each other, with dropout between them.

    Args:
        cell: name of the cell
        n_layer: number of layers
        width: width e of inputs and hidden states
        dropout_p: dropout probability between layers
        outputs: width of the last layer's features; None: e
    """

    def __init__(self, cell: str, n_layer: int, width: int, dropout_p: float, outputs: int | None = None) -> None:
        super().__init__()
        cells = [CELLS[cell](width) for _ in range(n_layer - 1)]
        last = CELLS[cell](width) if outputs is None else CELLS[cell](width, outputs)
        self.cells = nn.ModuleList([*cells, last])
        self.dropout = Dropout(dropout_p)

    def forward(self, x: Tensor, hidden: list[Hidden]) -> tuple[Tensor, list[Hidden]]:
        """Return the last layer's features of (b, t, e) inputs, and each layer's next hidden state."""
        after = []
        for number, (cell, before) in enumerate(zip(self.cells, hidden, strict=True)):
            x, now = cell(self.dropout(x) if number else x, before)
            after.append(now)
        return x, after

    @property
    def centre(self) -> float:
        """Best mean of its inputs."""
        return self.cells[0].centre  # type: ignore[return-value]

    def start(self, batch: int) -> list[Hidden]:
        """Return the initial hidden state of each layer."""
        return [cell.start(batch) for cell in self.cells]  # type: ignore[operator]


class BidirectionalLayer(nn.Module):
    """Bidirectional layer: a cell per direction, joined by a linear map (Schuster & Paliwal 1997)."""

    def __init__(self, cell: str, width: int) -> None:
        super().__init__()
        self.onwards, self.backwards = CELLS[cell](width), CELLS[cell](width)
        self.join = nn.Linear(2 * width, width)
        nn.init.constant_(self.join.bias, self.centre)

    def forward(self, x: Tensor, reverse: Tensor) -> Tensor:
        """Map (b, t, e) to (b, t, e).

        Args:
            reverse: (b, t) permutation of positions for the backward cell, its own inverse
        """
        reverse = reverse[..., None].expand_as(x)
        back, _ = self.backwards(x.gather(1, reverse))
        both = torch.cat((self.onwards(x)[0], back.gather(1, reverse)), dim=-1)  # (b, t, 2e)
        return self.join(both - self.centre)

    @property
    def centre(self) -> float:
        """Approximate mean of its features, and the best mean of its inputs."""
        return self.onwards.centre


class BidirectionalStack(nn.Module):
    """`n_layer` bidirectional layers, with dropout between them."""

    def __init__(self, cell: str, n_layer: int, width: int, dropout_p: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(BidirectionalLayer(cell, width) for _ in range(n_layer))
        self.dropout = Dropout(dropout_p)

    @property
    def centre(self) -> float:
        """Best mean of its inputs."""
        return self.layers[0].centre  # type: ignore[return-value]

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Map (b, t, e) to (b, t, e); features before position lengths[r] of row r don't depend on later positions.

        Args:
            lengths: (b,) length of the text in each row; the rest is padding
        """
        t = x.shape[1]
        # The text is reversed in place; the padding after it is reversed separately, and comes after it.
        reverse = (lengths[:, None] - 1 - torch.arange(t, device=x.device)) % t
        for number, layer in enumerate(self.layers):
            x = layer(self.dropout(x) if number else x, reverse)
        return x


@dataclass(frozen=True)
class Reading:
    """Context of a prediction of a bidirectional model.

    Attributes:
        autoregressive: True if it is the preceding tokens only
        read: (layers, (b, t, e) embeddings, start) -> (b, t - start, e) features of the positions from `start` on
        work: t -> positions that the layers compute for the features of t positions
    """

    autoregressive: bool
    read: Callable[[BidirectionalStack, Tensor, int], Tensor]
    work: Callable[[int], int]


def full_text(layers: BidirectionalStack, x: Tensor, start: int) -> Tensor:
    """Return features that depend on the complete text."""
    b, t, _ = x.shape
    return layers(x, torch.full((b,), t, device=x.device))[:, start:]


PREFIXES_AT_ONCE = 32  # bounds memory, and the padding of short prefixes in a batch with longer ones


def each_prefix(layers: BidirectionalStack, x: Tensor, start: int) -> Tensor:
    """Return features that each depend on the text up to their position, encoded again for each: O(t^2) steps."""
    parts = [_last_of_prefixes(layers, x, first, stop) for first, stop in _groups(start, x.shape[1])]
    return torch.cat(parts, dim=1)


def _groups(start: int, stop: int) -> list[tuple[int, int]]:
    return [(at, min(at + PREFIXES_AT_ONCE, stop)) for at in range(start, stop, PREFIXES_AT_ONCE)]


def _last_of_prefixes(layers: BidirectionalStack, x: Tensor, first: int, stop: int) -> Tensor:
    """Return (b, stop - first, e): the last features of each prefix that ends at first, ..., stop - 1."""
    b, _, e = x.shape
    lengths = torch.arange(first + 1, stop + 1, device=x.device).repeat(b)
    prefixes = x[:, None, :stop].expand(-1, stop - first, -1, -1).reshape(-1, stop, e)
    y = layers(prefixes, lengths)
    return y[torch.arange(len(y), device=x.device), lengths - 1].unflatten(0, (b, stop - first))


def _work_of_prefixes(t: int) -> int:
    return sum((stop - first) * stop for first, stop in _groups(0, t))


READINGS: Registry[Reading] = Registry("model.reading")
READINGS.add("full")(Reading(autoregressive=False, read=full_text, work=lambda t: t))
READINGS.add("prefix")(Reading(autoregressive=True, read=each_prefix, work=_work_of_prefixes))
