"""How often each gram stands in a text: a tree of counts, and the discounts that they call for.

All grams of 1 to `order` tokens are one tree of numbered nodes, breadth first, 0 the empty gram.  Node j's code,
parent * vocab_size + token, is grams[j - 1]: sorted, so one binary search finds a child, and children are neighbours.
"""

import numpy as np
import numpy.typing as npt

from mingpt.data.tokenizers import Ids

Array = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]
TOP, BELOW = 0, 1  # rows of counts: of occurrences, for the order that predicts; of different tokens before, below it
FALLBACK = (0.5, 1.0, 1.5)  # discounts where the text has too few rare grams to estimate them from (KenLM's)


def count(ids: Ids, vocab_size: int, order: int) -> tuple[Array, Counts]:
    """All grams of 1 to `order` tokens: codes of their nodes, and two rows of counts (TOP, BELOW).

    Memory grows with the text and with the number of different grams; there is no table of vocab_size ** order.
    """
    tokens = ids.astype(np.int64)
    grams, seen = [np.zeros(0, np.int64)], [np.zeros((2, 0), np.int32)]
    before, first, after = np.zeros_like(tokens), 0, 1  # the node before each token; such are first to after - 1
    shorter = before  # which gram one token shorter ends at each place
    for n in range(1, min(order, len(tokens)) + 1):
        codes, numbers = renumber((before - first) * vocab_size + tokens[n - 1 :])
        if n > 1:
            somewhere = np.empty(len(codes), np.int64)
            somewhere[numbers] = np.arange(len(numbers))  # one place where each gram stands
            seen[-1][BELOW] = np.bincount(shorter[1:][somewhere], minlength=seen[-1].shape[1])
        grams.append(codes + first * vocab_size)
        occurrences = np.bincount(numbers)
        seen.append(np.stack((occurrences, np.zeros_like(occurrences))).astype(np.int32))
        shorter = numbers
        before, first, after = numbers[:-1] + after, after, after + len(codes)
    return np.concatenate(grams), np.concatenate(seen, 1)


def renumber(codes: Array) -> tuple[Array, Array]:
    """The different codes, sorted, and the place of each code among them: by a table where one is not much larger."""
    largest = int(codes.max())
    if largest > max(8 * len(codes), 1 << 24):  # bounds the tables by about what sorting takes
        names, places = np.unique(codes, return_inverse=True)
        return names, places
    present = np.zeros(largest + 1, dtype=bool)
    present[codes] = True
    names = np.flatnonzero(present)
    place_of = np.empty(largest + 1, np.int32)  # what is no code is neither written nor read
    place_of[names] = np.arange(len(names), dtype=np.int32)
    return names, place_of[codes].astype(np.int64)


def estimated_discounts(counts: Counts) -> tuple[float, ...]:
    """What to take from a count of 0, 1, 2, and 3 or more (Chen & Goodman 1999, modified Kneser-Ney).

    Each is above 0 and at most the count, so that every token keeps a probability; else all are the fallback.
    """
    n1, n2, n3, n4 = (float((counts == times).sum()) for times in (1, 2, 3, 4))
    if n1 and n2 and n3:
        y = n1 / (n1 + 2 * n2)
        found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        if all(0 < discount <= times for times, discount in enumerate(found, start=1)):
            return (0.0, *found)
    return (0.0, *FALLBACK)


def sums_of_children(grams: Array, seen: Counts, vocab_size: int, contexts: int) -> Counts:
    """(2, contexts, 4): of each of the first nodes, children counted once, twice, more often; and their counts' sum."""
    parents = grams // vocab_size
    sums = []
    for counts in seen:
        times = [np.bincount(parents[some], minlength=contexts) for some in (counts == 1, counts == 2, counts > 2)]
        sums.append(np.stack([*times, np.bincount(parents, counts, minlength=contexts)], -1))
    return np.stack(sums).astype(np.int32)


def begins(grams: Array, vocab_size: int, order: int) -> list[int]:
    """The first node of each length 0 to `order`, and the number of all nodes."""
    found = [0, 1]
    while len(found) < order + 2:
        found.append(1 + int(np.searchsorted(grams, found[-1] * vocab_size)))
    return found


def sound(grams: Array, seen: Counts, vocab_size: int, order: int) -> bool:
    """Whether these are tables that `count` could have given."""
    shaped = grams.ndim == 1 and seen.shape == (2, len(grams))
    sorted_ = shaped and (np.diff(grams, prepend=-1) > 0).all() and (seen >= 0).all()
    return bool(sorted_ and begins(grams, vocab_size, order)[-1] == len(grams) + 1)
