"""What is audited: a model with its vocabulary and trained length, its text and what is claimed of it.

A check asks a target for logits, by a seed, so that equal questions have equal answers; everything else is optional,
and a check whose question a target can't be asked is not applicable.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mingpt.inference.causality import largest_differences
from mingpt.interop.audit.calling import Calling, Decoder, mode
from mingpt.interop.audit.numerics import Rounding, narrowest_type, noise_of_copies
from mingpt.interop.audit.token_file import TokenScores
from mingpt.utils import seeded_generator, seeded_globally

CPU = torch.device("cpu")
PROBE = 7  # tokens of the passes that measure rounding and repetition
WINDOWS = (
    "window",
    "chunk",
    "block_size",
    "bucket",
)  # in names of settings: lengths after which code takes other paths
LONGEST = 4096  # tokens of a length that is tried because of such a setting


class Codec(Protocol):
    """A tokenizer: text to ids, ids to text, and the bytes of UTF-8 that each id stands for where that is known."""

    def encode(self, text: str) -> Sequence[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def byte_count(self, ids: Sequence[int]) -> int | None: ...


@dataclass(frozen=True)
class Claim:
    """A loss that is claimed of a text.

    Attributes:
        ids: (n,) token ids, of which all but the first are scored in blocks of the trained length
        text: the text, None where it isn't known
        nats: claimed mean loss
        bits_per_byte: claimed too; None: not claimed
        source: where the claim stands
    """

    ids: Tensor
    text: str | None
    nats: float
    bits_per_byte: float | None
    source: str


@dataclass(frozen=True, kw_only=True)
class Target:
    """A model, and what is known of it.

    Attributes:
        name: what people call it
        load: Python that defines `target` as this one, for reproductions
        model: an nn.Module, or any callable; None for a file of scores
        vocab_size: number of token ids
        block_size: trained length in tokens; None: not known
        calling: how the model is called
        special: ids that aren't drawn at random, as padding
        padding: the id that pads; None: any does
        autoregressive: False if the model says itself that it sees the tokens that it predicts
        codec: its tokenizer
        text: some text in its language, for the loss by position
        claim: a loss that is claimed of a text
        scores: content of a file of scores
        training: passes are made in training mode
        fresh: each pass is made by a copy of `original`, so that nothing is left of earlier ones
        original: the module before any pass, of which `model` is a copy; None: there is no copy
    """

    name: str
    load: str
    model: Any = field(default=None, repr=False)
    vocab_size: int = 0
    block_size: int | None = None
    calling: Calling = field(default_factory=Calling)
    special: frozenset[int] = frozenset()
    padding: int | None = None
    autoregressive: bool = True
    codec: Codec | None = None
    text: str | None = None
    claim: Claim | None = None
    scores: TokenScores | None = None
    training: bool = False
    fresh: bool = False
    original: nn.Module | None = field(default=None, repr=False)

    @property
    def module(self) -> nn.Module | None:
        """The model, if it is a module."""
        return self.model if isinstance(self.model, nn.Module) else None

    @cached_property
    def drawable(self) -> Tensor:
        """(n,) ids that may be drawn at random."""
        return torch.tensor([id for id in range(self.vocab_size) if id not in self.special])

    def ids(self, rows: int, tokens: int, seed: int = 0) -> Tensor:
        """Return (rows, tokens) random ids, the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        return self.drawable[torch.randint(len(self.drawable), (rows, tokens), generator=generator)]

    def others(self, ids: Tensor, seed: int = 1) -> Tensor:
        """Return ids of the same shape, of which each is another than in `ids`."""
        steps = torch.randint(1, len(self.drawable), ids.shape, generator=torch.Generator().manual_seed(seed))
        return self.drawable[(torch.searchsorted(self.drawable, ids) + steps) % len(self.drawable)]

    def pads(self, rows: int, tokens: int, seed: int = 0) -> Tensor:
        """Return (rows, tokens) ids of padding, which a mask hides; random ones where no id pads."""
        if self.padding is None:
            return self.ids(rows, tokens, seed)
        return torch.full((rows, tokens), self.padding)

    def logits(self, ids: Tensor, mask: Tensor | None = None, *, seed: int | None = 0) -> Tensor:
        """Return the (b, t, v) logits of (b, t) ids.

        Args:
            mask: (b, t), 0 where a token is padding
            seed: seeds every generator first; None: leaves them as they are
        """
        with torch.no_grad(), self._drawing(seed):
            model = self._untouched() if self.fresh else self.model
            with mode(model, self.training):
                return self.calling.logits(model, ids, mask)

    def _untouched(self) -> Any:
        """Return a copy of the model as it was before any pass, in the precision of this one."""
        model = copy.deepcopy(self.original)
        assert model is not None
        assert self.module is not None
        return model.double() if types_of(self.module) == {torch.float64} else model

    def probabilities(self, ids: Tensor) -> Tensor:
        """Return the (b, t, v) next-token distributions after each of (b, t) ids."""
        return self.logits(ids).softmax(-1)

    def reported_loss(self, ids: Tensor, mask: Tensor | None = None) -> float:
        """Return the loss that the model itself reports for (b, t) ids."""
        with torch.no_grad(), self._drawing(0):
            model = self._untouched() if self.fresh else self.model
            with mode(model, False):
                return self.calling.reported_loss(model, ids, mask)

    def decoder(self, batch: int) -> Decoder | None:
        """Return a decoder with an empty state for `batch` rows; None if the model has none."""
        with torch.no_grad(), mode(self.model, False):
            decode = self.calling.decoder(self.model, batch)
        if decode is None:
            return None

        def step(ids: Tensor) -> Tensor:
            with torch.no_grad(), self._drawing(0), mode(self.model, False):
                return decode(ids)

        return step

    @contextmanager
    def _drawing(self, seed: int | None) -> Iterator[None]:
        if seed is None:
            yield
            return
        with seeded_globally(seed, CPU), seeded_generator(seed):
            yield

    def in_training(self) -> "Target":
        """Return the target in training mode; every pass draws the same dropout masks, by its seed."""
        return replace(self, training=True)

    def in_own_precision(self) -> "Target | None":
        """Return the target with its model in the precision that it came in; None if that is the one it has."""
        if self.original is None or types_of(self.original) == types_of(self.module):
            return None
        return replace(self, model=copy.deepcopy(self.original))

    def repeating(self) -> "Target | None":
        """Return the target so that equal inputs give equal outputs, if need be by copies; None if they don't."""
        for target in (self, *([replace(self, fresh=True)] if self.original is not None else [])):
            one, other = (target.ids(1, self.tokens_within(PROBE), seed=seed) for seed in (0, 1))
            before, _, after = (target.logits(each) for each in (one, other, one))
            allowed = self.rounding.tolerance(before, same_shape=True)
            if float(largest_differences(before, after).max()) <= allowed:
                return target
        return None

    def comparable(self) -> "Target | None":
        """Return the target so that passes of different shapes can be compared; None if it draws random numbers."""
        steady = self.repeating()
        if steady is None:
            return None
        ids = self.ids(1, self.tokens_within(PROBE))
        before, after = (steady.logits(ids, seed=seed) for seed in (0, 1))
        allowed = self.rounding.tolerance(before, same_shape=True)
        return steady if float(largest_differences(before, after).max()) <= allowed else None

    @cached_property
    def rounding(self) -> Rounding:
        """What rounding may change of the logits."""
        ids = self.ids(1, self.tokens_within(PROBE))
        still = replace(self, fresh=self.original is not None)
        return Rounding(narrowest_type(self.logits, ids), noise_of_copies(still.logits, ids))

    def tokens_within(self, tokens: int) -> int:
        """Return `tokens`, or the trained length where that is less."""
        return min(tokens, self.block_size or tokens)

    @cached_property
    def turning_points(self) -> list[int]:
        """Lengths, ascending, past which its code may take another path: windows and chunks of its settings."""
        config = getattr(self.model, "config", None)
        known = config if isinstance(config, Mapping) else getattr(config, "__dict__", {})
        values = {value for key, value in known.items() if any(word in key for word in WINDOWS)}
        sizes = {value for value in values if isinstance(value, int) and not isinstance(value, bool)}
        most = min(self.block_size or LONGEST, LONGEST)
        return sorted(size for size in sizes if 1 < size < most)


def types_of(module: nn.Module | None) -> set[torch.dtype]:
    """Return the types of the parameters of a module."""
    return {parameter.dtype for parameter in module.parameters()} if module is not None else set()
