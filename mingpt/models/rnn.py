"""Recurrent language models: token embedding, recurrent layers, read-out; in one direction, or in both.

Letters: b batch, t positions, e width, v vocabulary.  Cells, readings and objectives are parts chosen by the settings.
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
from mingpt.models.base import LanguageModel, LMOutput, ModelConfig, next_token_loss
from mingpt.models.dropout import Dropout
from mingpt.models.init import output_head
from mingpt.models.model_config import BidirectionalRNNRules, RNNRules
from mingpt.models.recurrent.cells import Hidden
from mingpt.models.recurrent.layers import READINGS, BothWaysStack, Stack

MASKED_SHARE = 0.15  # of positions, while training on gaps (Devlin et al. 2019)
USUAL_SHARE = 0.2  # of the matrix rate: positions come one after another; 0.15 (GRU) to 0.39 (LSTM) on two cores


def linear_head(e: int, v: int) -> nn.Linear:
    """(b, t, e) features -> (b, t, v) logits, near 0 at the start."""
    head = output_head(nn.Linear(e, v))
    nn.init.normal_(head.weight, 0.0, 0.02)
    nn.init.zeros_(head.bias)
    return head


def embedding(rows: int, e: int, centre: float) -> nn.Embedding:
    """About where the first layer's inputs should lie."""
    table = nn.Embedding(rows, e)
    nn.init.normal_(table.weight, mean=centre)
    return table


@dataclass(frozen=True)
class Readout:
    """From the last layer to logits.

    Attributes:
        head: (e, v) -> what turns features into logits.
        as_logits: whether the last cell's features are v wide.
    """

    head: Callable[[int, int], nn.Module]
    as_logits: bool


READOUTS: Registry[Readout] = Registry("model.readout")
READOUTS.add("linear")(Readout(linear_head, as_logits=False))
READOUTS.add("literal")(Readout(lambda e, v: nn.Identity(), as_logits=True))


@dataclass(frozen=True)
class Objective:
    """What a birnn learns.

    Attributes:
        gaps: whether to tell tokens that are hidden, instead of next ones.
    """

    gaps: bool


OBJECTIVES: Registry[Objective] = Registry("model.objective")
OBJECTIVES.add("next")(Objective(gaps=False))
OBJECTIVES.add("masked")(Objective(gaps=True))


class RecurrentState:
    """What each layer remembers of the tokens read, detached from how it came about."""

    def __init__(self, layers: list[Hidden]) -> None:
        self.layers, self.length = layers, 0

    def advance(self, tokens: int, layers: list[Hidden]) -> None:
        """Go on to what the layers remember `tokens` tokens later."""
        # A copy: what a layer returns may be a view that keeps the whole block's memory.
        self.layers = [tuple(each.detach().clone() for each in hidden) for hidden in layers]
        self.length += tokens


class RNN(RNNRules, LanguageModel):
    """Recurrent layers that read from left to right: a state of constant size, no positions, no end.

    With readout=literal the logits are the last layer's own y_t = f(W_yh h_t + b_y), W_yh (v, e).  Under slide they lie
    in [0, 1], so that no loss is below ln(e + v - 1) - 1 nats, e = 2.718...: 3.20 for v = 65.  For study.

    Args:
        config: its settings, vocab_size among them.

    Raises:
        UsageError: settings that break a rule.
    """

    own_draws = True
    usual_share = USUAL_SHARE

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.check(config)
        self.config = config
        e, v, readout = config.n_embd, config.vocab_size, READOUTS[config.readout]
        outputs = v if readout.as_logits else None
        self.layers = Stack(config.cell, config.n_layer, e, config.resid_pdrop, outputs)
        self.embedding = embedding(v, e, self.layers.centre)
        self.embedding_dropout = Dropout(config.embd_pdrop)
        self.head = readout.head(e, v)

    def forward(self, idx: Tensor, targets: Tensor | None = None, *, state: RecurrentState | None = None) -> LMOutput:
        """(b, t) ids -> (b, t, v) logits, and the mean loss in nats against (b, t) targets; t of any length.

        Args:
            state: what was read before idx, moved on by idx in place.
        """
        before = state.layers if state else self.layers.start(len(idx))
        features, after = self.layers(self.embedding_dropout(self.embedding(idx)), before)
        if state:
            state.advance(idx.shape[1], after)
        logits = self.head(features)
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
        """Two per weight of every product."""
        return 2 * _weights(self)


class TextState:
    """All ids read so far: (b, length)."""

    def __init__(self, ids: Tensor) -> None:
        self.ids = ids

    @property
    def length(self) -> int:
        return self.ids.shape[1]


class BidirectionalRNN(BidirectionalRNNRules, LanguageModel):
    """Recurrent layers that read from both ends (Schuster & Paliwal 1997).

    reading=full: a prediction has read all of the text, its answer too, which it learns to copy; so it is no model of
    text to come, unless it learns to fill gaps (objective=masked).  reading=prefix: the same network, run anew on each
    prefix: a prediction has read what came before alone, at O(t^2) steps of work for t positions.

    Args:
        config: its settings, vocab_size and block_size among them.

    Raises:
        UsageError: settings that break a rule.
    """

    own_draws = True
    usual_share = USUAL_SHARE

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.check(config)
        self.config = config
        self.reading, self.objective = READINGS[config.reading], OBJECTIVES[config.objective]
        e, v = config.n_embd, config.vocab_size
        self.layers = BothWaysStack(config.cell, config.n_layer, e, config.resid_pdrop)
        rows = v + self.objective.gaps  # the one after the last token's stands in gaps
        self.embedding = embedding(rows, e, self.layers.centre)
        self.embedding_dropout = Dropout(config.embd_pdrop)
        self.head = linear_head(e, v)

    def forward(self, idx: Tensor, targets: Tensor | None = None, *, state: TextState | None = None) -> LMOutput:
        """(b, t) ids -> (b, t, v) logits, and the mean loss in nats that the objective makes of (b, t) targets.

        objective=masked hides 15 % of each row of idx and scores these against idx itself, whatever the targets; one
        draw a token, on a CPU of `utils.generator()`.

        Args:
            state: the text before idx, extended by idx in place; together at most block_size tokens.

        Raises:
            ValueError: more than block_size tokens.
            UsageError: a loss is asked of objective=masked outside training, where nothing is hidden; use `fill`.
        """
        if targets is not None and self.objective.gaps:
            return self._with_gaps(idx)
        logits = self._read(idx if state is None else self._extended(state, idx), idx.shape[1])
        return LMOutput(logits, next_token_loss(logits, targets))

    def _with_gaps(self, idx: Tensor) -> LMOutput:
        if not self.training:
            raise UsageError("model.objective=masked: has no loss of whole text, in which nothing is hidden")
        hidden = max(round(MASKED_SHARE * idx.shape[1]), 1)  # in every row, so that parts of a batch weigh alike
        own = utils.generator() if idx.device.type == "cpu" else None
        chosen = torch.rand(idx.shape, device=idx.device, generator=own).topk(hidden, dim=1).indices
        gaps = torch.zeros_like(idx, dtype=torch.bool).scatter_(1, chosen, True)
        logits = self.fill(idx, gaps)
        return LMOutput(logits, F.cross_entropy(logits.flatten(0, 1), idx.masked_fill(~gaps, -100).flatten()))

    def _extended(self, state: TextState, idx: Tensor) -> Tensor:
        self._check_length(state.length + idx.shape[1])
        state.ids = torch.cat((state.ids, idx), dim=1)
        return state.ids

    def _read(self, ids: Tensor, last: int) -> Tensor:
        """(b, t) rows of the embedding -> (b, last, v) logits of the last positions."""
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
    def fills(self) -> bool:
        return self.objective.gaps

    def fill(self, idx: Tensor, gaps: Tensor) -> Tensor:
        if not self.fills:
            return super().fill(idx, gaps)
        return self._read(idx.masked_fill(gaps, self.config.vocab_size), idx.shape[1])

    def new_state(self, batch: int) -> TextState:
        """No text yet, of at most block_size tokens.

        Raises:
            UsageError: reading=full, where what is read later changes what was said before.
        """
        if not self.autoregressive:
            raise UsageError(f"model.reading={self.config.reading}: reads all of a text at once, so it has no state")
        return TextState(torch.empty(batch, 0, dtype=torch.long, device=self.device))

    @property
    def autoregressive(self) -> bool:
        return self.reading.autoregressive

    def flops_per_token(self) -> float:
        """Two per weight of every product; the layers' as often as the reading goes through a position."""
        size = self.config.block_size
        return 2 * (_weights(self.layers) * self.reading.work(size) / size + self.head.weight.numel())


def _weights(module: nn.Module) -> int:
    """Numbers in all matrices that a token is multiplied with."""
    linears = (each.weight for each in module.modules() if isinstance(each, nn.Linear))
    stacked = (weight for each in module.modules() if isinstance(each, nn.RNNBase) for weight in each.parameters())
    return sum(weight.numel() for weight in itertools.chain(linears, stacked) if weight.ndim == 2)
