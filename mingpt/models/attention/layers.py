"""Multi-head self-attention, built from parts: projections, norm, position code, kernel.

Letters: b batch, t queries, s keys, h query heads, g key/value heads, d head width, e model width.
The layer knows no variant by name: it calls the parts that its settings chose.
"""

from dataclasses import fields, replace
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from mingpt.core.errors import require
from mingpt.models.attention.config import AttentionConfig as AttentionConfig
from mingpt.models.attention.kernels import Need, choose, explain, for_cache
from mingpt.models.attention.kv_cache import KeyValueCache
from mingpt.models.attention.masks import FULL, MASKS, Mask, windowed
from mingpt.models.attention.positions import POSITIONS, RotaryPositionalEmbeddings
from mingpt.models.attention.scores import SCORES
from mingpt.models.dropout import Dropout
from mingpt.models.init import residual_projection
from mingpt.models.norms import NORMS


def mask_of(config: AttentionConfig) -> Mask:
    """What a layer of these settings lets a query read, the window included."""
    return windowed(MASKS[config.mask], config.window)


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
        self.out_proj = residual_projection(nn.Linear(wide, config.n_embd, bias=config.bias))
        self.q_norm = _norm_of_heads(config)
        self.k_norm = _norm_of_heads(config)
        self.score = SCORES[config.score](config)
        self.mask, self.kernel, self.window = mask_of(config), config.kernel, config.window
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


def layer_kernels(config: Any, device: torch.device, dtype: torch.dtype) -> list[dict[str, Any]]:
    """Return the kernel that each layer of a model takes to train on blocks of block_size tokens, and why.

    Args:
        config: the model's settings: n_layer, `of_layer(number)`, and what AttentionConfig has.

    Returns:
        One entry per distinct choice (see `kernels.explain`), with the numbers of its layers, from 0.

    Raises:
        UsageError: the kernel that model.kernel names doesn't support a layer.
    """
    size = config.block_size
    choices: dict[str, dict[str, Any]] = {}
    like = torch.empty(0, size, 1, device=device, dtype=dtype)
    narrow = replace(config, n_embd=config.n_query_head, head_dim=config.head_width)  # same heads, small projections
    for number in range(config.n_layer):
        with torch.device("meta"):  # weights without memory
            layer = GroupedQueryAttention(narrow.of_layer(number))
        choice = explain(layer.kernel, layer.need(like, size))
        choices.setdefault(str(choice), {"layers": [], **choice})["layers"].append(number)
    return list(choices.values())


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
