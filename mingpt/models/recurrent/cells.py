"""Recurrent cells: how what was read before and what is read now become a feature and a new memory.

A new cell is one class here with `@CELLS.add(name)`: made by `CELLS[name](width)`, called on (b, t, e) inputs and what
it remembers of earlier ones, it returns (b, t, e) features and what it remembers now.
"""

from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mingpt.core.registry import Registry
from mingpt.models.init import output_head
from mingpt.models.recurrent.activations import RELU, SLIDE, TANH, Activation, slide
from mingpt.models.recurrent.elman_scan import scan

__all__ = ["CELLS", "Cell", "Elman", "Hidden", "slide"]

Hidden = tuple[Tensor, ...]  # each (b, e): (h,), or (h, c)


class Cell(nn.Module):
    """Base of every cell.

    Args:
        width: of inputs, of what is remembered, and of features.
        outputs: width of the features, where the cell can make them of another width.
    """

    memories: ClassVar[int] = 1  # tensors that it remembers
    reads_out: ClassVar[bool] = False  # whether it has an output layer of its own, of any width
    width: int

    def forward(self, x: Tensor, hidden: Hidden | None = None) -> tuple[Tensor, Hidden]:
        """(b, t, e) inputs, after whatever left `hidden` (none: the start) -> features, and what to remember."""
        raise NotImplementedError

    @property
    def centre(self) -> float:
        """About where its features lie, and its inputs should."""
        return 0.0

    def start(self, batch: int) -> Hidden:
        """What is remembered of nothing: zeros."""
        weight = next(self.parameters())
        # Not weight.new_zeros: a weight may be shared out among processes, and what it makes then is, too.
        zeros = partial(torch.zeros, batch, self.width, dtype=weight.dtype, device=weight.device)
        return tuple(zeros() for _ in range(self.memories))


CELLS: Registry[type[Cell]] = Registry("model.cell")


class Elman(Cell):
    """h_t = f(W_hh h_{t-1} + W_hx x_t + b_h), y_t = f(W_yh h_t + b_y), y the feature (Elman 1990).

    The parameters are the matrices and what f is applied to when all that a matrix reads lies at f's centre c:
    b_h = input.bias - c (W_hh 1 + W_hx 1), b_y = output.bias - c W_yh 1.  The functions are the same; but a step of an
    optimizer along a matrix then does not move its sums along with it, off f's slope, from where slide never comes
    back.  Everything starts about the centre, with W_hh orthogonal times RECALL, and W_yh orthogonal.
    """

    RECALL = 0.5
    reads_out = True
    activation: ClassVar[Activation]

    def __init__(self, width: int, outputs: int | None = None) -> None:
        super().__init__()
        self.width = width
        self.input = nn.Linear(width, width)
        self.recurrence = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, outputs or width)
        if outputs:
            output_head(self.output)
        nn.init.orthogonal_(self.recurrence.weight, self.RECALL)
        nn.init.orthogonal_(self.output.weight)
        nn.init.normal_(self.input.weight, 0.0, ((1 - self.RECALL**2) / width) ** 0.5)  # h keeps the spread of x
        for layer in (self.input, self.output):
            nn.init.constant_(layer.bias, self.activation.centre)

    @property
    def centre(self) -> float:
        return self.activation.centre

    @property
    def b_h(self) -> Tensor:
        """(e,)"""
        return self.input.bias - self.centre * (self.recurrence.weight.sum(1) + self.input.weight.sum(1))

    @property
    def b_y(self) -> Tensor:
        """(e,), or as many as there are outputs."""
        return self.output.bias - self.centre * self.output.weight.sum(1)

    def forward(self, x: Tensor, hidden: Hidden | None = None) -> tuple[Tensor, Hidden]:
        (before,) = hidden or self.start(len(x))
        h = scan(x, before, self.input.weight, self.b_h, self.recurrence.weight, self.activation)
        return self.activation.of(F.linear(h, self.output.weight, self.b_y)), (h[:, -1],)


@CELLS.add("elman")
class ElmanSlide(Elman):
    """f(a) = min(1, max(0, a)): piecewise linear, and bounded."""

    activation = SLIDE


@CELLS.add("elman_tanh")
class ElmanTanh(Elman):
    """f = tanh, as most have it."""

    activation = TANH


@CELLS.add("elman_relu")
class ElmanRelu(Elman):
    """f(a) = max(0, a) (Le et al. 2015)."""

    activation = RELU


@CELLS.add("gru")
class Gru(Cell):
    """PyTorch's GRU: two gates, one memory (Cho et al. 2014)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.rnn = width, nn.GRU(width, width, batch_first=True)

    def forward(self, x: Tensor, hidden: Hidden | None = None) -> tuple[Tensor, Hidden]:
        (h,) = hidden or self.start(len(x))
        y, h = self.rnn(x, h[None])
        return y, (h[0],)


@CELLS.add("lstm")
class Lstm(Cell):
    """PyTorch's LSTM: three gates, a memory beside the feature (Hochreiter & Schmidhuber 1997)."""

    memories = 2

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.rnn = width, nn.LSTM(width, width, batch_first=True)

    def forward(self, x: Tensor, hidden: Hidden | None = None) -> tuple[Tensor, Hidden]:
        h, c = hidden or self.start(len(x))
        y, (h, c) = self.rnn(x, (h[None], c[None]))
        return y, (h[0], c[0])
