"""N-gram model with interpolated, modified Kneser-Ney smoothing (Chen & Goodman 1999); fitted without gradients.

With h the n-1 tokens before x and h' the same without its first, p_0 = 1/v and

    p_n(x | h) = max(c_n(h x) - D_n(c_n(h x)), 0) / c_n(h .) + gamma_n(h) p_{n-1}(x | h')

At the highest order c_n counts occurrences, at lower ones the distinct tokens before (h x).  gamma_n(h) is the mass
that the discounts D removed, so that probabilities sum to 1; if h never occurred, p_n = p_{n-1}.

Shapes: b batch, t positions, v vocabulary size, n order.  `ngram_counts.py` has the trie that holds the counts.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from mingpt.core.errors import CheckpointError
from mingpt.core.token_ids import Ids
from mingpt.models.base import FAMILIES, LanguageModel, LMOutput, next_token_loss
from mingpt.models.config import NGramConfig
from mingpt.models.ngram_counts import (
    BELOW,
    TOP,
    Array,
    Counts,
    begins,
    count,
    estimated_discounts,
    is_valid,
    sums_of_children,
)


class NGramState:
    """Trie nodes of the last 0, 1, ..., order - 1 tokens of each row.

    Args:
        nodes: (b, order); -1 if the n-gram was never counted, or there are fewer tokens
    """

    def __init__(self, nodes: Tensor) -> None:
        self.nodes, self.length = nodes, 0


@FAMILIES.add("ngram")
class NGram(LanguageModel):
    """N-gram model with three discounts per order; its logits are log-probabilities.

    A prediction with fewer than order - 1 preceding tokens uses a lower order.  Before `fit` it is uniform.
    Computed from integers, in float64 if the device supports it.

    Args:
        config: model settings, of which `order` and `vocab_size` are used
    """

    config: NGramConfig
    grams: Tensor  # (g,) codes of the nodes 1 to g
    seen: Tensor  # (2, g) their counts, rows TOP and BELOW
    starts: Tensor  # (contexts + 1,) first child of each context node, and the end of the last one's children
    sums: Tensor  # (2, contexts, 4) children with count 1, 2, 3 or more; and the sum of all counts
    discounts: Tensor  # (2, order, 4) by row, order and count up to 3, in the type `_exact`
    dtype_of: Tensor  # () in the type that `.to(dtype)` set

    def __init__(self, config: NGramConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("dtype_of", torch.zeros(()), persistent=False)
        self._take(np.zeros(0, np.int64), np.zeros((2, 0), np.int32))

    def fit(self, ids: Ids) -> float:
        """Count the n-grams of `ids`, at least two tokens, and replace earlier counts.

        Returns:
            Mean loss over `ids` themselves, all but the first, in nats per token.
        """
        assert len(ids) >= 2
        self.count(ids)
        return self.losses(ids)[-1]

    def count(self, ids: Ids) -> None:
        """Replace the counts by those of `ids`, without computing a loss."""
        self._take(*count(ids, self.config.vocab_size, self.config.order))

    def losses(self, ids: Ids, block_size: int | None = None) -> list[float]:
        """Return the losses, in nats per token, of the models of order 1, 2, ..., `order` on `ids`.

        One fit contains them all, since counts don't depend on the highest order.

        Args:
            ids: at least two tokens; all but the first are targets
            block_size: predictions per block, each block without context from the one before; None: a single block
        """
        t = block_size or len(ids) - 1
        whole = (len(ids) - 1) // t * t
        windows = np.lib.stride_tricks.sliding_window_view(ids, t + 1)[::t] if whole else ids[None, :0]
        parts = [part for part in (windows, ids[None, whole:]) if part.shape[1] > 1]
        return [sum(nats) / (len(ids) - 1) for nats in zip(*map(self._sums, parts), strict=True)]

    @torch.no_grad()
    def _sums(self, windows: Ids) -> list[float]:
        """Return the summed losses, in nats, on (b, t+1) windows without context, per order."""
        read = torch.from_numpy(windows.astype(np.int64)).to(self.device)
        nodes = self._places(read, self.new_state(len(read)), self.config.order)
        below = torch.full_like(read[:, 1:], 1 / self.config.vocab_size, dtype=self._exact)
        chances, nats = below, []
        for n in range(1, self.config.order + 1):
            contexts, grams = nodes[n - 1][:, :-1], nodes[n][:, 1:]
            enough = torch.arange(grams.shape[1], device=self.device) >= n - 2  # else use the lower order
            by_row = [self._weights(n, row, contexts) for row in (TOP, BELOW)]
            shares = [self._share(n, row, contexts, grams).where(grams >= 0, 0.0) for row in (TOP, BELOW)]
            chances = (shares[TOP] + by_row[TOP] * below).where(enough, chances)
            below = shares[BELOW] + by_row[BELOW] * below
            nats.append(-chances.log().sum().item())
        return nats

    @torch.no_grad()
    def forward(self, idx: Tensor, targets: Tensor | None = None, *, state: NGramState | None = None) -> LMOutput:
        """Return (b, t, v) log-probabilities for (b, t) ids and, given (b, t) targets, the mean loss in nats.

        Args:
            state: decoding state of the tokens before idx, updated in place; unbounded
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
        """Return about 2 FLOPs per order and token of the vocabulary."""
        return 2.0 * self.config.order * self.config.vocab_size

    def grows(self, name: str) -> bool:
        return name in ("grams", "seen")

    @property
    def _exact(self) -> torch.dtype:
        return torch.float32 if self.device.type == "mps" else torch.float64

    def _places(self, idx: Tensor, state: NGramState, longest: int) -> list[Tensor]:
        """Return, for k = 0..longest, the (b, t) nodes of the k tokens that end at each position; -1 if not counted."""
        places = [torch.zeros_like(idx)]
        for k in range(1, longest + 1):
            shorter = torch.cat((state.nodes[:, k - 1 : k], places[-1][:, :-1]), 1)
            places.append(self._child(shorter, idx))
        return places

    def _child(self, parents: Tensor, tokens: Tensor) -> Tensor:
        if not len(self.grams):
            return torch.full_like(parents, -1)
        codes = parents * self.config.vocab_size + tokens  # negative, so never found, if there is no parent
        at = torch.searchsorted(self.grams, codes)
        found = self.grams[at.clamp(max=len(self.grams) - 1)] == codes
        return (at + 1).where(found, -1)

    def _weights(self, n: int, rows: Tensor | int, contexts: Tensor) -> Tensor:
        """Return gamma_n of each context; 1 if the context never occurred."""
        sums = self.sums[rows, contexts].to(self._exact)
        taken = (sums[..., :3] * self._discounts(n, rows)[..., 1:]).sum(-1)
        return (taken / sums[..., 3]).where((contexts >= 0) & (sums[..., 3] > 0), 1.0)

    def _share(self, n: int, rows: Tensor | int, contexts: Tensor, grams: Tensor) -> Tensor:
        """Return (c - D(c)) / c(h .) of the nodes `grams` after `contexts`; 0 if a context never occurred."""
        counts, totals = self.seen[rows, grams - 1], self.sums[rows, contexts, 3]
        discounts = self._discounts(n, rows).expand(*counts.shape, 4)
        less = discounts.gather(-1, counts.clamp(max=3).long()[..., None])[..., 0]
        return (counts - less) / totals.clamp(min=1)

    def _discounts(self, n: int, rows: Tensor | int) -> Tensor:
        return self.discounts[rows, n - 1]

    def _first_order(self) -> Tensor:
        """Return the (v,) unigram probabilities, from the counts of the highest order if that is 1."""
        root = torch.zeros(1, dtype=torch.long, device=self.device)
        p = torch.full((1, self.config.vocab_size), 1 / self.config.vocab_size, device=self.device, dtype=self._exact)
        self._mix_in(p, 1, root + (BELOW if self.config.order > 1 else TOP), root)
        return p[0]

    def _mix_in(self, p: Tensor, n: int, rows: Tensor, contexts: Tensor) -> None:
        """Turn (m, v) probabilities p_{n-1} into p_n in place, given m rows of counts and m contexts."""
        p *= self._weights(n, rows, contexts)[:, None]
        low = self.starts[contexts]
        numbers = (self.starts[contexts + 1] - low).where(contexts >= 0, 0)
        owner = torch.repeat_interleave(numbers)  # row of p of each child
        first = low - (numbers.cumsum(0) - numbers)
        grams = first[owner] + torch.arange(len(owner), device=p.device)
        tokens = self.grams[grams - 1] % self.config.vocab_size
        p[owner, tokens] += self._share(n, rows[owner], contexts[owner], grams)

    def _take(self, grams: Array, seen: Counts) -> None:
        """Set the counts, and all buffers derived from them."""
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
        """Move the discounts to the device; as a buffer, `.to(dtype)` would round them irreversibly."""
        self.discounts = self._exact_discounts.to(self.device, self._exact)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Apply `.to`, `.cuda` and the like to buffers, then to the discounts."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._place_discounts()
        return self

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *others: Any) -> None:
        """Load tables of any length, after a check that `fit` could have written them."""
        names = [f"{prefix}grams", f"{prefix}seen"]
        if all(name in state_dict for name in names):
            grams, seen = (state_dict[name].cpu() for name in names)
            integers = grams.dtype == torch.int64 and seen.dtype == torch.int32
            if not (integers and is_valid(grams.numpy(), seen.numpy(), self.config.vocab_size, self.config.order)):
                raise CheckpointError(f"no {self.config.order}-gram model: its counts can't come from a text")
            self._take(grams.numpy(), seen.numpy())
        super()._load_from_state_dict(state_dict, prefix, *others)


def kneser_ney_losses(train: Ids, held_out: Ids, vocab_size: int, block_size: int) -> dict[str, float]:
    """Return the validation losses, in nats per token, of Kneser-Ney n-gram models, n = 1..6, as baselines.

    They are computed as every model's (`evaluate.validation_loss`): in non-overlapping blocks without earlier context.

    Args:
        train: token ids to count, at least two
        held_out: token ids of the validation set, at least two; all but the first are targets
        vocab_size: number of tokens of the vocabulary
        block_size: predictions per block
    """
    model = NGram(NGramConfig(order=6, vocab_size=vocab_size))
    model.count(train)
    return {f"{n}-gram": nats for n, nats in enumerate(model.losses(held_out, block_size), start=1)}
