"""Recurrent cells: (b, t, e) inputs and a hidden state -> (b, t, e) features and the next hidden state.

A new cell is one class here with `@CELLS.add(name)`; `CELLS[name](width)` makes one.
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
    """Base class of every cell.

    Args:
        width: width of inputs, hidden state and features, e
        outputs: width of the features; only for cells that `reads_out`

    Attributes:
        memories: number of tensors of the hidden state
        reads_out: True if the cell has an output layer of its own, of any width
    """

    memories: ClassVar[int] = 1
    reads_out: ClassVar[bool] = False
    width: int

    def forward(self, x: Tensor, hidden: Hidden | None = None) -> tuple[Tensor, Hidden]:
        """Return features and the next hidden state of (b, t, e) inputs after `hidden`; None: zeros."""
        raise NotImplementedError

    @property
    def centre(self) -> float:
        """Approximate mean of its features, and the best mean of its inputs."""
        return 0.0

    def start(self, batch: int) -> Hidden:
        """Return the initial hidden state: zeros."""
        weight = next(self.parameters())
        # Not weight.new_zeros: a weight may be sharded (FSDP), and its new_zeros then are, too.
        zeros = partial(torch.zeros, batch, self.width, dtype=weight.dtype, device=weight.device)
        return tuple(zeros() for _ in range(self.memories))


CELLS: Registry[type[Cell]] = Registry("model.cell")


class Elman(Cell):
    """Elman cell: h_t = f(W_hh h_{t-1} + W_hx x_t + b_h), y_t = f(W_yh h_t + b_y), y the feature (Elman 1990).

    Biases are parametrised relative to f's centre c: b_h = input.bias - c (W_hh 1 + W_hx 1),
    b_y = output.bias - c W_yh 1.  The function class is the same, but an optimizer step of a matrix then doesn't shift
    the pre-activations, possibly to where slide has gradient 0 and never recovers.  Initially all activations are near
    the centre, W_hh is RECALL times an orthogonal matrix, and W_yh is orthogonal.
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
        nn.init.normal_(self.input.weight, 0.0, ((1 - self.RECALL**2) / width) ** 0.5)  # h has the variance of x
        for layer in (self.input, self.output):
            nn.init.constant_(layer.bias, self.activation.centre)

    @property
    def centre(self) -> float:
        return self.activation.centre

    @property
    def b_h(self) -> Tensor:
        """Bias of the hidden state, (e,)."""
        return self.input.bias - self.centre * (self.recurrence.weight.sum(1) + self.input.weight.sum(1))

    @property
    def b_y(self) -> Tensor:
        """Bias of the features, (e,) or (outputs,)."""
        return self.output.bias - self.centre * self.output.weight.sum(1)

    def forward(self, x: Tensor, hidden: Hidden | None = None) -> tuple[Tensor, Hidden]:
        (before,) = hidden or self.start(len(x))
        h = scan(x, before, self.input.weight, self.b_h, self.recurrence.weight, self.activation)  # (b, t, e)
        return self.activation.of(F.linear(h, self.output.weight, self.b_y)), (h[:, -1],)


@CELLS.add("elman")
class ElmanSlide(Elman):
    """Elman cell with f(a) = min(1, max(0, a)): piecewise linear and bounded."""

    activation = SLIDE


@CELLS.add("elman_tanh")
class ElmanTanh(Elman):
    """Elman cell with f = tanh, as usual."""

    activation = TANH


@CELLS.add("elman_relu")
class ElmanRelu(Elman):
    """Elman cell with f(a) = max(0, a) (Le et al. 2015)."""

    activation = RELU


@CELLS.add("gru")
class Gru(Cell):
    """PyTorch's GRU: two gates, hidden state h (Cho et al. 2014)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.rnn = width, nn.GRU(width, width, batch_first=True)

    def forward(self, x: Tensor, hidden: Hidden | None = None) -> tuple[Tensor, Hidden]:
        (h,) = hidden or self.start(len(x))
        y, h = self.rnn(x, h[None])
        return y, (h[0],)


@CELLS.add("lstm")
class Lstm(Cell):
    """PyTorch's LSTM: three gates, hidden state (h, c) (Hochreiter & Schmidhuber 1997)."""

    memories = 2

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.rnn = width, nn.LSTM(width, width, batch_first=True)

    def forward(self, x: Tensor, hidden: Hidden | None = None) -> tuple[Tensor, Hidden]:
        h, c = hidden or self.start(len(x))
        y, (h, c) = self.rnn(x, (h[None], c[None]))
        return y, (h[0], c[0])
