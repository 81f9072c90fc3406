"""GPT: token embedding, positional encoding, pre-norm blocks, output head (Radford et al. 2019).

Shapes: b batch, t positions, e model width (`n_embd`), v vocabulary size.  A variant of a norm, an MLP, an attention
score or a positional encoding is a module that its registry holds under the setting's value; no branch asks for a name.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mingpt.models.attention.kv_cache import KeyValueCache
from mingpt.models.attention.layers import CausalSelfAttention, GroupedQueryAttention, layer_kernels
from mingpt.models.attention.positions import POSITIONS, RotaryPositionalEmbeddings
from mingpt.models.base import FAMILIES, LanguageModel, LMOutput, ModelConfig, next_token_loss, to_autocast_type
from mingpt.models.config import GPTConfig
from mingpt.models.dropout import Dropout
from mingpt.models.init import INITS, output_head, seeded
from mingpt.models.mlp import MLPS
from mingpt.models.ngram import NGram
from mingpt.models.norms import NORMS
from mingpt.models.rnn import RNN, BidirectionalRNN
from mingpt.models.short_conv import Convolution, ShortConvolution, convolution

__all__ = [
    "FAMILIES",
    "GPT",
    "RNN",
    "BidirectionalRNN",
    "Block",
    "CausalSelfAttention",
    "GPTState",
    "GroupedQueryAttention",
    "NGram",
    "RotaryPositionalEmbeddings",
    "build",
]


class BlockState(NamedTuple):
    """Decoding state of one block: its key/value cache, and the last inputs of its short convolution."""

    cache: KeyValueCache
    recent: Tensor | None


class Block(nn.Module):
    """Pre-norm Transformer block: x + attention(norm(x)), then x + mlp(convolution(norm(x)))."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = NORMS[config.norm](config.n_embd, config.bias, config.norm_eps)
        self.attention = GroupedQueryAttention(config)
        self.mlp_norm = NORMS[config.norm](config.n_embd, config.bias, config.norm_eps)
        self.convolution: Convolution = convolution(config.conv_width, config.n_embd)  # the identity for width 1
        self.mlp = MLPS[config.mlp](config.n_embd, config.bias, config.mlp_width)
        self.mlp_dropout = Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, state: BlockState | None = None) -> Tensor:
        """Map (b, t, e) to (b, t, e); `state`, of earlier tokens, is updated in place."""
        cache, recent = state or (None, None)
        x = x + self.attention(self.attention_norm(x), cache).output  # (b, t, e); attention drops out its own output
        h = self.convolution(self.mlp_norm(x), recent)  # (b, t, e)
        return x + self.mlp_dropout(self.mlp(h))  # (b, t, e); 4e wide inside the MLP

    def new_state(self, batch: int, capacity: int) -> BlockState:
        """Return an empty state for `batch` rows of up to `capacity` tokens."""
        cache = self.attention.new_state(batch, capacity)
        return BlockState(cache, self.convolution.new_state(batch, cache.keys))


class GPTState:
    """Decoding state of a GPT: one BlockState per block, `length` tokens long."""

    def __init__(self, layers: list[BlockState]) -> None:
        self.layers = layers

    @property
    def length(self) -> int:
        """Number of tokens so far."""
        return self.layers[0].cache.length


@FAMILIES.add("gpt")
class GPT(LanguageModel):
    """A decoder-only Transformer.

    Args:
        config: model settings, `vocab_size` and `block_size` included.
    """

    config: GPTConfig
    draws_from_generator = True

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.position = POSITIONS[config.positional_encoding](config)
        self.embedding_dropout = Dropout(config.embd_pdrop)
        self.blocks = nn.ModuleList(Block(config.of_layer(number)) for number in range(config.n_layer))
        self.final_norm = NORMS[config.norm](config.n_embd, config.bias, config.norm_eps)
        self.head = output_head(nn.Linear(config.n_embd, config.vocab_size, bias=False))
        if config.tie_embeddings:
            self.head.weight = self.embedding.weight
        INITS[config.init](self, config.n_layer)

    def forward(self, idx: Tensor, targets: Tensor | None = None, *, state: GPTState | None = None) -> LMOutput:
        """Return (b, t, v) logits for (b, t) token ids and, given (b, t) targets, the mean loss in nats.

        Args:
            state: decoding state of the tokens before idx; idx is appended in place.

        Raises:
            ValueError: state and idx together exceed block_size tokens, and the state is not `unbounded`.
        """
        start = 0 if state is None else state.length
        if start + idx.shape[1] > self.config.block_size and (state is None or not self.unbounded):
            raise ValueError(f"{start + idx.shape[1]} tokens: this model sees block_size={self.config.block_size}")
        x = self.embedding(idx)  # (b, t, e)
        x = self.position.embed(x, start)  # (b, t, e); learned positions are added here, RoPE and ALiBi in attention
        x = to_autocast_type(self.embedding_dropout(x))
        states = [None] * len(self.blocks) if state is None else state.layers
        for block, block_state in zip(self.blocks, states, strict=True):
            x = block(x, block_state)  # (b, t, e)
        logits = self.head(self.final_norm(x))  # (b, t, v)
        return LMOutput(logits, next_token_loss(logits, targets))

    def new_state(self, batch: int) -> GPTState:
        """Return an empty decoding state for `batch` rows of block_size tokens, or of any number if `unbounded`."""
        return GPTState([block.new_state(batch, self.config.block_size) for block in self.blocks])  # type: ignore[operator]

    @property
    def autoregressive(self) -> bool:
        return all(block.attention.mask.causal for block in self.blocks)  # type: ignore[union-attr]

    @property
    def unbounded(self) -> bool:
        """True if every layer has a window of at most block_size (a ring buffer), and no position is learned."""
        windows = [block.attention.mask.band for block in self.blocks]  # type: ignore[union-attr]
        windowed = all(window is not None and window <= self.config.block_size for window in windows)  # type: ignore[operator]
        return windowed and not self.position.bounded

    @property
    def stages(self) -> list[nn.Module]:
        return list(self.blocks)

    @classmethod
    def kernels(cls, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> list[dict[str, Any]]:
        return layer_kernels(config, device, dtype)

    def flops_per_token(self) -> float:
        """Return 2 FLOPs per multiplied weight, plus each layer's attention scores and weighted sums of values."""
        products = (module for module in self.modules() if isinstance(module, nn.Linear | ShortConvolution))
        weights = sum(module.weight.numel() for module in products)
        layers = [block.attention for block in self.blocks]
        return 2 * weights + sum(layer.flops_per_token(self.config.block_size) for layer in layers)  # type: ignore


def build(config: ModelConfig, seed: int | None = None) -> LanguageModel:
    """Return a newly initialised model of the family `config.type`.

    Args:
        seed: seed of the initial weights; PyTorch's global generator is left as it was.  None: draw from that one.

    Raises:
        UsageError: the family is unknown, or a setting breaks one of its rules.
    """
    family = FAMILIES[config.type]
    return family(config) if seed is None else seeded(family, seed, config)
