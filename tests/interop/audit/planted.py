"""Faults, each planted into a sound model: PLANTED has them by name, with the checks that must fail and no others."""

from typing import Any

import torch
import torch.nn.functional as F
from sound import BLOCK, VOCABULARY, WIDTH, Sound, State
from torch import Tensor, nn

PLANTED: dict[str, tuple[type[nn.Module], set[str]]] = {}
FUTURE = {"look_ahead", "normalisation", "cache"}  # a loss that sees the future has no probabilities, and no cache


def fails(*checks: str) -> Any:
    """Decorator: register a fault under its class's name in words, with the checks that must fail."""

    def register(planted: type[nn.Module]) -> type[nn.Module]:
        name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in planted.__name__).strip("_")
        PLANTED[name] = planted, set(checks)
        return planted

    return register


# ---------------------------------------------------------------- look-ahead


@fails(*FUTURE)
class MaskOffByOne(Sound):
    def visible(self, i: Tensor, j: Tensor, from_cache: bool) -> Tensor:
        return j <= i + 1


@fails(*FUTURE)
class NoMask(Sound):
    def visible(self, i: Tensor, j: Tensor, from_cache: bool) -> Tensor:
        return j >= 0 * i


@fails("look_ahead")
class MaskThatIsNotQuiteInfinite(Sound):
    """exp(-15) of the future is seen: too little for any check that must allow for rounding."""

    def weights(self, scores: Tensor, seen: Tensor) -> Tensor:
        return (scores - 15.0 * ~seen).softmax(-1)


@fails(*FUTURE, "batch")
class WholeChunksSeen(Sound):
    """A query sees all of its chunk of 4."""

    def visible(self, i: Tensor, j: Tensor, from_cache: bool) -> Tensor:
        return j // 4 <= i // 4


@fails("look_ahead", "cache", "batch")
class FarFutureSeen(Sound):
    """Only past 14 tokens, and only the last one: as an index that wraps in a second chunk."""

    def visible(self, i: Tensor, j: Tensor, from_cache: bool) -> Tensor:
        return (j <= i) | ((j >= 14) & (i == 3) & torch.tensor(not from_cache))


@fails("look_ahead")
class MaskLeftOutInTraining(Sound):
    def visible(self, i: Tensor, j: Tensor, from_cache: bool) -> Tensor:
        return (j <= i) | torch.tensor(self.training)


@fails("look_ahead")
class BatchNormOverTime(Sound):
    """In training its statistics are those of all positions; in evaluation they are constants."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH)

    def after(self, x: Tensor) -> Tensor:
        return self.norm(x.mT).mT


@fails(*FUTURE, "batch")
class LayerNormOverTime(Sound):
    def after(self, x: Tensor) -> Tensor:
        return (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + 1).sqrt()


@fails(*FUTURE, "batch")
class MeanOfTheText(Sound):
    def after(self, x: Tensor) -> Tensor:
        return x + x.mean(1, keepdim=True)


@fails(*FUTURE, "batch")
class TargetInsideTheKey(Sound):
    def keyed(self, x: Tensor) -> Tensor:
        return F.pad(x[:, 1:], (0, 0, 0, 1))


@fails(*FUTURE, "batch")
class NonCausalConvolution(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)

    def after(self, x: Tensor) -> Tensor:
        return x + self.convolution(x.mT).mT


@fails(*FUTURE, "batch")
class SoftmaxOverQueries(Sound):
    def weights(self, scores: Tensor, seen: Tensor) -> Tensor:
        return scores.masked_fill(~seen, -torch.inf).softmax(-2)


@fails(*FUTURE, "batch")
class ReversedSum(Sound):
    def after(self, x: Tensor) -> Tensor:
        return x + x.flip(1).cumsum(1).flip(1) / 10


@fails("look_ahead", "normalisation")
class BidirectionalRecurrence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.vocab_size, self.block_size = VOCABULARY, BLOCK
        self.embedding, self.head = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(2 * WIDTH, VOCABULARY)
        self.rnn = nn.GRU(WIDTH, WIDTH, batch_first=True, bidirectional=True)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(ids))[0])


@fails(*FUTURE)
class ExpertsChooseTokens(Sound):
    """Each row's 2 strongest tokens take the other expert: who they are depends on later ones."""

    def after(self, x: Tensor) -> Tensor:
        chosen = x[..., 0].topk(min(2, x.shape[1]), dim=1).indices
        return x + 0.5 * torch.zeros_like(x[..., 0]).scatter(1, chosen, 1.0)[..., None]


# ---------------------------------------------------------------- normalisation


@fails("normalisation", "look_ahead", "cache", "batch", "score")
class LogSoftmaxOverPositions(Sound):
    def outputs(self, logits: Tensor) -> Tensor:
        return logits.log_softmax(1)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.nll_loss(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


@fails("normalisation")
class CacheAddsMass(Sound):
    """An n-gram cache's probabilities on top of a distribution, wherever its argmax is an odd token."""

    def outputs(self, logits: Tensor) -> Tensor:
        p = logits.softmax(-1)
        odd = p.argmax(-1, keepdim=True) % 3 == 1
        return (p + 0.3 * odd * F.one_hot(p.argmax(-1), VOCABULARY)).log()


@fails("normalisation", "batch", "score")
class FirstPositionIsNan(Sound):
    """The first query sees no key at all."""

    def visible(self, i: Tensor, j: Tensor, from_cache: bool) -> Tensor:
        return j < i


# ---------------------------------------------------------------- cache


@fails("cache")
class CacheOnePositionLate(Sound):
    def cached(self, state: State, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        before = state.keys, state.values, state.length
        found = state.extend(keys, values)
        return before[:2] if before[2] and keys.shape[1] == 1 else found


@fails("cache")
class PositionNotOffset(Sound):
    def forward(self, ids: Tensor, labels: Any = None, attention_mask: Any = None, position_ids: Any = None,
                state: Any = None) -> Any:  # fmt: skip
        given = torch.arange(ids.shape[1]) if state is not None else position_ids
        return super().forward(ids, labels, attention_mask, given, state)


@fails("cache")
class WindowTooWideWhenCached(Sound):
    window = 6

    def visible(self, i: Tensor, j: Tensor, from_cache: bool) -> Tensor:
        return (j <= i) & (j > i - self.window - int(from_cache))


@fails("cache")
class CacheForgetsTheFirstKey(Sound):
    def cached(self, state: State, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = state.extend(keys, values)
        return (keys[:, 1:], values[:, 1:]) if state.length > 9 else (keys, values)


@fails("cache")
class ChunkSeesItself(Sound):
    """A piece that is appended to the cache sees all of itself."""

    def visible(self, i: Tensor, j: Tensor, from_cache: bool) -> Tensor:
        return (j <= i) | ((j <= i.max()) & (i.min() > 0) & torch.tensor(from_cache))


@fails("cache")
class CacheNotReset(Sound):
    """One state for all: a new one is the old one, but for its length."""

    def new_state(self, batch: int) -> State:
        if not hasattr(self, "state"):
            self.state = State()
        fresh = State()
        fresh.left = self.state  # type: ignore[attr-defined]
        return fresh

    def cached(self, state: State, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        left = state.left  # type: ignore[attr-defined]
        fits = left.length and left.values.shape[0] == len(values)
        old = left.values[:, -1:] if fits else 0
        left.values, left.length = values, values.shape[1]
        return state.extend(keys, values + old)


@fails("cache")
class CacheOfTheFirstRow(Sound):
    def cached(self, state: State, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return state.extend(keys[:1].expand_as(keys), values)


# ---------------------------------------------------------------- batch


@fails("batch")
class RowsAreMixed(Sound):
    def after(self, x: Tensor) -> Tensor:
        return x + x.mean(0, keepdim=True)


@fails("batch")
class RowNumberIsAdded(Sound):
    def after(self, x: Tensor) -> Tensor:
        return x + torch.arange(len(x))[:, None, None] / 10


@fails("batch", "look_ahead", "normalisation")
class BatchStatisticsInEvaluation(BatchNormOverTime):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH, track_running_stats=False)


@fails("batch")
class PaddingIsSeen(Sound):
    def attention(self, x: Tensor, mask: Tensor | None, state: State | None) -> Tensor:
        return super().attention(x, None, state)


@fails("batch")
class PaddingCountsAsPositions(Sound):
    def forward(self, ids: Tensor, labels: Any = None, attention_mask: Any = None, state: Any = None) -> Any:
        return super().forward(ids, labels, attention_mask, None, state)


# ---------------------------------------------------------------- determinism


@fails("determinism")
class DropoutIsAlwaysOn(Sound):
    def after(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.2, training=True)


@fails("determinism")
class StateIsCarriedBetweenCalls(BidirectionalRecurrence):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, VOCABULARY)
        self.hidden: Tensor | None = None

    def forward(self, ids: Tensor) -> Tensor:
        fits = self.hidden is not None and self.hidden.shape[1] == len(ids)
        out, self.hidden = self.rnn(self.embedding(ids), self.hidden if fits else None)
        return self.head(out)


@fails("determinism")
class CallsAreCounted(Sound):
    calls = 0

    def after(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + self.calls / 100


# ---------------------------------------------------------------- score


@fails("score")
class MissingShift(Sound):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


@fails("score")
class DoubleShift(Sound):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().loss(logits[:, :-1], labels[:, 1:])


@fails("score")
class SumOfTokens(Sound):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")


@fails("score")
class LastTargetNeverCounted(Sound):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().loss(logits[:, :-1], labels[:, :-1])


@fails("score")
class FirstTargetCountedTwice(Sound):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().loss(torch.cat((logits[:, :1], logits), 1), torch.cat((labels[:, :2], labels[:, 1:]), 1))


@fails("score")
class PaddingIsCounted(Sound):
    def forward(self, ids: Tensor, labels: Any = None, attention_mask: Any = None, position_ids: Any = None,
                state: Any = None) -> Any:  # fmt: skip
        counted = None if labels is None else ids
        return super().forward(ids, counted, attention_mask, position_ids, state)


@fails("score")
class MeanOfRows(Sound):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return torch.stack(
            [super(MeanOfRows, self).loss(x[None], y[None]) for x, y in zip(logits, labels, strict=True)]
        ).mean()


@fails("score")
class LossInBits(Sound):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().loss(logits, labels) / 0.6931471805599453


# ---------------------------------------------------------------- length


@fails("length")
class PositionsBeginAgain(Sound):
    def places(self, positions: Tensor) -> Tensor:
        return positions % BLOCK


@fails("length")
class PositionsStandStill(Sound):
    def places(self, positions: Tensor) -> Tensor:
        return positions.clamp_max(BLOCK - 1)


@fails("length")
class OldTokensAreDropped(Sound):
    def forward(self, ids: Tensor, labels: Any = None, attention_mask: Any = None, position_ids: Any = None,
                state: Any = None) -> Any:  # fmt: skip
        cut = None if position_ids is None else position_ids[:, -BLOCK:]
        return super().forward(ids[:, -BLOCK:], labels, attention_mask, cut, state)


@fails("length")
class NanPastTheBlock(Sound):
    def places(self, positions: Tensor) -> Tensor:
        with torch.no_grad():
            self.position.weight[BLOCK:] = torch.nan
        return positions
