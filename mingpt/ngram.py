"""Counting as a bar: the held-out loss of n-grams with add-0.02 counts.

A model that has learned less than the three characters before each can say is above the 4-gram's line.
"""

import numpy as np
import numpy.typing as npt

from mingpt.text.tokenizers import Ids

ADDED = 0.02  # pretended count of every (context, token)
ORDERS = (1, 2, 3, 4, 5)


def additive_losses(train: Ids, held_out: Ids, vocab_size: int) -> dict[str, float]:
    """Nats per held-out token for n = 1..5, every token of `held_out` but the first a target.

    p(x | c) = (count(c, x) + 0.02) / (count(c) + 0.02 v), c the n-1 tokens before x (Jurafsky & Martin, Speech and
    Language Processing, 3rd ed., section 3.6).  The first targets, which have fewer before them, take what there is.

    Args:
        train: ids that are counted.
        held_out: at least two ids that are scored.
    """
    ids, border = np.concatenate([train, held_out]).astype(np.int64), len(train)
    losses = {}
    contexts, nats = np.zeros_like(ids), np.empty(len(held_out) - 1)
    for order in ORDERS:
        grams = _dense(contexts * vocab_size + ids)  # one number for the context and the token after it
        counted = slice(order - 1, border)  # from the first position whose context is whole
        of_gram = np.bincount(grams[counted], minlength=grams.max() + 1)
        of_context = np.bincount(contexts[counted], minlength=contexts.max() + 1)
        scored = slice(border + max(order - 1, 1), None)
        p = (of_gram[grams[scored]] + ADDED) / (of_context[contexts[scored]] + ADDED * vocab_size)
        nats[len(nats) - len(p) :] = -np.log(p)
        losses[f"{order}-gram"] = float(nats.mean())
        contexts = np.concatenate([[0], grams[:-1]])  # a gram that ends here is the next order's context there
    return losses


def _dense(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Renumber from 0 without gaps: by a table where one is small, else by sorting."""
    largest = int(codes.max())
    if largest > max(4 * len(codes), 1 << 24):  # bounds the table by what the codes themselves take
        return np.unique(codes, return_inverse=True)[1]
    present = np.zeros(largest + 1, dtype=bool)
    present[codes] = True
    names = np.cumsum(present, dtype=np.int32)
    return (names[codes] - 1).astype(np.int64)
