"""Settings of an attention layer, and their rules; what they choose among is named here, not loaded."""

import math
from dataclasses import dataclass

from mingpt.core.errors import require
from mingpt.core.variants import Variants, check_choices, choice

SCORES = Variants("mingpt.models.attention.scores:SCORES")
MASKS = Variants("mingpt.models.attention.masks:MASKS")
POSITIONS = Variants("mingpt.models.attention.positions:POSITIONS")
AUTO = "auto"  # of model.kernel
KERNELS = Variants("mingpt.models.attention.kernels:KERNELS")


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """Settings of one attention layer.

    Attributes:
        n_embd: width of the residual stream
        n_query_head: query heads
        head_dim: width of a head; null: n_embd/n_query_head
        n_kv_head: key/value heads; null: one per query head; fewer: consecutive query heads share one
        rope: True rotates queries and keys by position (RoPE); False learns a row per position
        rope_scaling: slow pairs turn so many times slower, as in Llama 3.1 (8) and 3.2 (32); 1: none
        score: attention score function of a query and a key
        mask: attention mask; full attends to later tokens too, so the model can't generate text
        window: keys that a query sees, its own included; null: all that the mask allows
        kernel: how attention is computed; auto: the first that serves on this device and is worth it
        position: null leaves the choice to model.rope; or the name of a positional encoding
        rope_base: base of the rotary angles: the slowest pair of a head turns once in about 2 pi rope_base tokens
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
    position: str | None = choice(None, POSITIONS)
    rope_base: float = 10_000.0
    rope_scaling: float = 1.0
    score: str = choice("scaled_dot", SCORES)
    mask: str = choice("causal", MASKS)
    window: int | None = None
    kernel: str = choice(AUTO, KERNELS, AUTO)
    bias: bool = True
    qkv_bias: bool | None = None
    qk_norm: bool = False
    norm_eps: float | None = None
    attn_pdrop: float = 0.0
    resid_pdrop: float = 0.0
    block_size: int = 128

    def __post_init__(self) -> None:
        check_choices(self, "model")
        self._check_heads()
        for name in ("attn_pdrop", "resid_pdrop"):
            require(0 <= getattr(self, name) < 1, f"model.{name}", getattr(self, name), "must be in [0, 1)")
        require(self.block_size >= 1, "data.block_size", self.block_size, "must be at least 1")
        require(
            not self.rope or self.position in (None, "rope"),
            "model.position",
            self.position,
            "contradicts {}; give one of the two",
            ("model.rope", True),
        )
        self._check_window()
        self._check_head_width()
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
        least, d, code = SCORES[self.score].least_width, self.head_width, POSITIONS[self.positional_encoding]
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
        scale = self.rope_scaling
        require(math.isfinite(scale) and scale >= 1, "model.rope_scaling", scale, "must be finite and at least 1")
        for name in ("rope_base", "rope_scaling"):
            usual = getattr(self, name) == getattr(AttentionConfig, name)
            rule = f"has no effect with {self.positional_encoding} positions"
            require(POSITIONS[self.positional_encoding].rotates or usual, f"model.{name}", getattr(self, name), rule)

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
    def positional_encoding(self) -> str:
        """The name in POSITIONS that `rope` and `position` agree on."""
        return self.position or ("rope" if self.rope else "learned")
