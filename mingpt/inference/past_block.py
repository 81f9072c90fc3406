"""Validation loss past block_size of each method of `sampling_config.PAST_BLOCK`.

A method that encodes `kept` tokens again when the cache is full gives the tokens of a cycle kept, kept + 1, ...,
block_size tokens of context, all of which one pass over a window of block_size tokens has.  All methods are scored on
the same tokens, each with at least block_size tokens before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mingpt.core.errors import DataError, UsageError
from mingpt.core.statistics import Estimate, estimate
from mingpt.core.token_ids import Ids
from mingpt.inference.evaluate import require_autoregressive, with_time_estimate
from mingpt.inference.sampling_config import PAST_BLOCK
from mingpt.inference.windows import rows_at_once
from mingpt.models.base import LanguageModel, evaluating


@dataclass(frozen=True)
class PastBlockLoss:
    """Validation loss of tokens past block_size.

    Attributes:
        nats: nats per token, by method
        context: fewest and most tokens of context, by method
        difference: nats of half minus nats of exact, with a 95 % interval over stretches of text
        tokens: number of targets
    """

    nats: Mapping[str, float]
    context: Mapping[str, tuple[int, int]]
    difference: Estimate
    tokens: int


def past_block_loss(model: LanguageModel, ids: Ids, *, at_most: int | None = None) -> PastBlockLoss:
    """Score tokens of `ids` past the first block_size, each with the context that it would have in generation.

    Targets are stretches as long as a cycle of past_block=half, spread evenly over `ids`.

    Args:
        model: an autoregressive model whose state isn't unbounded
        ids: token ids of the validation set
        at_most: number of targets, in complete stretches, at least two; None: all.  past_block=exact takes a pass over
            block_size tokens for each.

    Raises:
        UsageError: the model isn't autoregressive, or its state is unbounded.
        DataError: there are fewer than two stretches of text.
    """
    require_autoregressive(model)
    if model.unbounded:
        raise UsageError(f"{type(model).__name__} goes on past block_size by its state: past_block changes nothing")
    size = model.config.block_size
    stretch = size - PAST_BLOCK["half"].kept(size) + 1
    there = (len(ids) - size) // stretch
    if there < 2:
        needed = size + 2 * stretch
        raise DataError(f"{len(ids)} tokens: past_block needs {needed} at least, two stretches past the first block")
    count = there if at_most is None else min(max(at_most // stretch, 2), there)
    firsts = size + stretch * np.linspace(0, there - 1, count).astype(int)
    kept = {name: PAST_BLOCK[name].kept(size) for name in PAST_BLOCK}
    nats = {name: _nats(model, ids, firsts, stretch, kept[name]).mean(1) for name in kept}
    return PastBlockLoss(
        {name: float(means.mean()) for name, means in nats.items()},
        {name: (tokens, size) for name, tokens in kept.items()},
        estimate((nats["half"] - nats["exact"]).tolist()),
        count * stretch,
    )


def _nats(model: LanguageModel, ids: Ids, firsts: Ids, stretch: int, kept: int) -> Tensor:
    """Return (n, stretch) losses, in nats, of the tokens from each of the (n,) positions `firsts` on."""
    size = model.config.block_size
    starts = (firsts[:, None] - kept + np.arange(0, stretch, size - kept + 1)).reshape(-1)
    windows = np.lib.stride_tricks.sliding_window_view(ids, size + 1)
    rows, losses = rows_at_once(size, model.config.vocab_size), []
    groups = [starts[at : at + rows] for at in range(0, len(starts), rows)]
    with evaluating(model):
        for group in with_time_estimate(groups, f"scoring tokens past the block, {kept} kept"):
            window = torch.from_numpy(windows[group].astype(np.int64)).to(model.device)
            logits, targets = model(window[:, :-1]).logits[:, kept - 1 :], window[:, kept:]
            losses.append(F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").cpu().double())
    return torch.cat(losses).view(len(firsts), stretch)
