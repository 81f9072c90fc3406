"""Validation loss, bits per byte and perplexity of autoregressive models; pseudo-likelihood of models that infill.

Only an autoregressive model has a validation loss: `require_autoregressive` checks it, and no other code makes a
`ValidationLoss`.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from mingpt.core.errors import UsageError, require
from mingpt.core.token_ids import Ids, Tokenizer
from mingpt.distributed.strategy import SINGLE_PROCESS, ProcessGroup
from mingpt.distributed.threads import keep_threads, parallel_map
from mingpt.inference.causality import leaking_position
from mingpt.inference.windows import Windows, rows_at_once, windows
from mingpt.models.base import LanguageModel, State, evaluating

logger = logging.getLogger(__name__)

LONG = 5.0  # seconds; longer evaluations log an estimate

T = TypeVar("T")
Floats = npt.NDArray[np.float64]
NONE: Floats = np.empty(0)


@dataclass(frozen=True, repr=False)
class ValidationLoss:
    """Mean cross-entropy over a validation set.

    Attributes:
        nats: nats per token
        bits_per_byte: bits per byte of the targets' UTF-8 text, comparable between tokenizers
        tokens: number of targets
        by_token: (tokens,) nats of each target, in order of the text; None: not asked for
    """

    nats: float
    bits_per_byte: float
    tokens: int
    by_token: Floats | None = field(default=None, compare=False)

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
    stride: int | None = None,
    carried: bool = False,
    by_token: bool = False,
    verify: bool = True,
    processes: ProcessGroup = SINGLE_PROCESS,
) -> ValidationLoss:
    """Return the mean loss over `ids`, each token but the first a target once, dropout off.

    By default in non-overlapping blocks without context from earlier ones, the short last one included.  The loss is
    computed from the logits, which the causality check covers, and not by the model.

    Args:
        model: an autoregressive model
        ids: token ids of the validation set, at least two; all but the first are targets
        tokenizer: tokenizer of the text, for bits per byte
        at_most: number of targets, in complete blocks spread evenly over `ids`; None: all
        stride: number of tokens from one window of block_size inputs to the next (`windows`), so that each target past
            the first window has at least block_size - stride tokens of context; None: block_size
        carried: pass the recurrent state from each block to the next; not with a stride, by a single process
        by_token: also return the loss of each target; by a single process
        verify: run the causality check; False: trust the declared property, which the run has verified
        processes: the processes that share the work and the result

    Raises:
        UsageError: the model isn't autoregressive; a stride outside 1 to block_size; no state to carry.
    """
    require_autoregressive(model, verify=verify)
    size, name = model.config.block_size, type(model).__name__
    require(stride is None or 1 <= stride <= size, "stride", stride, f"must be 1 to {size}, the model's block_size")
    rule = f"{name} keeps no state past block_size; context=block with a stride gives its tokens a longer context"
    require(model.unbounded or not carried, "context", "carried", rule)
    assert processes is SINGLE_PROCESS or not (carried or by_token)
    parts = windows(ids, size, model.config.vocab_size, stride=stride, at_most=at_most, shares=processes.size)
    with evaluating(model):
        if carried:
            state = model.new_state(1)
            blocks = (Windows(block[None], part.scored) for part in parts for block in part.ids)
            scores = [_nats(model, by_token, block, state) for block in blocks]
        else:
            doing = "" if at_most else "evaluating on the validation set"
            own = list(processes.shard(parts))
            scores = _scores(partial(_nats, model, by_token), own, model, processes, doing)
        nats = processes.sum(sum(total for total, _ in scores))
    targets = np.concatenate([part.targets for part in parts])
    each = np.concatenate([each for _, each in scores]) if by_token else None
    return ValidationLoss(nats / len(targets), _bits_per_byte(nats, targets, tokenizer), len(targets), each)


def _nats(model: LanguageModel, each: bool, part: Windows, state: State | None = None) -> tuple[float, Floats]:
    """Return the summed loss, in nats, over the scored targets; and, if `each`, the loss of each of them."""
    window = torch.from_numpy(part.ids.astype(np.int64)).to(model.device)
    logits = model(window[:, :-1], state=state).logits[:, -part.scored :].flatten(0, 1)
    targets = window[:, -part.scored :].flatten()
    total = F.cross_entropy(logits, targets, reduction="sum").item()
    if not each:
        return total, NONE
    return total, F.cross_entropy(logits, targets, reduction="none").cpu().double().numpy()


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
    size, vocab_size = model.config.block_size, model.config.vocab_size
    parts = windows(np.append(ids, ids[:1]), size, vocab_size, at_most=at_most)
    blocks = [block for part in parts for block in part.ids[:, :-1]]
    masked = np.concatenate(blocks)
    with evaluating(model):
        own = list(processes.shard([pass_ for block in blocks for pass_ in _passes(block, vocab_size)]))
        doing = f"masking each of {len(masked):,} tokens in turn"
        scores = _scores(lambda pass_: (_masked_nats(model, *pass_), NONE), own, model, processes, doing)
        nats = processes.sum(sum(total for total, _ in scores))
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


def _scores(
    score: Callable[[T], tuple[float, Floats]],
    parts: Sequence[tuple[T, bool]],
    model: LanguageModel,
    processes: ProcessGroup,
    doing: str,
) -> list[tuple[float, Floats]]:
    """Return score(part) of each part, of padding parts (0, none); on a CPU several are computed at the same time."""
    together = torch.get_num_threads() if model.device.type == "cpu" and processes.allows_threads else 1
    groups = [parts[first : first + together] for first in range(0, len(parts), together)]
    found: list[tuple[float, Floats]] = []
    with keep_threads():
        for group in with_time_estimate(groups, doing):
            scores = parallel_map(score, [part for part, _ in group])
            found += [each if counts else (0.0, NONE) for each, (_, counts) in zip(scores, group, strict=True)]
    return found


def _bits_per_byte(nats: float, tokens: Ids, tokenizer: Tokenizer) -> float:
    """Return bits per byte of the tokens' own spelling, since a block may begin and end inside a character."""
    lengths = np.array([len(spelled) for spelled in tokenizer.spelling])
    return nats / math.log(2) / int(lengths[tokens].sum())
