"""Held-out loss: what a model has learned, on text that it never saw, every target counted once.

Only a model that does not see what it predicts has one: `require_autoregressive` is the gate, and nothing else in the
project makes a `HeldOutLoss`.  What fills gaps instead is judged by its pseudo-likelihood, which is another quantity.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F

from mingpt.core.errors import UsageError
from mingpt.data.tokenizers import Ids, Tokenizer
from mingpt.distributed.strategy import ALONE, Ranks
from mingpt.distributed.threads import at_once, kept
from mingpt.inference.causality import SOME_CUTS, leaking_position
from mingpt.models.base import LanguageModel, State, evaluating

logger = logging.getLogger(__name__)

TOKENS_AT_ONCE = 4096  # bounds the memory of one forward pass; on a CPU twice as many take a tenth longer
LOGITS_AT_ONCE = 1 << 26  # so does this, where a vocabulary is large
LONG = 5.0  # seconds; a judgement that takes longer says so

T = TypeVar("T")


@dataclass(frozen=True, repr=False)
class HeldOutLoss:
    """The mean over some targets.

    Attributes:
        nats: per token
        bits_per_byte: of the targets' UTF-8 text, so that tokenizers compare
        tokens: targets counted
    """

    nats: float
    bits_per_byte: float
    tokens: int

    def __repr__(self) -> str:
        return f"<{self.nats:.4f} nats per token, {self.bits_per_byte:.4f} bits per byte, over {self.tokens:,} tokens>"

    @property
    def perplexity(self) -> float:
        """e^nats: the number of equally likely tokens that would be as surprising; inf beyond what a float holds."""
        try:
            return math.exp(self.nats)
        except OverflowError:  # a model that has diverged
            return math.inf


@dataclass(frozen=True, repr=False)
class PseudoLikelihood:
    """How well gaps are filled: no loss and no perplexity, since every guess sees what comes after it.

    The terms don't add up to the probability of a text (Besag 1975; Salazar et al. 2020), so that this is comparable
    with the same figure of another model that fills gaps, at the same block_size and over the same blocks, and with
    nothing else: a longer block tells more of each token.

    Attributes:
        pseudo_nats: the mean of -log p(token | all other tokens of its block)
        pseudo_bits_per_byte: the same per byte of the tokens' UTF-8 text
        tokens: tokens hidden, one at a time
        of: tokens of the text
    """

    pseudo_nats: float
    pseudo_bits_per_byte: float
    tokens: int
    of: int

    def __repr__(self) -> str:
        return f"<{self.pseudo_nats:.4f} pseudo-nats per token, over {self.tokens:,} of {self.of:,} tokens>"


def require_autoregressive(model: LanguageModel, *, cuts: int | None = None, seed: int = 0) -> None:
    """Let a model pass whose predictions depend on what comes before them alone: its own word, and a few passes.

    Args:
        cuts, seed: of `leaking_position`; None: the full look.

    Raises:
        UsageError: it says itself that it sees the tokens that it predicts, or it says otherwise and does.
    """
    name = type(model).__name__
    if not model.autoregressive:
        raise UsageError(
            f"{name} sees the tokens that it predicts, so it has no held-out loss or perplexity; "
            "choose an autoregressive model"
        )
    position = leaking_position(model, cuts=cuts, seed=seed)
    if position is not None:
        raise UsageError(
            f"{name} claims to be autoregressive, but its output at position {position} of a random block changes with "
            "later tokens: it sees what it predicts, so it has no held-out loss or perplexity"
        )


def held_out_loss(
    model: LanguageModel,
    ids: Ids,
    tokenizer: Tokenizer,
    *,
    at_most: int | None = None,
    seed: int = 0,
    ranks: Ranks = ALONE,
) -> HeldOutLoss:
    """Mean loss over `ids` in non-overlapping blocks in order, the short last one included, dropout off.

    Each block starts from nothing.  The loss is that of the logits, which are what is looked at for leaks, and not one
    that the model says: over all of `ids` after the full look, over a part after a quick one.

    Args:
        ids: two tokens at least; all but the first are targets.
        at_most: targets to look at: that many, in whole blocks spread evenly over `ids`; None: every one.
        seed: of the places that are looked at for leaks.
        ranks: the processes that share the work and the outcome.

    Raises:
        UsageError: the model is not autoregressive, whatever it says, so its loss says nothing of text to come.
    """
    require_autoregressive(model, cuts=None if at_most is None else SOME_CUTS, seed=seed)
    groups = _blocks(ids, model.config.block_size, at_most, model.config.vocab_size, ranks.size)
    with evaluating(model):
        own = list(ranks.deal(groups))
        doing = "" if at_most else "evaluating on the validation set"
        nats = ranks.total(_summed(partial(_nats, model), own, model, ranks, doing))
    scored = np.concatenate([windows[:, 1:].reshape(-1) for windows in groups])
    return HeldOutLoss(nats / len(scored), _bits_per_byte(nats, scored, tokenizer), len(scored))


def carried_loss(model: LanguageModel, ids: Ids) -> float:
    """Nats per token over the blocks of `held_out_loss`, each read with the state that the one before it left.

    Args:
        model: one that `carries_state`.
        ids: two tokens at least.

    Raises:
        UsageError: as `held_out_loss` after a quick look: the full one has been taken there.
    """
    assert model.carries_state
    require_autoregressive(model, cuts=SOME_CUTS)
    with evaluating(model):
        state = model.new_state(1)
        blocks = (
            window[None]
            for windows in _blocks(ids, model.config.block_size, None, model.config.vocab_size)
            for window in windows
        )
        return sum(_nats(model, block, state) for block in blocks) / (len(ids) - 1)


def _nats(model: LanguageModel, windows: Ids, state: State | None = None) -> float:
    """The sum over (b, t+1) windows of -log p(token | those before it), the first of each window given."""
    window = torch.from_numpy(windows.astype(np.int64)).to(model.device)
    logits = model(window[:, :-1], state=state).logits
    return F.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten(), reduction="sum").item()


def pseudo_likelihood(
    model: LanguageModel,
    ids: Ids,
    tokenizer: Tokenizer,
    *,
    at_most: int | None = None,
    ranks: Ranks = ALONE,
) -> PseudoLikelihood:
    """Hide each token of `ids` in turn and see how well the rest of its block tells it, dropout off.

    Blocks don't overlap, and the short last one is included.  A block of t tokens takes t passes, made in batches.
    To be compared only at equal block_size and over equal blocks, so with equal `ids` and `at_most`.

    Args:
        ids: one token at least.
        at_most: tokens to hide: that many, in whole blocks spread evenly over `ids`; None: every one.
        ranks: the processes that share the work and the outcome.

    Raises:
        UsageError: the model does not fill gaps.
    """
    groups = _blocks(np.append(ids, ids[:1]), model.config.block_size, at_most, model.config.vocab_size)
    blocks = [block for windows in groups for block in windows[:, :-1]]
    hidden = np.concatenate(blocks)
    with evaluating(model):
        own = list(ranks.deal([pass_ for block in blocks for pass_ in _passes(block, model.config.vocab_size)]))
        doing = f"hiding each of {len(hidden):,} tokens in turn"
        nats = ranks.total(_summed(lambda pass_: _hiding(model, *pass_), own, model, ranks, doing))
    return PseudoLikelihood(nats / len(hidden), _bits_per_byte(nats, hidden, tokenizer), len(hidden), len(ids))


def _passes(block: Ids, vocab_size: int) -> list[tuple[Ids, range]]:
    """Each token of a block, in as many passes as its length makes necessary."""
    rows = rows_at_once(len(block), vocab_size)
    return [(block, range(start, min(start + rows, len(block)))) for start in range(0, len(block), rows)]


def _hiding(model: LanguageModel, block: Ids, places: range) -> float:
    """The sum over some places of (t,) tokens of -log p(token | all others), in nats; one pass."""
    text = torch.from_numpy(block.astype(np.int64)).to(model.device)
    gaps = torch.eye(len(text), dtype=torch.bool, device=text.device)[places.start : places.stop]
    texts = text.expand(len(gaps), -1)
    return F.cross_entropy(model.masked_logits(texts, gaps)[gaps], texts[gaps], reduction="sum").item()


def announced(parts: Sequence[T], doing: str) -> Iterator[T]:
    """`parts`, of about equal work; once the first is done, log how long the others will take, where that is long.

    Args:
        doing: what is done; "": nothing is logged.
    """
    began = time.perf_counter()
    for number, part in enumerate(parts):
        if number == 1:
            left = (time.perf_counter() - began) * (len(parts) - 1)
            if left > LONG and doing:
                logger.info(f"{doing}: about {left:,.0f} s")
        yield part


def _summed(
    score: Callable[[T], float],
    parts: Sequence[tuple[T, bool]],
    model: LanguageModel,
    ranks: Ranks,
    doing: str,
) -> float:
    """Return the sum of score(part) over the parts that count; on a CPU several are scored at the same time."""
    together = torch.get_num_threads() if model.device.type == "cpu" and ranks.passes_at_once else 1
    groups = [parts[first : first + together] for first in range(0, len(parts), together)]
    total = 0.0
    with kept():
        for group in announced(groups, doing):
            scores = at_once(score, [part for part, _ in group])
            total += sum(counts * found for found, (_, counts) in zip(scores, group, strict=True))
    return total


def _bits_per_byte(nats: float, tokens: Ids, tokenizer: Tokenizer) -> float:
    """Of the bytes that the tokens themselves spell: a block may begin and end inside a character."""
    lengths = np.array([len(spelled) for spelled in tokenizer.spelling])
    return nats / math.log(2) / int(lengths[tokens].sum())


def _blocks(ids: Ids, block_size: int, at_most: int | None, vocab_size: int, shares: int = 1) -> list[Ids]:
    """Groups of (b, t+1) windows; neighbours share the token that ends one's targets and begins the next's inputs.

    Args:
        shares: groups at least, where there are so many windows.
    """
    whole = (len(ids) - 1) // block_size
    windows = np.lib.stride_tricks.sliding_window_view(ids, block_size + 1)[::block_size] if whole else ids[None, :0]
    rest = ids[whole * block_size :][None]
    if at_most is not None and whole and len(ids) - 1 > at_most:
        kept = max(at_most // block_size, 1)
        windows, rest = windows[np.linspace(0, whole - 1, kept).astype(int)], rest[:, :0]
    rows = max(min(rows_at_once(block_size, vocab_size), -(-len(windows) // shares)), 1)
    groups = [windows[start : start + rows] for start in range(0, len(windows), rows)] if whole else []
    return groups + ([rest] if rest.shape[1] > 1 else [])


def rows_at_once(length: int, vocab_size: int) -> int:
    """Blocks of so many tokens that are read in one forward pass."""
    return max(min(TOKENS_AT_ONCE, LOGITS_AT_ONCE // vocab_size) // length, 1)
