"""KV cache of one attention layer.

With a sliding window it is a ring buffer of the last `capacity` positions: position p is at slot p mod capacity.
"""

import torch
from torch import Tensor


class KeyValueCache:
    """Preallocated keys and values of one attention layer, updated in place.

    Args:
        shape: (b, g, capacity, d)
        dtype, device: type and device of keys and values
        ring: overwrite the oldest position when full; False: raise
    """

    def __init__(
        self, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device, *, ring: bool = False
    ) -> None:
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.length, self.capacity, self.ring = 0, shape[2], ring

    @property
    def bytes(self) -> int:
        """Size of keys and values together, in bytes."""
        return 2 * self.keys.numel() * self.keys.element_size()

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Append (b, g, t, d) keys and values.

        Returns:
            (b, g, s, d) keys and values that the new tokens attend to, and their (s,) positions; None: 0 to s - 1.

        Raises:
            ValueError: the tokens exceed the capacity, and this is no ring.
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
        all_k = torch.cat((self.keys[:, :, slots], k), dim=2) if before else k
        all_v = torch.cat((self.values[:, :, slots], v), dim=2) if before else v
        last = torch.arange(before + t - self.capacity, before + t, device=k.device) % self.capacity
        self.keys[:, :, last], self.values[:, :, last] = (
            all_k[:, :, -self.capacity :],
            all_v[:, :, -self.capacity :],
        )
        self.length = before + t
        if not before:  # a complete sequence, which kernels of a window serve
            return k, v, None
        return all_k, all_v, torch.arange(len(old) + t, device=k.device) + (before - len(old))

    def _positions(self) -> Tensor:
        slots = torch.arange(self.capacity, device=self.keys.device)
        last = self.length - 1
        return last - (last - slots) % self.capacity
