"""Positional encodings: three hooks, each the identity until an encoding overrides it.

    embed(x, start)      on token embeddings, before the first block         (b, t, e) -> (b, t, e)
    rotate(q, k, start)  on queries and keys, in every attention layer       (b, h, t, d) -> (b, h, t, d)
    bias(i, j)           added to the scores of query positions i and key positions j, if `has_bias`
                                                                              (t, 1), (s,) -> (h, t, s)

`start` is the number of tokens before x[:, 0]: 0, or the length of the KV cache.
"""

import math
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from mingpt.core.registry import Registry
from mingpt.models.cpu_autograd import rotated
from mingpt.models.init import position_table


class PositionSettings(Protocol):
    """Settings that a positional encoding uses."""

    @property
    def n_embd(self) -> int: ...
    @property
    def n_query_head(self) -> int: ...
    @property
    def head_width(self) -> int: ...
    @property
    def rope_base(self) -> float: ...
    @property
    def rope_scaling(self) -> float: ...
    @property
    def block_size(self) -> int: ...


class PositionalEncoding(nn.Module):
    """No positional encoding; base class of all encodings.

    Attributes:
        rotates: True if `rotate` turns pairs of dimensions, so that a head's width must be even
        has_bias: True if `bias` is added to the scores
        bounded: True if there are no positions beyond block_size
    """

    rotates: ClassVar[bool] = False
    has_bias: ClassVar[bool] = False
    bounded: ClassVar[bool] = False

    def __init__(self, config: PositionSettings) -> None:
        super().__init__()

    @classmethod
    def inside_attention(cls, config: PositionSettings) -> "PositionalEncoding":
        """Return the part of this encoding that belongs to one attention layer."""
        return cls(config)

    def embed(self, x: Tensor, start: int = 0) -> Tensor:
        """Return (b, t, e) token embeddings with their positions."""
        return x

    def rotate(self, q: Tensor, k: Tensor, start: int = 0) -> tuple[Tensor, Tensor]:
        """Return (b, h, t, d) queries and (b, g, t, d) keys with their positions."""
        return q, k

    def bias(self, i: Tensor, j: Tensor) -> Tensor:
        """Return (h, t, s), to be added to the scores of (t, 1) query positions and (s,) key positions."""
        raise NotImplementedError


TRAINED, SLOW, FAST = 8192, 1.0, 4.0  # Llama 3's constants in `scaled_frequencies`: tokens, turns, turns

POSITIONS: Registry[type[PositionalEncoding]] = Registry("model.position")
POSITIONS.add("none")(PositionalEncoding)


@POSITIONS.add("learned")
class LearnedPositions(PositionalEncoding):
    """A learned vector for each of block_size positions, added to the token embedding (Radford et al. 2019)."""

    bounded = True

    def __init__(self, config: PositionSettings) -> None:
        super().__init__(config)
        self.table = position_table(nn.Embedding(config.block_size, config.n_embd))

    @classmethod
    def inside_attention(cls, config: PositionSettings) -> PositionalEncoding:
        return PositionalEncoding(config)

    def embed(self, x: Tensor, start: int = 0) -> Tensor:
        return x + self.table.weight[start : start + x.shape[1]]


class RotaryPositionalEmbeddings(nn.Module):
    """Rotate the pair (i, i + d/2) of token m by the angle m * base^(-2i/d), m = 1, 2, ... (Su et al. 2021, eq. 34).

    Pairs are half-split and the first token has m = 1.  Scores depend only on differences of m, so 0-based
    implementations agree to rounding.  Angles are computed from integer positions in float64 on the CPU and cast when
    used; they are neither parameter nor buffer: not saved, not changed by `.to(dtype)`.

    Args:
        d: head width; even
        base: wavelength of the slowest pair, in tokens, over 2 pi
        rows: number of positions whose angles are cached; calls beyond it compute theirs
        scaling: divisor of low frequencies (see `scaled_frequencies`); 1: no scaling
    """

    def __init__(self, d: int, base: float = 10_000, rows: int = 0, scaling: float = 1) -> None:
        super().__init__()
        if d % 2:
            raise ValueError(f"d={d}: rotary embeddings rotate pairs, so a head's width must be even")
        self.d, self.base, self.rows, self.scaling = d, base, rows, scaling
        self._cached: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Rotate (b, h, t, d), whose first token is at m = start + 1."""
        return rotated(x, *self._cos_sin(start, x))

    def _cos_sin(self, start: int, x: Tensor) -> tuple[Tensor, Tensor]:
        stop, kind = start + x.shape[-2], (x.dtype, x.device)
        if stop > self.rows:
            return self._compute(start, stop, *kind)
        if kind not in self._cached:
            self._cached[kind] = self._compute(0, self.rows, *kind)
        cos, sin = self._cached[kind]
        return cos[start:stop], sin[start:stop]

    def _compute(self, start: int, stop: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False):  # cached angles must also work in a later training step
            m = torch.arange(start + 1, stop + 1, dtype=torch.float64, device="cpu")
            frequency = self.base ** (-torch.arange(0, self.d, 2, dtype=torch.float64, device="cpu") / self.d)
            angle = m[:, None] * scaled_frequencies(frequency, self.scaling)
            return angle.cos().to(dtype).to(device), angle.sin().to(dtype).to(device)


def scaled_frequencies(frequency: Tensor, scaling: float) -> Tensor:
    """Return frequencies, in radians per token, scaled for long contexts as in Llama 3 (Grattafiori et al. 2024).

    A pair that turns more than FAST times in TRAINED tokens keeps its frequency, one that turns less than SLOW times
    has it divided by `scaling`; between the two, interpolate linearly in the number of turns.
    """
    turns = TRAINED * frequency / (2 * math.pi)
    unscaled = ((turns - SLOW) / (FAST - SLOW)).clamp(0, 1)
    return frequency * (unscaled + (1 - unscaled) / scaling)


@POSITIONS.add("rope")
class RotaryPositions(PositionalEncoding):
    """Rotary positional encoding of queries and keys (Su et al. 2021)."""

    rotates = True

    def __init__(self, config: PositionSettings) -> None:
        super().__init__(config)
        self.query = RotaryPositionalEmbeddings(
            config.head_width, config.rope_base, rows=config.block_size, scaling=config.rope_scaling
        )
        self.key = self.query  # one table serves both

    def rotate(self, q: Tensor, k: Tensor, start: int = 0) -> tuple[Tensor, Tensor]:
        return self.query(q, start), self.key(k, start)


@POSITIONS.add("alibi")
class Alibi(PositionalEncoding):
    """ALiBi: a bias slope_n (j - i) on the scores, one slope per head, nothing learned (Press et al. 2022).

    Slopes are 2^(-8 n/h), n = 1..h, for h a power of two; other h take the missing ones from the next power's, every
    other slope.
    """

    has_bias = True

    def __init__(self, config: PositionSettings) -> None:
        super().__init__(config)
        self.slopes = _slopes(config.n_query_head)

    def bias(self, i: Tensor, j: Tensor) -> Tensor:
        exact = torch.float32 if i.device.type == "mps" else torch.float64  # MPS has no float64
        slopes = torch.tensor(self.slopes, dtype=exact, device=i.device)
        return slopes[:, None, None] * (j - i)


def _slopes(heads: int) -> list[float]:
    power = 1 << (heads.bit_length() - 1)
    slopes = [2 ** (-8 * n / power) for n in range(1, power + 1)]
    between = [2 ** (-4 * n / power) for n in range(1, 2 * power + 1, 2)]
    return slopes + between[: heads - power]
