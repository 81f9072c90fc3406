"""Settings of sampling."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from mingpt.core.errors import require
from mingpt.core.registry import Registry


class PastBlock(NamedTuple):
    """Method to generate past block_size.

    Attributes:
        kept: block_size -> number of last tokens that are encoded again when the cache is full
        cached: True if the cache then has room for more tokens; False: encode again for every token past block_size
    """

    kept: Callable[[int], int]
    cached: bool


PAST_BLOCK: Registry[PastBlock] = Registry("past_block")
PAST_BLOCK.add("half")(PastBlock(lambda block_size: (block_size + 1) // 2, cached=True))
PAST_BLOCK.add("exact")(PastBlock(lambda block_size: block_size, cached=False))
COMPILE_RULE = "needs cache=True: the decoding step uses the cache"


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of sampling: how the next token is drawn, and its context past block_size.

    Attributes:
        temperature: divisor of the logits; 0: always the likeliest token; 1: the model's own distribution
        top_k: keep the k likeliest tokens; 0: all
        top_p: keep the fewest likeliest tokens whose probabilities reach p; 1: all
        min_p: keep tokens that are at least min_p times as probable as the likeliest; 0: all
        seed: seed of the random draws
        past_block: context of tokens past block_size; one of half (when the cache is full, encode the last half of the
            block again, the fast way: block_size / 2 to block_size tokens of context), exact (encode the last
            block_size tokens again for every token, as nanoGPT does); null: half with the cache, exact without; no
            effect on a model with unbounded state
    """

    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    past_block: str | None = None

    def __post_init__(self) -> None:
        in_range = math.isfinite(self.temperature) and self.temperature >= 0
        require(in_range, "temperature", self.temperature, "must be a number, 0 or more")
        require(self.top_k >= 0, "top_k", self.top_k, "must be 0 (all) or more")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "must be above 0 and at most 1")
        require(0 <= self.min_p <= 1, "min_p", self.min_p, "must be in [0, 1]")
        require(0 <= self.seed < 2**63, "seed", self.seed, "must be in [0, 2^63)")
        if self.past_block is not None:
            PAST_BLOCK[self.past_block]

    def past_block_with(self, cache: bool) -> PastBlock:
        """Return the method to generate past block_size, with or without a cache.

        Raises:
            UsageError: `past_block` needs a cache, and there is none.
        """
        chosen = self.past_block or ("half" if cache else "exact")
        method = PAST_BLOCK[chosen]
        require(cache or not method.cached, "past_block", chosen, "needs cache=True: it keeps half of a full cache")
        return method
