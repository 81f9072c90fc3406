"""What a decoder remembers between calls: the keys and values of the tokens it has read."""

import torch
from torch import Tensor


class KeyValueCache:
    """Preallocated keys and values of one attention layer, filled from the left, updated in place.

    Args:
        shape: (b, g, capacity, d)
    """

    def __init__(self, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> None:
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.length = 0

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append (b, g, t, d) and return all keys and values so far, (b, g, s, d).

        Raises:
            ValueError: more tokens than there is room for.
        """
        stop = self.length + k.shape[-2]
        if stop > self.keys.shape[-2]:
            raise ValueError(f"{stop} tokens: this cache has room for {self.keys.shape[-2]}")
        self.keys[:, :, self.length : stop] = k
        self.values[:, :, self.length : stop] = v
        self.length = stop
        return self.keys[:, :, :stop], self.values[:, :, :stop]
