"""A small sound model that has everything a check asks for, in parts that a planted fault replaces one at a time."""

from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCABULARY, BLOCK, WIDTH = 7, 20, 12


class State:
    """Keys and values, (b, s, e), of the tokens so far, and how many there are."""

    def __init__(self) -> None:
        self.keys = self.values = torch.empty(0)
        self.length = 0

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        if self.length:
            keys, values = torch.cat((self.keys, keys), 1), torch.cat((self.values, values), 1)
        self.keys, self.values, self.length = keys, values, keys.shape[1]
        return keys, values


class Sound(nn.Module):
    """One layer of attention, with learned positions, a cache, padding and a loss of labels."""

    window = 1000

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.config = SimpleNamespace(vocab_size=VOCABULARY, block_size=BLOCK, sliding_window=self.window)
        self.embedding, self.position = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(3 * BLOCK, WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.mlp = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.head = nn.Linear(WIDTH, VOCABULARY)
        self.dropout = nn.Dropout(0.1)

    def new_state(self, batch: int) -> State:
        return State()

    def forward(
        self,
        ids: Tensor,
        labels: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        state: State | None = None,
    ) -> Any:
        start = state.length if state else 0
        positions = start + torch.arange(ids.shape[1]) if position_ids is None else position_ids
        x = self.dropout(self.embedding(ids) + self.position(self.places(positions)))
        x = self.after(x + self.attention(x, attention_mask, state))
        logits = self.outputs(self.head(x + self.mlp(x)))
        return SimpleNamespace(logits=logits, loss=None if labels is None else self.loss(logits, labels))

    def attention(self, x: Tensor, mask: Tensor | None, state: State | None) -> Tensor:
        start, length = (state.length if state else 0), x.shape[1]
        keys, values = self.key(self.keyed(x)), self.value(x)
        if state is not None:
            keys, values = self.cached(state, keys, values)
        scores = self.query(x) @ keys.mT / WIDTH**0.5
        at = torch.arange(keys.shape[1])
        queries = torch.arange(start, start + length)[:, None] + keys.shape[1] - start - length
        seen = self.visible(queries, at, state is not None).expand(scores.shape)
        if mask is not None:
            seen = seen & (mask[:, None, :] == 1) | (at == queries)
        return self.weights(scores, seen) @ values

    def places(self, positions: Tensor) -> Tensor:
        return positions

    def keyed(self, x: Tensor) -> Tensor:
        return x

    def cached(self, state: State, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return state.extend(keys, values)

    def visible(self, i: Tensor, j: Tensor, from_cache: bool) -> Tensor:
        return (j <= i) & (j > i - self.window)

    def weights(self, scores: Tensor, seen: Tensor) -> Tensor:
        return scores.masked_fill(~seen, -torch.inf).softmax(-1)

    def after(self, x: Tensor) -> Tensor:
        return x

    def outputs(self, logits: Tensor) -> Tensor:
        return logits

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
