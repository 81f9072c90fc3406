"""GPT: token embedding, position code, pre-norm blocks, linear read-out (Radford et al. 2019).

Letters: b batch, t positions, e model width, v vocabulary.  Every variant is a part chosen by the settings;
nothing here asks for a variant by name.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mingpt.core.registry import Registry
from mingpt.models.attention.kernels import explain
from mingpt.models.attention.kv_cache import KeyValueCache
from mingpt.models.attention.layers import CausalSelfAttention, GroupedQueryAttention
from mingpt.models.attention.positions import POSITIONS, RotaryPositionalEmbeddings
from mingpt.models.base import LanguageModel, LMOutput, ModelConfig, next_token_loss
from mingpt.models.dropout import Dropout
from mingpt.models.init import INITS, reads_out
from mingpt.models.mlp import MLPS
from mingpt.models.model_config import GPTRules
from mingpt.models.ngram import NGram
from mingpt.models.norms import NORMS
from mingpt.models.rnn import RNN, BidirectionalRNN
from mingpt.models.short_conv import Convolution, ShortConvolution, convolution
from mingpt.utils import as_products, drawing, own_draws

__all__ = [
    "FAMILIES",
    "GPT",
    "Block",
    "CausalSelfAttention",
    "GPTState",
    "GroupedQueryAttention",
    "RotaryPositionalEmbeddings",
    "build",
]


class BlockState(NamedTuple):
    """What a block remembers: keys and values, and the last inputs of its convolution."""

    cache: KeyValueCache
    recent: Tensor | None


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), between norm and mlp perhaps a short convolution."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = NORMS[config.norm](config.n_embd, config.bias, config.norm_eps)
        self.attention = GroupedQueryAttention(config)
        self.mlp_norm = NORMS[config.norm](config.n_embd, config.bias, config.norm_eps)
        self.convolution: Convolution = convolution(config.conv_width, config.n_embd)
        self.mlp = MLPS[config.mlp](config.n_embd, config.bias, config.mlp_width)
        self.mlp_dropout = Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, state: BlockState | None = None) -> Tensor:
        cache, recent = state or (None, None)
        x = x + self.attention(self.attention_norm(x), cache).output
        return x + self.mlp_dropout(self.mlp(self.convolution(self.mlp_norm(x), recent)))

    def new_state(self, batch: int, capacity: int) -> BlockState:
        """Of `batch` rows and up to `capacity` tokens."""
        cache = self.attention.new_state(batch, capacity)
        return BlockState(cache, self.convolution.new_state(batch, cache.keys))


class GPTState:
    """What each block remembers."""

    def __init__(self, layers: list[BlockState]) -> None:
        self.layers = layers

    @property
    def length(self) -> int:
        return self.layers[0].cache.length


class GPT(GPTRules, LanguageModel):
    """A decoder-only Transformer.

    Args:
        config: its settings, vocab_size and block_size among them.

    Raises:
        UsageError: settings that break a rule.
    """

    own_draws = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.check(config)
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.position = POSITIONS[config.position_code](config)
        self.embedding_dropout = Dropout(config.embd_pdrop)
        self.blocks = nn.ModuleList(Block(config.of_layer(number)) for number in range(config.n_layer))
        self.final_norm = NORMS[config.norm](config.n_embd, config.bias, config.norm_eps)
        self.head = reads_out(nn.Linear(config.n_embd, config.vocab_size, bias=False))
        if config.tie_embeddings:
            self.head.weight = self.embedding.weight
        INITS[config.init](self, config.n_layer)

    def forward(self, idx: Tensor, targets: Tensor | None = None, *, state: GPTState | None = None) -> LMOutput:
        """(b, t) ids -> (b, t, v) logits, and the mean loss in nats against (b, t) targets.

        Args:
            state: what was read before idx, extended by idx in place; together at most block_size tokens.

        Raises:
            ValueError: more than block_size tokens.
        """
        start = 0 if state is None else state.length
        if start + idx.shape[1] > self.config.block_size and (state is None or not self.endless):
            raise ValueError(f"{start + idx.shape[1]} tokens: this model sees block_size={self.config.block_size}")
        x = as_products(self.embedding_dropout(self.position.embed(self.embedding(idx), start)))
        memories = [None] * len(self.blocks) if state is None else state.layers
        for block, memory in zip(self.blocks, memories, strict=True):
            x = block(x, memory)
        logits = self.head(self.final_norm(x))
        return LMOutput(logits, next_token_loss(logits, targets))

    def new_state(self, batch: int) -> GPTState:
        """Room for block_size tokens of `batch` rows; with a window on every layer and no learned positions, no end."""
        return GPTState([block.new_state(batch, self.config.block_size) for block in self.blocks])  # type: ignore[operator]

    @property
    def stages(self) -> list[nn.Module]:
        return list(self.blocks)

    @property
    def autoregressive(self) -> bool:
        return all(block.attention.mask.causal for block in self.blocks)  # type: ignore[union-attr]

    @property
    def endless(self) -> bool:
        limit = self.config.block_size  # what a ring holds at most
        bands = [block.attention.mask.band for block in self.blocks]  # type: ignore[union-attr]
        return not self.position.bounded and all(band is not None and band <= limit for band in bands)  # type: ignore[operator]

    @classmethod
    def kernels(cls, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> list[dict[str, Any]]:
        """As every family's: one entry per distinct need, with the layers, from 0, that have it."""
        size = config.block_size
        found: dict[str, dict[str, Any]] = {}
        like = torch.empty(0, size, 1, device=device, dtype=dtype)
        narrow = replace(config, n_embd=config.n_query_head, head_dim=config.head_width)  # as to what a kernel is asked
        for number in range(config.n_layer):
            with torch.device("meta"):  # where weights take no memory
                layer = GroupedQueryAttention(narrow.of_layer(number))
            choice = explain(layer.kernel, layer.need(like, size))
            found.setdefault(str(choice), {"layers": [], **choice})["layers"].append(number)
        return list(found.values())

    def flops_per_token(self) -> float:
        """Two per weight that multiplies; scores and weighted sums over the keys that a mask shows on average."""
        multiply = (nn.Linear, ShortConvolution)
        products = sum(module.weight.numel() for module in self.modules() if isinstance(module, multiply))
        layers = [block.attention for block in self.blocks]
        return 2 * products + sum(layer.flops_per_token(self.config.block_size) for layer in layers)  # type: ignore


FAMILIES: Registry[type[LanguageModel]] = Registry("model.type")
FAMILIES.add("gpt")(GPT)
FAMILIES.add("rnn")(RNN)
FAMILIES.add("birnn")(BidirectionalRNN)
FAMILIES.add("ngram")(NGram)


def build(config: ModelConfig, seed: int | None = None) -> LanguageModel:
    """Return a freshly initialised model of `config.type`.

    Args:
        seed: decides its weights, and PyTorch's global generator stays as it is; None: that one decides them.

    Raises:
        UsageError: an unknown family.
    """
    family = FAMILIES[config.type]
    if seed is None:
        return family(config)
    with own_draws(seed):
        return drawing(family, config)
