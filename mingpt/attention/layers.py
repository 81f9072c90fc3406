"""Multi-head self-attention, built from parts: projections, norm, position code, kernel.

Letters: b batch, t queries, s keys, h query heads, g key/value heads, d head width, e model width.
The layer knows no variant by name: it calls the parts that its settings chose.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from einops import rearrange
from torch import Tensor, nn

from mingpt.attention.cache import KeyValueCache
from mingpt.attention.kernels import AUTO, KERNELS, Need, choose, for_cache
from mingpt.attention.masks import FULL, MASKS, Mask, windowed
from mingpt.attention.positions import POSITIONS, RotaryPositionalEmbeddings
from mingpt.attention.scores import SCORES
from mingpt.dropout import Dropout
from mingpt.errors import require
from mingpt.initialise import writes_residual
from mingpt.norms import NORMS


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """Settings of one attention layer.

    Attributes:
        n_embd: width of the residual stream
        n_query_head: query heads
        head_dim: width of a head; null: n_embd/n_query_head
        n_kv_head: key/value heads; null: one per query head; fewer: consecutive query heads share one
        rope: True rotates queries and keys by position (RoPE); False learns a row per position
        score: how well a key answers a query
        mask: who may read whom; full reads later tokens, too, so such a model can't write text
        window: keys that a query sees, its own included; null: all that the mask allows
        kernel: how attention is computed; auto: the first that serves on this device and is worth it
        position: null leaves the choice to model.rope; or the name of a position code
        rope_base: of rotary positions: the slowest pair of a head turns once in about 2 pi rope_base tokens
        bias: whether linear layers (and LayerNorm) have a bias
        qkv_bias: whether the projections to queries, keys and values have one; null: as model.bias
        qk_norm: normalise each head's queries and keys (RMS) before their product
        norm_eps: what every norm adds to the variance or mean square; null: 1e-5 in layernorm, 1e-6 in others
        attn_pdrop: dropout on attention weights, probability
        resid_pdrop: dropout on what is added to the residual stream, or passed between recurrent layers, probability
        block_size: tokens seen at once
    """

    n_embd: int
    n_query_head: int
    head_dim: int | None = None
    n_kv_head: int | None = None
    rope: bool = False
    position: str | None = None
    rope_base: float = 10_000.0
    score: str = "scaled_dot"
    mask: str = "causal"
    window: int | None = None
    kernel: str = AUTO
    bias: bool = True
    qkv_bias: bool | None = None
    qk_norm: bool = False
    norm_eps: float | None = None
    attn_pdrop: float = 0.0
    resid_pdrop: float = 0.0
    block_size: int = 128

    def __post_init__(self) -> None:
        self.check_attention()

    def check_attention(self) -> None:
        """Every rule of these settings.

        Raises:
            UsageError: names the setting, its value and the broken rule.
        """
        self._check_heads()
        self._check_shares_and_length()
        require(
            not self.rope or self.position in (None, "rope"),
            "model.position",
            self.position,
            "contradicts {}; give one of the two",
            ("model.rope", True),
        )
        self._check_window()
        self._check_head_width()
        MASKS[self.mask], self.kernel == AUTO or KERNELS[self.kernel]
        self._check_constants()

    def _check_heads(self) -> None:
        for name in ("n_embd", "n_query_head"):
            require(getattr(self, name) >= 1, f"model.{name}", getattr(self, name), "must be at least 1")
        heads = ("model.n_query_head", self.n_query_head)
        divides = self.head_dim is not None or self.n_embd % self.n_query_head == 0
        require(divides, "model.n_embd", self.n_embd, "must be a multiple of {}", heads)
        some = self.head_dim is None or self.head_dim >= 1
        require(some, "model.head_dim", self.head_dim, "must be at least 1, or null")
        shared = 1 <= self.key_heads <= self.n_query_head and self.n_query_head % self.key_heads == 0
        require(shared, "model.n_kv_head", self.n_kv_head, "must divide {}", heads)

    def _check_shares_and_length(self) -> None:
        for name in ("attn_pdrop", "resid_pdrop"):
            require(0 <= getattr(self, name) < 1, f"model.{name}", getattr(self, name), "must be in [0, 1)")
        require(self.block_size >= 1, "data.block_size", self.block_size, "must be at least 1")

    def _check_window(self) -> None:
        require(self.window is None or self.window >= 1, "model.window", self.window, "must be at least 1, or null")
        require(
            self.window is None or MASKS[self.mask].causal,
            "model.window",
            self.window,
            "counts keys back from the query's own, which {} does not",
            ("model.mask", self.mask),
        )

    def _check_head_width(self) -> None:
        least, d, code = SCORES[self.score].least_width, self.head_width, POSITIONS[self.position_code]
        field, value = ("n_embd", self.n_embd) if self.head_dim is None else ("head_dim", self.head_dim)
        rule = f"must give heads of width {least} or more for {{}}"
        require(d >= least, f"model.{field}", value, rule, ("model.score", self.score))
        rule = f"must give heads of even width for rotary positions, not {d}"
        require(not code.rotates or d % 2 == 0, f"model.{field}", value, rule)

    def _check_constants(self) -> None:
        for name in ("rope_base", "norm_eps"):
            value = getattr(self, name)
            finite = value is None or (math.isfinite(value) and value > 0)
            require(finite, f"model.{name}", value, "must be finite and above 0")
        require(
            POSITIONS[self.position_code].rotates or self.rope_base == AttentionConfig.rope_base,
            "model.rope_base",
            self.rope_base,
            f"is not read by {self.position_code} positions",
        )

    @property
    def key_heads(self) -> int:
        """g"""
        return self.n_query_head if self.n_kv_head is None else self.n_kv_head

    @property
    def head_width(self) -> int:
        """d"""
        return self.n_embd // self.n_query_head if self.head_dim is None else self.head_dim

    @property
    def has_qkv_bias(self) -> bool:
        """Whether the projections to queries, keys and values have a bias."""
        return self.bias if self.qkv_bias is None else self.qkv_bias

    @property
    def rule(self) -> Mask:
        """The mask, the window included."""
        return windowed(MASKS[self.mask], self.window)

    @property
    def position_code(self) -> str:
        """The name in POSITIONS that `rope` and `position` agree on."""
        return self.position or ("rope" if self.rope else "learned")


class AttentionOutput(NamedTuple):
    """What an attention layer returns: first its output, then the weights where its kernel makes them."""

    output: Tensor
    weights: Tensor | None


class GroupedQueryAttention(nn.Module):
    """Self-attention in which groups of query heads share keys and values (Ainslie et al. 2023).

    Args:
        config: any object with n_embd, n_query_head, n_kv_head, rope, attn_pdrop, resid_pdrop and block_size;
            what else AttentionConfig has is read where it is there, and its default stands where it is not.

    Raises:
        UsageError: settings that break a rule of AttentionConfig.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        config = _as_attention_config(config)
        self.n_query_head, self.n_kv_head, self.d = config.n_query_head, config.key_heads, config.head_width
        wide, narrow = self.n_query_head * self.d, self.n_kv_head * self.d
        self.q_proj = nn.Linear(config.n_embd, wide, bias=config.has_qkv_bias)
        self.k_proj = nn.Linear(config.n_embd, narrow, bias=config.has_qkv_bias)
        self.v_proj = nn.Linear(config.n_embd, narrow, bias=config.has_qkv_bias)
        self.out_proj = writes_residual(nn.Linear(wide, config.n_embd, bias=config.bias))
        self.q_norm = _norm_of_heads(config)
        self.k_norm = _norm_of_heads(config)
        self.score = SCORES[config.score](config)
        self.mask, self.kernel, self.window = config.rule, config.kernel, config.window
        self.position = POSITIONS[config.position_code].inside_attention(config)
        self.attn_pdrop = config.attn_pdrop
        self.resid_dropout = Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, state: KeyValueCache | None = None) -> AttentionOutput:
        """(b, t, e) -> (b, t, e), each position reading what the mask lets it.

        Args:
            state: keys and values of earlier tokens; x continues after them, and is appended.
        """
        start = 0 if state is None else state.length
        q = self.score.prepare(self.q_norm(_by_head(self.q_proj(x), self.d)))
        k = self.k_norm(_by_head(self.k_proj(x), self.d))
        v = _by_head(self.v_proj(x), self.d)
        q, k = self.position.rotate(q, k, start)
        q, k = q.to(v.dtype), k.to(v.dtype)  # norms leave float32 under autocast
        keys_at = None
        if state is not None:
            k, v, keys_at = state.extend(k, v)
        need = self.need(q, k.shape[-2], start, keys_at, kept=state is not None)
        y, weights = choose(self.kernel if state is None else for_cache(self.kernel), need).attend(q, k, v, need)
        y = self.out_proj(_side_by_side(y))
        return AttentionOutput(self.resid_dropout(y), weights)

    def need(self, q: Tensor, keys: int, start: int = 0, keys_at: Tensor | None = None, *, kept: bool = False) -> Need:
        """What this layer asks of a kernel.

        Args:
            kept: the keys are what a cache holds; of a band, a single new token may then read every one.
        """
        return Need(
            mask=FULL if kept and q.shape[-2] == 1 and self.mask.band is not None else self.mask,
            width=self.d,
            score=self.score,
            bias=self.position.bias if self.position.has_bias else None,
            queries=q.shape[-2],
            keys=keys,
            query_at=start,
            keys_at=keys_at,
            dropout_p=self.attn_pdrop if self.training else 0.0,
            device=q.device,
            dtype=q.dtype,
        )

    def flops_per_token(self, length: int) -> float:
        """Of scores and weighted sums, the projections left out: per token, in a text of `length`."""
        token, pair = self.score.flops(self.d)
        return self.n_query_head * (token + (pair + 2 * self.d) * self.mask.pairs(length) / length)

    def new_state(self, batch: int, capacity: int) -> KeyValueCache:
        """An empty cache for `batch` rows: of `capacity` tokens, or of the last w where a window w is no wider.

        Raises:
            ValueError: a mask that lets tokens read later ones, which a cache hasn't got.
        """
        if not self.mask.causal:
            raise ValueError("a cache holds earlier tokens alone, but this layer's mask lets tokens read later ones")
        weight, band = self.k_proj.weight, self.mask.band
        ring = band is not None and band <= capacity
        shape = (batch, self.n_kv_head, int(band) if band is not None and ring else capacity, self.d)
        return KeyValueCache(shape, weight.dtype, weight.device, ring=ring)

    @property
    def query_rotary_pe(self) -> RotaryPositionalEmbeddings:
        """What turns the queries; there only where the position code is rotary."""
        return self.position.query  # type: ignore[return-value]

    @property
    def key_rotary_pe(self) -> RotaryPositionalEmbeddings:
        """What turns the keys; there only where the position code is rotary."""
        return self.position.key  # type: ignore[return-value]


class CausalSelfAttention(GroupedQueryAttention):
    """Causal multi-head attention: the case of one key/value head per query head, same code."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        require(
            self.n_kv_head == self.n_query_head,
            "model.n_kv_head",
            self.n_kv_head,
            "must equal {} here; GroupedQueryAttention takes fewer",
            ("model.n_query_head", self.n_query_head),
        )
        require(self.mask.causal, "model.mask", getattr(config, "mask", None), "must be causal here")


def _norm_of_heads(config: AttentionConfig) -> nn.Module:
    return NORMS["rmsnorm"](config.head_width, False, config.norm_eps) if config.qk_norm else nn.Identity()


def _by_head(x: Tensor, d: int) -> Tensor:
    """(b, t, h d) -> (b, h, t, d)."""
    if x.shape[1] == 1:  # a token at a time, an einops string costs as much as a product
        return x.view(x.shape[0], -1, 1, d)
    return rearrange(x, "b t (h d) -> b h t d", d=d)


def _side_by_side(y: Tensor) -> Tensor:
    """(b, h, t, d) -> (b, t, h d)."""
    if y.shape[2] == 1:
        return y.reshape(y.shape[0], 1, -1)
    return rearrange(y, "b h t d -> b t (h d)")


def _as_attention_config(config: Any) -> AttentionConfig:
    names = [field.name for field in fields(AttentionConfig) if hasattr(config, field.name)]
    return AttentionConfig(**{name: getattr(config, name) for name in names})
