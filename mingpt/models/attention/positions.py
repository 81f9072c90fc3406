"""How a model knows where a token stands: three hooks, each idle until a code overrides it.

    embed(x, start)      on the token embeddings, before the first block     (b, t, e) -> (b, t, e)
    rotate(q, k, start)  on queries and keys, inside every attention layer   (b, h, t, d) -> (b, h, t, d)
    bias(i, j)           added to the scores of query positions i and key positions j, where `has_bias`
                                                                              (t, 1), (s,) -> (h, t, s)

`start` counts the tokens that came before x[:, 0]; it is 0 except when a cache holds the earlier ones.
"""

import math
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from mingpt.core.registry import Registry
from mingpt.models.cpu_autograd import rotated
from mingpt.models.init import position_table


class PositionSettings(Protocol):
    """What a position code reads of a model's settings."""

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


class PositionCode(nn.Module):
    """No position at all: every hook is the identity.  Base of all codes."""

    rotates: ClassVar[bool] = False  # whether `rotate` turns pairs of a head's dimensions, which must then be even
    has_bias: ClassVar[bool] = False  # whether `bias` gives something to add
    bounded: ClassVar[bool] = False  # whether it ends at block_size

    def __init__(self, config: PositionSettings) -> None:
        super().__init__()

    @classmethod
    def inside_attention(cls, config: PositionSettings) -> "PositionCode":
        """The part of this code that one attention layer owns."""
        return cls(config)

    def embed(self, x: Tensor, start: int = 0) -> Tensor:
        return x

    def rotate(self, q: Tensor, k: Tensor, start: int = 0) -> tuple[Tensor, Tensor]:
        return q, k

    def bias(self, i: Tensor, j: Tensor) -> Tensor:
        raise NotImplementedError


TRAINED, SLOW, FAST = 8192, 1.0, 4.0  # of `slowed`: a number of tokens, and numbers of turns in it

POSITIONS: Registry[type[PositionCode]] = Registry("model.position")
POSITIONS.add("none")(PositionCode)


@POSITIONS.add("learned")
class LearnedPositions(PositionCode):
    """A trained row for each of block_size positions, added to the token embedding (Radford et al. 2019)."""

    bounded = True

    def __init__(self, config: PositionSettings) -> None:
        super().__init__(config)
        self.table = position_table(nn.Embedding(config.block_size, config.n_embd))

    @classmethod
    def inside_attention(cls, config: PositionSettings) -> PositionCode:
        return PositionCode(config)

    def embed(self, x: Tensor, start: int = 0) -> Tensor:
        return x + self.table.weight[start : start + x.shape[1]]


class RotaryPositionalEmbeddings(nn.Module):
    """Rotate the pair (i, i + d/2) of token m by the angle m * base^(-2i/d), m = 1, 2, ... (Su et al. 2021, eq. 34).

    Half-split pairs and a first token at m = 1.  Scores depend on differences of m alone, so 0-based
    implementations agree to rounding.  Angles come from integer positions in float64 on the CPU and are cast
    when used; they are no parameter and no buffer: not saved, not touched by `.to(dtype)`.

    Args:
        d: width of a head; even.
        base: the slowest pair turns once in about 2 pi base tokens.
        scaling: divides the speed of slow pairs (see `slowed`); 1: none.
        rows: positions for which the angles are kept; calls beyond it compute theirs.
    """

    def __init__(self, d: int, base: float = 10_000, rows: int = 0, scaling: float = 1) -> None:
        super().__init__()
        if d % 2:
            raise ValueError(f"d={d}: rotary positions turn pairs, so a head's width must be even")
        self.d, self.base, self.rows, self.scaling = d, base, rows, scaling
        self._kept: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """(b, h, t, d) -> (b, h, t, d), the first token at m = start + 1."""
        return rotated(x, *self._cos_sin(start, x))

    def _cos_sin(self, start: int, x: Tensor) -> tuple[Tensor, Tensor]:
        stop, kind = start + x.shape[-2], (x.dtype, x.device)
        if stop > self.rows:
            return self._compute(start, stop, *kind)
        if kind not in self._kept:
            self._kept[kind] = self._compute(0, self.rows, *kind)
        cos, sin = self._kept[kind]
        return cos[start:stop], sin[start:stop]

    def _compute(self, start: int, stop: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False):  # what is kept must also serve a later training step
            m = torch.arange(start + 1, stop + 1, dtype=torch.float64, device="cpu")
            speed = self.base ** (-torch.arange(0, self.d, 2, dtype=torch.float64, device="cpu") / self.d)
            angle = m[:, None] * slowed(speed, self.scaling)
            return angle.cos().to(dtype).to(device), angle.sin().to(dtype).to(device)


def slowed(speed: Tensor, scaling: float) -> Tensor:
    """Slow down slow pairs, as Llama 3 does to reach beyond its TRAINED tokens (Grattafiori et al. 2024); in radians.

    A pair that turns more than FAST times in TRAINED tokens keeps its speed, one that turns less than SLOW times has it
    divided by `scaling`, and between the two the factor grows linearly with the number of turns.
    """
    turns = TRAINED * speed / (2 * math.pi)
    kept = ((turns - SLOW) / (FAST - SLOW)).clamp(0, 1)
    return speed * (kept + (1 - kept) / scaling)


@POSITIONS.add("rope")
class RotaryPositions(PositionCode):
    """Queries and keys turned by an angle that grows with the position; the embedding is left alone."""

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
class Alibi(PositionCode):
    """A penalty on distance, slope_n (j - i), a slope per head; nothing is learned (Press et al. 2022).

    Slopes are 2^(-8 n/h), n = 1..h, for h a power of two; between powers, every other slope of the next one fills up.
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
