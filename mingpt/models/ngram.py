"""NGram: what counting alone predicts, by interpolated Kneser-Ney smoothing (Chen & Goodman 1999); no gradients.

With h the n-1 tokens before x and h' the same without its first, p_0 = 1/v and

    p_n(x | h) = max(c_n(h x) - D_n(c_n(h x)), 0) / c_n(h .) + gamma_n(h) p_{n-1}(x | h')

c_n are counts at the order that a model has, and below it the number of different tokens seen before (h x).  gamma_n(h)
is what the discounts D took, so that it all adds up to 1; where nothing was seen after h, p_n = p_{n-1}.

Letters: b batch, t positions, v vocabulary, n tokens of a gram.  `grams.py` has the tree that holds the counts.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from mingpt.core.errors import CheckpointError
from mingpt.data.tokenizers import Ids
from mingpt.models.base import LanguageModel, LMOutput, ModelConfig, next_token_loss
from mingpt.models.model_config import NGramRules
from mingpt.models.ngram_counts import (
    BELOW,
    TOP,
    Array,
    Counts,
    begins,
    count,
    estimated_discounts,
    sound,
    sums_of_children,
)


class NGramState:
    """Where the last 0, 1, ..., order - 1 tokens of each row stand in the tree.

    Args:
        nodes: (b, order); -1 where such a gram was never counted, or not yet read.
    """

    def __init__(self, nodes: Tensor) -> None:
        self.nodes, self.length = nodes, 0


class NGram(NGramRules, LanguageModel):
    """Interpolated Kneser-Ney with three discounts at each order.

    A prediction with fewer than order - 1 tokens before it is that of the shorter order.  Until `fit` it is uniform.
    Computed in float64 wherever the device has it, from integers; the logits are log-probabilities.

    Args:
        config: order and vocab_size.

    Raises:
        UsageError: an order outside 1 to 8.
    """

    grams: Tensor  # (g,) codes of the nodes 1 to g
    seen: Tensor  # (2, g) their counts, rows TOP and BELOW
    starts: Tensor  # (contexts + 1,) the first child of each node that may have one, and the end of the last's
    sums: Tensor  # (2, contexts, 4) children counted once, twice, more often; and the sum of all counts
    discounts: Tensor  # (2, order, 4) by row, order, and the count up to 3; where it computes, in `_exact`
    dtype_of: Tensor  # what `.to(dtype)` says

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.check(config)
        self.config = config
        self.register_buffer("dtype_of", torch.zeros(()), persistent=False)
        self._take(np.zeros(0, np.int64), np.zeros((2, 0), np.int32))

    def fit(self, ids: Ids) -> float:
        """Count `ids`, two at least; what was counted before is forgotten.

        Returns:
            The mean of -log p(token | all before it), in nats, over `ids` themselves but the first.
        """
        assert len(ids) >= 2
        self.count(ids)
        return self.losses(ids)[-1]

    def count(self, ids: Ids) -> None:
        """`fit` without its loss."""
        self._take(*count(ids, self.config.vocab_size, self.config.order))

    def losses(self, ids: Ids, block_size: int | None = None) -> list[float]:
        """Nats per token of `ids`, all but the first a target, under the models of order 1, 2, ..., `order`.

        One fit has them all: the count of a gram is the same in each, and so is what is below it.

        Args:
            ids: two at least.
            block_size: predictions made in a row, after which all that was read is forgotten; None: all, in one go.
        """
        t = block_size or len(ids) - 1
        whole = (len(ids) - 1) // t * t
        windows = np.lib.stride_tricks.sliding_window_view(ids, t + 1)[::t] if whole else ids[None, :0]
        parts = [part for part in (windows, ids[None, whole:]) if part.shape[1] > 1]
        return [sum(nats) / (len(ids) - 1) for nats in zip(*map(self._sums, parts), strict=True)]

    @torch.no_grad()
    def _sums(self, windows: Ids) -> list[float]:
        """`losses` of (b, t+1) windows, each read from nothing; nats in all."""
        read = torch.from_numpy(windows.astype(np.int64)).to(self.device)
        nodes = self._places(read, self.new_state(len(read)), self.config.order)
        below = torch.full_like(read[:, 1:], 1 / self.config.vocab_size, dtype=self._exact)
        chances, nats = below, []
        for n in range(1, self.config.order + 1):
            contexts, grams = nodes[n - 1][:, :-1], nodes[n][:, 1:]
            enough = torch.arange(grams.shape[1], device=self.device) >= n - 2  # else this order takes the shorter one
            by_row = [self._weights(n, row, contexts) for row in (TOP, BELOW)]
            shares = [self._share(n, row, contexts, grams).where(grams >= 0, 0.0) for row in (TOP, BELOW)]
            chances = (shares[TOP] + by_row[TOP] * below).where(enough, chances)
            below = shares[BELOW] + by_row[BELOW] * below
            nats.append(-chances.log().sum().item())
        return nats

    @torch.no_grad()
    def forward(self, idx: Tensor, targets: Tensor | None = None, *, state: NGramState | None = None) -> LMOutput:
        """(b, t) ids -> (b, t, v) log-probabilities, and the mean loss in nats against (b, t) targets.

        Args:
            state: what was read before idx, extended by idx in place; there is no limit.
        """
        state = state or self.new_state(len(idx))
        read = state.length + torch.arange(1, idx.shape[1] + 1, device=idx.device)  # tokens before each prediction
        top = read.add(1).clamp(max=self.config.order).expand_as(idx).flatten()
        places = self._places(idx, state, self.config.order - 1)
        state.nodes, state.length = torch.stack([each[:, -1] for each in places], 1), state.length + idx.shape[1]
        p = self._first_order().expand(top.numel(), -1).clone()
        for n in range(2, self.config.order + 1):
            self._mix_in(p, n, (top != n).long(), places[n - 1].flatten())
        logits = p.log().to(self.dtype_of.dtype).unflatten(0, idx.shape)
        return LMOutput(logits, next_token_loss(logits, targets))

    @property
    def unbounded(self) -> bool:
        return True

    def new_state(self, batch: int) -> NGramState:
        nodes = torch.full((batch, self.config.order), -1, device=self.device)
        nodes[:, 0] = 0
        return NGramState(nodes)

    def flops_per_token(self) -> float:
        """About one product and one sum per order and token of the vocabulary."""
        return 2.0 * self.config.order * self.config.vocab_size

    def grows(self, name: str) -> bool:
        return name in ("grams", "seen")

    @property
    def _exact(self) -> torch.dtype:
        return torch.float32 if self.device.type == "mps" else torch.float64

    def _places(self, idx: Tensor, state: NGramState, longest: int) -> list[Tensor]:
        """For k = 0..longest, (b, t): the node of the k tokens that end at each position, -1 where there is none."""
        places = [torch.zeros_like(idx)]
        for k in range(1, longest + 1):
            shorter = torch.cat((state.nodes[:, k - 1 : k], places[-1][:, :-1]), 1)
            places.append(self._child(shorter, idx))
        return places

    def _child(self, parents: Tensor, tokens: Tensor) -> Tensor:
        if not len(self.grams):
            return torch.full_like(parents, -1)
        codes = parents * self.config.vocab_size + tokens  # below 0, so never found, where there is no parent
        at = torch.searchsorted(self.grams, codes)
        found = self.grams[at.clamp(max=len(self.grams) - 1)] == codes
        return (at + 1).where(found, -1)

    def _weights(self, n: int, rows: Tensor | int, contexts: Tensor) -> Tensor:
        """gamma_n of each context; 1 where nothing was seen after it."""
        sums = self.sums[rows, contexts].to(self._exact)
        taken = (sums[..., :3] * self._discounts(n, rows)[..., 1:]).sum(-1)
        return (taken / sums[..., 3]).where((contexts >= 0) & (sums[..., 3] > 0), 1.0)

    def _share(self, n: int, rows: Tensor | int, contexts: Tensor, grams: Tensor) -> Tensor:
        """(c - D(c)) / c(h .) of grams, nodes, after contexts; 0 where nothing was seen after it."""
        counts, totals = self.seen[rows, grams - 1], self.sums[rows, contexts, 3]
        discounts = self._discounts(n, rows).expand(*counts.shape, 4)
        less = discounts.gather(-1, counts.clamp(max=3).long()[..., None])[..., 0]
        return (counts - less) / totals.clamp(min=1)

    def _discounts(self, n: int, rows: Tensor | int) -> Tensor:
        return self.discounts[rows, n - 1]

    def _first_order(self) -> Tensor:
        """(v,) probabilities with nothing before: counts where order is 1, else what stands below every order."""
        root = torch.zeros(1, dtype=torch.long, device=self.device)
        p = torch.full((1, self.config.vocab_size), 1 / self.config.vocab_size, device=self.device, dtype=self._exact)
        self._mix_in(p, 1, root + (BELOW if self.config.order > 1 else TOP), root)
        return p[0]

    def _mix_in(self, p: Tensor, n: int, rows: Tensor, contexts: Tensor) -> None:
        """p_{n-1} -> p_n in place: (m, v) probabilities, m rows of counts to read, m contexts."""
        p *= self._weights(n, rows, contexts)[:, None]
        low = self.starts[contexts]
        numbers = (self.starts[contexts + 1] - low).where(contexts >= 0, 0)
        owner = torch.repeat_interleave(numbers)  # the position of p that each child belongs to
        first = low - (numbers.cumsum(0) - numbers)
        grams = first[owner] + torch.arange(len(owner), device=p.device)
        tokens = self.grams[grams - 1] % self.config.vocab_size
        p[owner, tokens] += self._share(n, rows[owner], contexts[owner], grams)

    def _take(self, grams: Array, seen: Counts) -> None:
        """Predict from these counts from now on."""
        v, order = self.config.vocab_size, self.config.order
        bounds = begins(grams, v, order)
        contexts = bounds[order]
        found = {
            "grams": grams,
            "seen": seen,
            "starts": 1 + np.searchsorted(grams, np.arange(contexts + 1) * v),
            "sums": sums_of_children(grams, seen, v, contexts),
        }
        device = self.device
        for name, table in found.items():
            self.register_buffer(name, torch.from_numpy(table).to(device), persistent=self.grows(name))
        levels = [slice(low - 1, high - 1) for low, high in pairwise(bounds[1:])]
        discounts = [[estimated_discounts(counts[level]) for level in levels] for counts in seen]
        self._exact_discounts = torch.tensor(discounts, dtype=torch.float64)
        self._place_discounts()

    def _place_discounts(self) -> None:
        """No buffer: `.to(dtype)` would round it, and a second `.to` could not undo that."""
        self.discounts = self._exact_discounts.to(self.device, self._exact)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What `.to`, `.cuda` and their like do to every buffer."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._place_discounts()
        return self

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *others: Any) -> None:
        """Make room for tables of any length first, and refuse what `fit` can't have written."""
        names = [f"{prefix}grams", f"{prefix}seen"]
        if all(name in state_dict for name in names):
            grams, seen = (state_dict[name].cpu() for name in names)
            whole = grams.dtype == torch.int64 and seen.dtype == torch.int32
            if not (whole and sound(grams.numpy(), seen.numpy(), self.config.vocab_size, self.config.order)):
                raise CheckpointError(f"no {self.config.order}-gram model: its counts are those of no text")
            self._take(grams.numpy(), seen.numpy())
        super()._load_from_state_dict(state_dict, prefix, *others)


def kneser_ney_losses(train: Ids, held_out: Ids, vocab_size: int, block_size: int) -> dict[str, float]:
    """Nats per held-out token of n-grams, n = 1..6, as bars: a model above the 4-gram's knows less than it does.

    They are judged as every model is (`held_out_loss`): in blocks that don't overlap, each read from nothing, so that
    its first predictions, with fewer tokens before them, take what there is.

    Args:
        train: ids that are counted, two at least.
        held_out: at least two ids; all but the first are targets.
        block_size: predictions of a block.
    """
    model = NGram(ModelConfig(type="ngram", order=6, vocab_size=vocab_size))
    model.count(train)
    return {f"{n}-gram": nats for n, nats in enumerate(model.losses(held_out, block_size), start=1)}
