"""Multi-head self-attention from parts: projections, score, positional encoding, mask and kernel.

Shapes: b batch, t queries, s keys, h query heads, g key/value heads, d head width, e model width.
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
    """Return the attention mask of a layer with these settings, sliding window included."""
    return windowed(MASKS[config.mask], config.window)


class AttentionOutput(NamedTuple):
    """Result of an attention layer: (b, t, e) output, and (b, h, t, s) weights if the kernel computes them."""

    output: Tensor
    weights: Tensor | None


class GroupedQueryAttention(nn.Module):
    """Self-attention in which groups of query heads share keys and values (Ainslie et al. 2023).

    Args:
        config: any object with n_embd, n_query_head, n_kv_head, rope, attn_pdrop, resid_pdrop and block_size; other
            fields of AttentionConfig are optional.

    Raises:
        UsageError: a setting breaks a rule of AttentionConfig.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        config = _as_attention_config(config)
        self.n_query_head, self.n_kv_head, self.d = config.n_query_head, config.key_heads, config.head_width
        query_width, kv_width = self.n_query_head * self.d, self.n_kv_head * self.d
        self.q_proj = nn.Linear(config.n_embd, query_width, bias=config.has_qkv_bias)
        self.k_proj = nn.Linear(config.n_embd, kv_width, bias=config.has_qkv_bias)
        self.v_proj = nn.Linear(config.n_embd, kv_width, bias=config.has_qkv_bias)
        self.out_proj = residual_projection(nn.Linear(query_width, config.n_embd, bias=config.bias))
        self.q_norm = _head_norm(config)
        self.k_norm = _head_norm(config)
        self.score = SCORES[config.score](config)
        self.mask, self.kernel, self.window = mask_of(config), config.kernel, config.window
        self.position = POSITIONS[config.positional_encoding].inside_attention(config)
        self.attn_pdrop = config.attn_pdrop
        self.resid_dropout = Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, state: KeyValueCache | None = None) -> AttentionOutput:
        """Map (b, t, e) to (b, t, e).

        Args:
            state: keys and values of the tokens before x; those of x are appended in place.
        """
        start = 0 if state is None else state.length
        q = self.q_norm(_split_heads(self.q_proj(x), self.d))  # (b, h, t, d)
        k = self.k_norm(_split_heads(self.k_proj(x), self.d))  # (b, g, t, d)
        v = _split_heads(self.v_proj(x), self.d)  # (b, g, t, d)
        q, k = self.position.rotate(self.score.prepare(q), k, start)
        q, k = q.to(v.dtype), k.to(v.dtype)  # norms return float32 under autocast
        keys_at = None
        if state is not None:
            k, v, keys_at = state.extend(k, v)  # (b, g, s, d) each
        need = self.need(q, k.shape[-2], start, keys_at, from_cache=state is not None)
        kernel = choose(self.kernel if state is None else for_cache(self.kernel), need)
        y, weights = kernel.attend(q, k, v, need)  # (b, h, t, d), (b, h, t, s) or None
        y = self.out_proj(_merge_heads(y))  # (b, t, e)
        return AttentionOutput(self.resid_dropout(y), weights)

    def need(
        self, q: Tensor, keys: int, start: int = 0, keys_at: Tensor | None = None, *, from_cache: bool = False
    ) -> Need:
        """Return what this layer needs of a kernel.

        Args:
            q: (b, h, t, d) queries
            keys: number of keys, s
            start: position of the first query
            keys_at: (s,) positions of the keys; None: 0 to s - 1
            from_cache: keys come from the KV cache; with a sliding window every cached key is then inside the window
        """
        return Need(
            mask=FULL if from_cache and q.shape[-2] == 1 and self.mask.band is not None else self.mask,
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
        """Return the FLOPs per token of scores and weighted sums, without projections, in a text of `length` tokens."""
        token, pair = self.score.flops(self.d)
        return self.n_query_head * (token + (pair + 2 * self.d) * self.mask.pairs(length) / length)

    def new_state(self, batch: int, capacity: int) -> KeyValueCache:
        """Return an empty cache for `batch` rows of `capacity` tokens, or a ring of the window's size if smaller.

        Raises:
            ValueError: the mask is not causal.
        """
        if not self.mask.causal:
            raise ValueError("a KV cache holds earlier tokens only, but this layer's mask is not causal")
        weight, band = self.k_proj.weight, self.mask.band
        ring = band is not None and band <= capacity
        shape = (batch, self.n_kv_head, int(band) if band is not None and ring else capacity, self.d)
        return KeyValueCache(shape, weight.dtype, weight.device, ring=ring)

    @property
    def query_rotary_pe(self) -> RotaryPositionalEmbeddings:
        """Rotary embedding of the queries; an attribute error for other positional encodings."""
        return self.position.query  # type: ignore[return-value]

    @property
    def key_rotary_pe(self) -> RotaryPositionalEmbeddings:
        """Rotary embedding of the keys; an attribute error for other positional encodings."""
        return self.position.key  # type: ignore[return-value]


class CausalSelfAttention(GroupedQueryAttention):
    """Causal multi-head attention: one key/value head per query head (Vaswani et al. 2017).

    Raises:
        UsageError: n_kv_head differs from n_query_head, or the mask is not causal.
    """

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


def _head_norm(config: AttentionConfig) -> nn.Module:
    return NORMS["rmsnorm"](config.head_width, False, config.norm_eps) if config.qk_norm else nn.Identity()


def _split_heads(x: Tensor, d: int) -> Tensor:
    """Reshape (b, t, h d) to (b, h, t, d)."""
    if x.shape[1] == 1:  # decoding: an einops string would take as long as a product
        return x.view(x.shape[0], -1, 1, d)
    return rearrange(x, "b t (h d) -> b h t d", d=d)


def _merge_heads(y: Tensor) -> Tensor:
    """Reshape (b, h, t, d) to (b, t, h d)."""
    if y.shape[2] == 1:
        return y.reshape(y.shape[0], 1, -1)
    return rearrange(y, "b h t d -> b t (h d)")


def _as_attention_config(config: Any) -> AttentionConfig:
    names = [field.name for field in fields(AttentionConfig) if hasattr(config, field.name)]
    return AttentionConfig(**{name: getattr(config, name) for name in names})
