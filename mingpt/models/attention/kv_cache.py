"""What a decoder remembers between calls: the keys and values of the tokens it has read.

With a window only the last `capacity` positions are kept, in a ring: position p lies at slot p mod capacity.
"""

import torch
from torch import Tensor


class KeyValueCache:
    """Preallocated keys and values of one attention layer, updated in place.

    Args:
        shape: (b, g, capacity, d)
        ring: overwrite the oldest position when full; False: refuse.
    """

    def __init__(
        self, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device, *, ring: bool = False
    ) -> None:
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.length, self.capacity, self.ring = 0, shape[2], ring

    @property
    def bytes(self) -> int:
        """Of keys and values together."""
        return 2 * self.keys.numel() * self.keys.element_size()

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Append (b, g, t, d); return the keys and values that these tokens may read, and where they stand.

        The third is (s,) positions, or None where they are simply 0, 1, ... in order.

        Raises:
            ValueError: more tokens than there is room for.
        """
        t, before = k.shape[-2], self.length
        if not self.ring and before + t > self.capacity:
            raise ValueError(f"{before + t} tokens: this cache has room for {self.capacity}")
        if before + t <= self.capacity:
            self.keys[:, :, before : before + t] = k
            self.values[:, :, before : before + t] = v
            self.length = before + t
            return self.keys[:, :, : self.length], self.values[:, :, : self.length], None
        if t == 1:
            self.keys[:, :, before % self.capacity] = k[:, :, 0]
            self.values[:, :, before % self.capacity] = v[:, :, 0]
            self.length = before + 1
            return self.keys, self.values, self._positions()
        old = torch.arange(max(before - self.capacity, 0), before, device=k.device)
        slots = old % self.capacity
        all_k = torch.cat((self.keys[:, :, slots], k), dim=2)
        all_v = torch.cat((self.values[:, :, slots], v), dim=2)
        kept = torch.arange(before + t - self.capacity, before + t, device=k.device) % self.capacity
        self.keys[:, :, kept], self.values[:, :, kept] = all_k[:, :, -self.capacity :], all_v[:, :, -self.capacity :]
        self.length = before + t
        return all_k, all_v, torch.arange(len(old) + t, device=k.device) + (before - len(old))

    def _positions(self) -> Tensor:
        slots = torch.arange(self.capacity, device=self.keys.device)
        last = self.length - 1
        return last - (last - slots) % self.capacity
