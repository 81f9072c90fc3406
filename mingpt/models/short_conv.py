"""Short causal depth-wise convolution along positions: local mixing without attention.

Depth-wise as in Primer (So et al. 2021, 4.2); residual, and before the MLP, as Canon-C (Allen-Zhu 2025).
"""

import torch
from torch import Tensor, nn

from mingpt.models.cpu_autograd import convolved


class Convolution(nn.Module):
    """No convolution: the identity; base class of ShortConvolution."""

    def forward(self, x: Tensor, recent: Tensor | None = None) -> Tensor:
        """Return (b, t, e) `x` unchanged."""
        return x

    def new_state(self, batch: int, like: Tensor) -> Tensor | None:
        """Return the initial `recent` of `forward`, in the type and on the device of `like`."""
        return None


class ShortConvolution(Convolution):
    """Causal convolution y_t = x_t + sum over k = 1 .. width - 1 of w_k x_(t-k), x = 0 before the text, w = 0 at first.

    Args:
        width: positions that an output depends on, its own included; at least 2
        channels: number of channels, e
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width - 1, channels))

    def forward(self, x: Tensor, recent: Tensor | None = None) -> Tensor:
        """Map (b, t, e) to (b, t, e).

        Args:
            recent: (b, width - 1, e) inputs just before x, or zeros; updated in place.
        """
        if recent is None:
            return convolved(x, self.weight)
        before, t = recent.shape[1], x.shape[1]
        padded = torch.cat((recent, x), dim=1)  # (b, width - 1 + t, e)
        recent.copy_(padded[:, t:])
        rows = enumerate(self.weight.unbind(), start=1)
        return x + sum(padded[:, before - lag : before - lag + t] * row for lag, row in rows)

    def new_state(self, batch: int, like: Tensor) -> Tensor:
        return like.new_zeros(batch, *self.weight.shape)


def convolution(width: int, channels: int) -> Convolution:
    """Return a convolution over `width` positions; for width 1 the identity."""
    return ShortConvolution(width, channels) if width > 1 else Convolution()
