"""Windows over a text: which tokens one forward pass reads, and which of its predictions are scored.

A window is block_size inputs and the token after each.  Windows begin every `stride` tokens, and of each but the first
the last `stride` predictions are scored, so that every token but the first is a target once.  With stride = block_size
they are blocks, each without context from the one before, and a target has 1 to block_size tokens of context; with a
smaller stride every target past the first window has at least block_size - stride + 1.
"""

from typing import NamedTuple

import numpy as np

from mingpt.core.token_ids import Ids

TOKENS_AT_ONCE = 4096  # bounds the memory of a forward pass; on a CPU twice as many take a tenth longer
LOGITS_AT_ONCE = 1 << 26  # bounds it for large vocabularies


class Windows(NamedTuple):
    """Windows of one length, for one forward pass.

    Attributes:
        ids: (b, t+1) token ids: t inputs, and the target of each
        scored: number of last targets of each window that are scored
    """

    ids: Ids
    scored: int

    @property
    def targets(self) -> Ids:
        """The scored targets, in order of the text if the windows are."""
        return self.ids[:, self.ids.shape[1] - self.scored :].reshape(-1)


def windows(
    ids: Ids,
    block_size: int,
    vocab_size: int,
    *,
    stride: int | None = None,
    at_most: int | None = None,
    shares: int = 1,
) -> list[Windows]:
    """Return the windows over `ids` in batches, in order of the text; targets are all but the first token.

    Args:
        ids: token ids of the text, at least two
        block_size: length of a window, in inputs
        vocab_size: size of the vocabulary, which bounds the windows in a batch
        stride: number of tokens from one window to the next, 1 to block_size; None: block_size
        at_most: number of targets, in complete blocks spread evenly over `ids`, for a stride of block_size; None: all
        shares: least number of batches, if there are as many windows
    """
    stride, targets = stride or block_size, len(ids) - 1
    full = max(targets - block_size + stride, 0) // stride  # windows of block_size inputs
    views = np.lib.stride_tricks.sliding_window_view(ids, block_size + 1)[::stride] if full else ids[None, :0]
    left = targets - block_size - (full - 1) * stride if full else targets
    rest = [Windows(ids[None, full * stride :], left)] if left else []  # the last, shorter window
    if at_most is not None and full and targets > at_most:
        assert stride == block_size
        kept = max(at_most // block_size, 1)
        views, rest = views[np.linspace(0, full - 1, kept).astype(int)], []
    if not full:
        return rest
    first = [Windows(views[:1], block_size)] if stride < block_size else []
    views = views[len(first) :]
    rows = max(min(rows_at_once(block_size, vocab_size), -(-len(views) // shares)), 1)
    return [*first, *(Windows(views[at : at + rows], stride) for at in range(0, len(views), rows)), *rest]


def rows_at_once(length: int, vocab_size: int) -> int:
    """Return the number of windows of `length` tokens per forward pass."""
    return max(min(TOKENS_AT_ONCE, LOGITS_AT_ONCE // vocab_size) // length, 1)
