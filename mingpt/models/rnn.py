"""Recurrent language models, unidirectional and bidirectional: token embedding, recurrent layers, output head.

Shapes: b batch, t positions, e width, v vocabulary size.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mingpt import utils
from mingpt.core.errors import UsageError
from mingpt.core.registry import Registry
from mingpt.models.base import FAMILIES, LanguageModel, LMOutput, next_token_loss
from mingpt.models.config import BiRNNConfig, RNNConfig
from mingpt.models.dropout import Dropout
from mingpt.models.init import output_head
from mingpt.models.recurrent.cells import Hidden
from mingpt.models.recurrent.layers import READINGS, BidirectionalStack, Stack

MASKED_FRACTION = 0.15  # of positions, in training with objective=masked (Devlin et al. 2019)
EXPECTED_MFU = 0.2  # low, since positions are sequential: 0.15 (GRU) to 0.39 (LSTM) on two cores


def linear_head(e: int, v: int) -> nn.Linear:
    """Return a head from e features to v logits, initialised near 0."""
    head = output_head(nn.Linear(e, v))
    nn.init.normal_(head.weight, 0.0, 0.02)
    nn.init.zeros_(head.bias)
    return head


def embedding(rows: int, e: int, centre: float) -> nn.Embedding:
    """Return an embedding of `rows` tokens, initialised Normal(centre, 1), where the first layer works best."""
    table = nn.Embedding(rows, e)
    nn.init.normal_(table.weight, mean=centre)
    return table


@dataclass(frozen=True)
class Readout:
    """Output layer of a recurrent model.

    Attributes:
        head: (e, v) -> module from features to logits
        as_logits: True if the last cell's features are the logits, of width v
    """

    head: Callable[[int, int], nn.Module]
    as_logits: bool


READOUTS: Registry[Readout] = Registry("model.readout")
READOUTS.add("linear")(Readout(linear_head, as_logits=False))
READOUTS.add("literal")(Readout(lambda e, v: nn.Identity(), as_logits=True))


@dataclass(frozen=True)
class Objective:
    """Training objective of a bidirectional model.

    Attributes:
        masked: True to predict masked tokens, False to predict next ones
    """

    masked: bool


OBJECTIVES: Registry[Objective] = Registry("model.objective")
OBJECTIVES.add("next")(Objective(masked=False))
OBJECTIVES.add("masked")(Objective(masked=True))


class RecurrentState:
    """Hidden state of each layer after `length` tokens, detached from the graph."""

    def __init__(self, layers: list[Hidden]) -> None:
        self.layers, self.length = layers, 0

    def advance(self, tokens: int, layers: list[Hidden]) -> None:
        """Replace the hidden states by those `tokens` tokens later."""
        # Copy: a layer may return a view, which keeps the memory of all hidden states of the block alive.
        self.layers = [tuple(each.detach().clone() for each in hidden) for hidden in layers]
        self.length += tokens


@FAMILIES.add("rnn")
class RNN(LanguageModel):
    """Unidirectional recurrent model: a state of constant size, no positions, unbounded context.

    With readout=literal the logits are the last layer's own y_t = f(W_yh h_t + b_y), W_yh (v, e).  Under slide these
    are in [0, 1], so that no loss is below ln(e + v - 1) - 1 nats, e = 2.718...: 3.20 for v = 65.

    Args:
        config: model settings, `vocab_size` included
    """

    config: RNNConfig
    draws_from_generator = True
    expected_mfu = EXPECTED_MFU

    def __init__(self, config: RNNConfig) -> None:
        super().__init__()
        self.config = config
        e, v, readout = config.n_embd, config.vocab_size, READOUTS[config.readout]
        outputs = v if readout.as_logits else None
        self.layers = Stack(config.cell, config.n_layer, e, config.resid_pdrop, outputs)
        self.embedding = embedding(v, e, self.layers.centre)
        self.embedding_dropout = Dropout(config.embd_pdrop)
        self.head = readout.head(e, v)

    def forward(self, idx: Tensor, targets: Tensor | None = None, *, state: RecurrentState | None = None) -> LMOutput:
        """Return (b, t, v) logits for (b, t) ids of any length and, given (b, t) targets, the mean loss in nats.

        Args:
            state: recurrent state before idx, updated in place
        """
        before = state.layers if state else self.layers.start(len(idx))
        x = self.embedding_dropout(self.embedding(idx))  # (b, t, e)
        x, after = self.layers(x, before)
        if state:
            state.advance(idx.shape[1], after)
        logits = self.head(x)  # (b, t, v)
        return LMOutput(logits, next_token_loss(logits, targets))

    def new_state(self, batch: int) -> RecurrentState:
        return RecurrentState(self.layers.start(batch))

    @property
    def stages(self) -> list[nn.Module]:
        return list(self.layers.cells)

    @property
    def unbounded(self) -> bool:
        return True

    def flops_per_token(self) -> float:
        """Return 2 FLOPs per multiplied weight."""
        return 2 * _multiplied_weights(self)


class TextState:
    """All token ids so far, (b, length)."""

    def __init__(self, ids: Tensor) -> None:
        self.ids = ids

    @property
    def length(self) -> int:
        return self.ids.shape[1]


@FAMILIES.add("birnn")
class BidirectionalRNN(LanguageModel):
    """Bidirectional recurrent model (Schuster & Paliwal 1997).

    reading=full: a prediction depends on the complete text, its own target included, which the model learns to copy; it
    is not autoregressive, but can infill masked tokens (objective=masked).  reading=prefix: the same network on each
    prefix separately, so that it is autoregressive, in O(t^2) steps for t positions.

    Args:
        config: model settings, `vocab_size` and `block_size` included
    """

    config: BiRNNConfig
    draws_from_generator = True
    expected_mfu = EXPECTED_MFU

    def __init__(self, config: BiRNNConfig) -> None:
        super().__init__()
        self.config = config
        self.reading, self.objective = READINGS[config.reading], OBJECTIVES[config.objective]
        e, v = config.n_embd, config.vocab_size
        self.layers = BidirectionalStack(config.cell, config.n_layer, e, config.resid_pdrop)
        rows = v + self.objective.masked  # the last row is the mask token's
        self.embedding = embedding(rows, e, self.layers.centre)
        self.embedding_dropout = Dropout(config.embd_pdrop)
        self.head = linear_head(e, v)

    def forward(self, idx: Tensor, targets: Tensor | None = None, *, state: TextState | None = None) -> LMOutput:
        """Return (b, t, v) logits for (b, t) ids and, given (b, t) targets, the objective's mean loss in nats.

        objective=masked masks 15 % of each row of idx and scores these tokens, whatever the targets; on a CPU it draws
        from `utils.generator()`.

        Args:
            state: text before idx; idx is appended in place

        Raises:
            ValueError: state and idx together exceed block_size tokens.
            UsageError: targets are given to objective=masked outside training; use `masked_logits`.
        """
        if targets is not None and self.objective.masked:
            return self._masked_loss(idx)
        logits = self._read(idx if state is None else self._extended(state, idx), idx.shape[1])
        return LMOutput(logits, next_token_loss(logits, targets))

    def _masked_loss(self, idx: Tensor) -> LMOutput:
        if not self.training:
            raise UsageError("model.objective=masked: has a loss of masked tokens only; use pseudo_likelihood")
        count = max(round(MASKED_FRACTION * idx.shape[1]), 1)  # per row, so that micro-batches have equal weight
        generator = utils.generator() if idx.device.type == "cpu" else None
        chosen = torch.rand(idx.shape, device=idx.device, generator=generator).topk(count, dim=1).indices
        masked = torch.zeros_like(idx, dtype=torch.bool).scatter_(1, chosen, True)  # (b, t)
        logits = self.masked_logits(idx, masked)  # (b, t, v)
        return LMOutput(logits, F.cross_entropy(logits.flatten(0, 1), idx.masked_fill(~masked, -100).flatten()))

    def _extended(self, state: TextState, idx: Tensor) -> Tensor:
        self._check_length(state.length + idx.shape[1])
        state.ids = torch.cat((state.ids, idx), dim=1)
        return state.ids

    def _read(self, ids: Tensor, last: int) -> Tensor:
        """Return (b, last, v) logits of the last positions of (b, t) ids, mask token included."""
        self._check_length(ids.shape[1])
        x = self.embedding_dropout(self.embedding(ids))
        return self.head(self.reading.read(self.layers, x, ids.shape[1] - last))

    def _check_length(self, tokens: int) -> None:
        if tokens > self.config.block_size:
            raise ValueError(f"{tokens} tokens: this model sees block_size={self.config.block_size}")

    @property
    def stages(self) -> list[nn.Module]:
        return list(self.layers.layers)

    @property
    def infills(self) -> bool:
        return self.objective.masked

    def masked_logits(self, idx: Tensor, masked: Tensor) -> Tensor:
        if not self.infills:
            return super().masked_logits(idx, masked)
        return self._read(idx.masked_fill(masked, self.config.vocab_size), idx.shape[1])

    def new_state(self, batch: int) -> TextState:
        """Return an empty text for `batch` rows, of at most block_size tokens.

        Raises:
            UsageError: reading=full, where later tokens change earlier predictions.
        """
        if not self.autoregressive:
            raise UsageError(
                f"model.reading={self.config.reading}: needs the complete text, so it has no decoding state"
            )
        return TextState(torch.empty(batch, 0, dtype=torch.long, device=self.device))

    @property
    def autoregressive(self) -> bool:
        return self.reading.autoregressive

    def flops_per_token(self) -> float:
        """Return 2 FLOPs per multiplied weight; the layers' count as often as a position is computed."""
        size = self.config.block_size
        return 2 * (_multiplied_weights(self.layers) * self.reading.work(size) / size + self.head.weight.numel())


def _multiplied_weights(module: nn.Module) -> int:
    """Return the number of elements of all weight matrices."""
    linears = (each.weight for each in module.modules() if isinstance(each, nn.Linear))
    stacked = (weight for each in module.modules() if isinstance(each, nn.RNNBase) for weight in each.parameters())
    return sum(weight.numel() for weight in itertools.chain(linears, stacked) if weight.ndim == 2)
