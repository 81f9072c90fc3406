"""Validation loss, bits per byte and perplexity of autoregressive models; pseudo-likelihood of models that infill.

Only an autoregressive model has a validation loss: `require_autoregressive` checks it, and no other code makes a
`ValidationLoss`.
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
from mingpt.core.token_ids import Ids
from mingpt.data.tokenizers import Tokenizer
from mingpt.distributed.strategy import SINGLE_PROCESS, ProcessGroup
from mingpt.distributed.threads import keep_threads, parallel_map
from mingpt.inference.causality import leaking_position
from mingpt.models.base import LanguageModel, State, evaluating

logger = logging.getLogger(__name__)

TOKENS_AT_ONCE = 4096  # bounds the memory of a forward pass; on a CPU twice as many take a tenth longer
LOGITS_AT_ONCE = 1 << 26  # bounds it for large vocabularies
LONG = 5.0  # seconds; longer evaluations log an estimate

T = TypeVar("T")


@dataclass(frozen=True, repr=False)
class ValidationLoss:
    """Mean cross-entropy over a validation set.

    Attributes:
        nats: nats per token
        bits_per_byte: bits per byte of the targets' UTF-8 text, comparable between tokenizers
        tokens: number of targets
    """

    nats: float
    bits_per_byte: float
    tokens: int

    def __repr__(self) -> str:
        return f"<{self.nats:.4f} nats per token, {self.bits_per_byte:.4f} bits per byte, over {self.tokens:,} tokens>"

    @property
    def perplexity(self) -> float:
        """e^nats; inf on overflow."""
        try:
            return math.exp(self.nats)
        except OverflowError:  # a model that has diverged
            return math.inf


@dataclass(frozen=True, repr=False)
class PseudoLikelihood:
    """Mean pseudo-log-likelihood of a model that infills; neither a loss nor a perplexity.

    The terms don't sum to the log-probability of a text (Besag 1975; Salazar et al. 2020).  It is comparable only
    between models that infill, at equal block_size and over equal blocks.

    Attributes:
        pseudo_nats: mean of -log p(token | all other tokens of its block), in nats
        pseudo_bits_per_byte: the same in bits per byte of the tokens' UTF-8 text
        tokens: number of tokens masked, one at a time
        of: number of tokens of the text
    """

    pseudo_nats: float
    pseudo_bits_per_byte: float
    tokens: int
    of: int

    def __repr__(self) -> str:
        return f"<{self.pseudo_nats:.4f} pseudo-nats per token, over {self.tokens:,} of {self.of:,} tokens>"


def require_autoregressive(model: LanguageModel, *, verify: bool = True) -> None:
    """Raise unless the model's predictions depend on preceding tokens only.

    Args:
        model: a model of any family
        verify: also run the causality check, which takes a few passes; False: trust the declared property

    Raises:
        UsageError: the model isn't autoregressive, or declares that it is and the check finds otherwise.
    """
    name = type(model).__name__
    if not model.autoregressive:
        raise UsageError(
            f"{name} sees the tokens that it predicts, so it has no validation loss or perplexity; "
            "choose an autoregressive model"
        )
    position = leaking_position(model) if verify else None
    if position is not None:
        raise UsageError(
            f"{name} claims to be autoregressive, but its output at position {position} of a random block changes with "
            "later tokens: it sees what it predicts, so it has no validation loss or perplexity"
        )


def validation_loss(
    model: LanguageModel,
    ids: Ids,
    tokenizer: Tokenizer,
    *,
    at_most: int | None = None,
    verify: bool = True,
    processes: ProcessGroup = SINGLE_PROCESS,
) -> ValidationLoss:
    """Return the mean loss over all non-overlapping blocks of `ids`, the short last one included, dropout off.

    Blocks are evaluated without context from earlier ones.  The loss is computed from the logits, which the causality
    check covers, and not by the model.

    Args:
        model: an autoregressive model
        ids: token ids of the validation set, at least two; all but the first are targets
        tokenizer: tokenizer of the text, for bits per byte
        at_most: number of targets, in complete blocks spread evenly over `ids`; None: all
        verify: run the causality check; False: trust the declared property, which the run has verified
        processes: the processes that share the work and the result

    Raises:
        UsageError: the model isn't autoregressive.
    """
    require_autoregressive(model, verify=verify)
    groups = _blocks(ids, model.config.block_size, at_most, model.config.vocab_size, processes.size)
    with evaluating(model):
        own = list(processes.shard(groups))
        doing = "" if at_most else "evaluating on the validation set"
        nats = processes.sum(_summed(partial(_nats, model), own, model, processes, doing))
    scored = np.concatenate([windows[:, 1:].reshape(-1) for windows in groups])
    return ValidationLoss(nats / len(scored), _bits_per_byte(nats, scored, tokenizer), len(scored))


def stateful_loss(model: LanguageModel, ids: Ids) -> float:
    """Return the mean loss, in nats per token, over consecutive blocks with the recurrent state passed between them.

    Args:
        model: a recurrent model whose config `supports_tbptt`, and of which `validation_loss` has verified that it is
            autoregressive
        ids: token ids of the validation set, at least two

    Raises:
        UsageError: the model isn't autoregressive.
    """
    assert model.config.supports_tbptt
    require_autoregressive(model, verify=False)
    with evaluating(model):
        state = model.new_state(1)
        blocks = (
            window[None]
            for windows in _blocks(ids, model.config.block_size, None, model.config.vocab_size)
            for window in windows
        )
        return sum(_nats(model, block, state) for block in blocks) / (len(ids) - 1)


def _nats(model: LanguageModel, windows: Ids, state: State | None = None) -> float:
    """Return the summed loss, in nats, over (b, t+1) windows, the first token of each given."""
    window = torch.from_numpy(windows.astype(np.int64)).to(model.device)
    logits = model(window[:, :-1], state=state).logits
    return F.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten(), reduction="sum").item()


def pseudo_likelihood(
    model: LanguageModel,
    ids: Ids,
    tokenizer: Tokenizer,
    *,
    at_most: int | None = None,
    processes: ProcessGroup = SINGLE_PROCESS,
) -> PseudoLikelihood:
    """Return the mean pseudo-log-likelihood over `ids`: mask each token in turn and predict it, dropout off.

    Blocks don't overlap, and the short last one is included.  A block of t tokens takes t passes, in batches.

    Args:
        model: a model that infills
        ids: token ids, at least one
        tokenizer: tokenizer of the text, for bits per byte
        at_most: number of tokens to mask, in complete blocks spread evenly over `ids`; None: all
        processes: the processes that share the work and the result

    Raises:
        UsageError: the model was not trained on masked tokens.
    """
    groups = _blocks(np.append(ids, ids[:1]), model.config.block_size, at_most, model.config.vocab_size)
    blocks = [block for windows in groups for block in windows[:, :-1]]
    masked = np.concatenate(blocks)
    with evaluating(model):
        own = list(processes.shard([pass_ for block in blocks for pass_ in _passes(block, model.config.vocab_size)]))
        doing = f"masking each of {len(masked):,} tokens in turn"
        nats = processes.sum(_summed(lambda pass_: _masked_nats(model, *pass_), own, model, processes, doing))
    return PseudoLikelihood(nats / len(masked), _bits_per_byte(nats, masked, tokenizer), len(masked), len(ids))


def _passes(block: Ids, vocab_size: int) -> list[tuple[Ids, range]]:
    """Split the positions of a block into passes, by the number of rows at once."""
    rows = rows_at_once(len(block), vocab_size)
    return [(block, range(start, min(start + rows, len(block)))) for start in range(0, len(block), rows)]


def _masked_nats(model: LanguageModel, block: Ids, places: range) -> float:
    """Return the sum of -log p(token | all others), in nats, over some positions of (t,) tokens, in one pass."""
    text = torch.from_numpy(block.astype(np.int64)).to(model.device)
    masked = torch.eye(len(text), dtype=torch.bool, device=text.device)[places.start : places.stop]  # (rows, t)
    texts = text.expand(len(masked), -1)
    return F.cross_entropy(model.masked_logits(texts, masked)[masked], texts[masked], reduction="sum").item()


def with_time_estimate(parts: Sequence[T], doing: str) -> Iterator[T]:
    """Yield `parts`, of about equal work, and log an estimate of the remaining time after the first if it is long.

    Args:
        parts: parts of the work
        doing: description of the work; "": log nothing
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
    processes: ProcessGroup,
    doing: str,
) -> float:
    """Return the sum of score(part), without padding parts; on a CPU several are computed at the same time."""
    together = torch.get_num_threads() if model.device.type == "cpu" and processes.allows_threads else 1
    groups = [parts[first : first + together] for first in range(0, len(parts), together)]
    total = 0.0
    with keep_threads():
        for group in with_time_estimate(groups, doing):
            scores = parallel_map(score, [part for part, _ in group])
            total += sum(counts * found for found, (_, counts) in zip(scores, group, strict=True))
    return total


def _bits_per_byte(nats: float, tokens: Ids, tokenizer: Tokenizer) -> float:
    """Return bits per byte of the tokens' own spelling, since a block may begin and end inside a character."""
    lengths = np.array([len(spelled) for spelled in tokenizer.spelling])
    return nats / math.log(2) / int(lengths[tokens].sum())


def _blocks(ids: Ids, block_size: int, at_most: int | None, vocab_size: int, shares: int = 1) -> list[Ids]:
    """Return batches of (b, t+1) windows; consecutive windows overlap by one token, a target and then an input.

    Args:
        shares: least number of batches, if there are as many windows
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
    """Return the number of blocks of `length` tokens per forward pass."""
    return max(min(TOKENS_AT_ONCE, LOGITS_AT_ONCE // vocab_size) // length, 1)
