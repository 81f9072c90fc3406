"""N-gram counts of a text as a trie, and the Kneser-Ney discounts estimated from them.

All n-grams of 1 to `order` tokens are nodes of one trie, numbered breadth first, 0 the empty one.  Node j's code,
parent * vocab_size + token, is grams[j - 1]: sorted, so that a binary search finds a child and siblings are adjacent.
"""

import numpy as np
import numpy.typing as npt

from mingpt.core.token_ids import Ids

Array = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]
TOP, BELOW = 0, 1  # rows of counts: occurrences, for the highest order; distinct preceding tokens, for lower orders
FALLBACK = (0.5, 1.0, 1.5)  # KenLM's discounts, where a text has too few rare n-grams to estimate them


def count(ids: Ids, vocab_size: int, order: int) -> tuple[Array, Counts]:
    """Count all n-grams of 1 to `order` tokens of `ids`; memory is O(tokens + distinct n-grams).

    Returns:
        (g,) codes of the trie's nodes, and their (2, g) counts, rows TOP and BELOW.
    """
    tokens = ids.astype(np.int64)
    grams, seen = [np.zeros(0, np.int64)], [np.zeros((2, 0), np.int32)]
    before, first, after = np.zeros_like(tokens), 0, 1  # context node of each token, one of first to after - 1
    shorter = before  # node of the n-gram one token shorter that ends at each position
    for n in range(1, min(order, len(tokens)) + 1):
        codes, numbers = renumber((before - first) * vocab_size + tokens[n - 1 :])
        if n > 1:
            example = np.empty(len(codes), np.int64)
            example[numbers] = np.arange(len(numbers))  # one position where each n-gram occurs
            seen[-1][BELOW] = np.bincount(shorter[1:][example], minlength=seen[-1].shape[1])
        grams.append(codes + first * vocab_size)
        occurrences = np.bincount(numbers)
        seen.append(np.stack((occurrences, np.zeros_like(occurrences))).astype(np.int32))
        shorter = numbers
        before, first, after = numbers[:-1] + after, after, after + len(codes)
    return np.concatenate(grams), np.concatenate(seen, 1)


def renumber(codes: Array) -> tuple[Array, Array]:
    """Return the distinct codes, sorted, and each code's index among them (`np.unique`, by a table if that fits)."""
    largest = int(codes.max())
    if largest > max(8 * len(codes), 1 << 24):  # bounds the table by about the memory of sorting
        names, places = np.unique(codes, return_inverse=True)
        return names, places
    present = np.zeros(largest + 1, dtype=bool)
    present[codes] = True
    names = np.flatnonzero(present)
    place_of = np.empty(largest + 1, np.int32)  # only codes are written and read
    place_of[names] = np.arange(len(names), dtype=np.int32)
    return names, place_of[codes].astype(np.int64)


def estimated_discounts(counts: Counts) -> tuple[float, ...]:
    """Return the discounts of counts 0, 1, 2 and 3 or more (Chen & Goodman 1999, eq. 26, modified Kneser-Ney).

    Each must be above 0 and at most the count, so that probabilities stay positive; else return FALLBACK.
    """
    n1, n2, n3, n4 = (float((counts == times).sum()) for times in (1, 2, 3, 4))
    if n1 and n2 and n3:
        y = n1 / (n1 + 2 * n2)
        found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        if all(0 < discount <= times for times, discount in enumerate(found, start=1)):
            return (0.0, *found)
    return (0.0, *FALLBACK)


def sums_of_children(grams: Array, seen: Counts, vocab_size: int, contexts: int) -> Counts:
    """Return (2, contexts, 4): each context's children with count 1, 2, and 3 or more; and the sum of their counts."""
    parents = grams // vocab_size
    sums = []
    for counts in seen:
        times = [np.bincount(parents[some], minlength=contexts) for some in (counts == 1, counts == 2, counts > 2)]
        sums.append(np.stack([*times, np.bincount(parents, counts, minlength=contexts)], -1))
    return np.stack(sums).astype(np.int32)


def begins(grams: Array, vocab_size: int, order: int) -> list[int]:
    """Return the first node of each length 0 to `order`, and the number of all nodes."""
    found = [0, 1]
    while len(found) < order + 2:
        found.append(1 + int(np.searchsorted(grams, found[-1] * vocab_size)))
    return found


def is_valid(grams: Array, seen: Counts, vocab_size: int, order: int) -> bool:
    """True if `count` could have returned these tables."""
    shaped = grams.ndim == 1 and seen.shape == (2, len(grams))
    sorted_ = shaped and (np.diff(grams, prepend=-1) > 0).all() and (seen >= 0).all()
    return bool(sorted_ and begins(grams, vocab_size, order)[-1] == len(grams) + 1)
