"""A short causal convolution along the text: what a position needs of its nearest neighbours, without attention.

Each channel of a position gets a weighted sum of the same channel of the positions just before it added (depth-wise,
as Primer's, So et al. 2021, 4.2; where it stands, and that it is an addition, as Canon-C, Allen-Zhu 2025).
"""

import torch
from torch import Tensor, nn

from mingpt.models.cpu_autograd import convolved


class Convolution(nn.Module):
    """None: every position for itself.  Base of the one there is."""

    def forward(self, x: Tensor, recent: Tensor | None = None) -> Tensor:
        return x

    def new_state(self, batch: int, like: Tensor) -> Tensor | None:
        """What `forward` takes as `recent` before the text, in the type and on the device of `like`."""
        return None


class ShortConvolution(Convolution):
    """y_t = x_t + sum over k = 1 .. width - 1 of w_k * x_(t-k), x being 0 before the text; w starts at 0.

    Args:
        width: positions that an output reads, its own included; 2 or more
        channels: of x
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width - 1, channels))

    def forward(self, x: Tensor, recent: Tensor | None = None) -> Tensor:
        """(b, t, e) -> (b, t, e).

        Args:
            recent: (b, width - 1, e), the inputs just before x, or 0 where there were none; takes those up to its end.
        """
        if recent is None:
            return convolved(x, self.weight)
        before, t = recent.shape[1], x.shape[1]
        read = torch.cat((recent, x), dim=1)
        recent.copy_(read[:, t:])
        rows = enumerate(self.weight.unbind(), start=1)
        return x + sum(read[:, before - lag : before - lag + t] * row for lag, row in rows)

    def new_state(self, batch: int, like: Tensor) -> Tensor:
        return like.new_zeros(batch, *self.weight.shape)


def convolution(width: int, channels: int) -> Convolution:
    """What mixes `width` positions; 1: nothing does."""
    return ShortConvolution(width, channels) if width > 1 else Convolution()
