"""Causality check: replace a token and find the predictions that change, by comparing logits bit by bit.

It needs no gradients, so it works for n-gram counts as for networks, and uses only a model's outputs, so that its
declared property `autoregressive` can be verified.

Logits can be compared exactly because all passes have the same shape: the same kernels then add in the same order, and
any difference at a position comes from the token that was replaced.

Shapes: b batch, t positions, v vocabulary size.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mingpt.models.base import LanguageModel, evaluating

LogitsOf = Callable[[Tensor], Tensor]  # (b, t) ids to (b, t, v) logits

MAX_PREFIX = 128  # most tokens of which `leaking_position` tests every cut
MIN_PREFIX = 16  # fewest, however large the model
BUDGET = 10e9  # FLOPs that decide between the two: 0.4 s on one core, 76 tokens of the default model
LONG_CUTS = 3  # cuts tested in a block that is longer
ROWS = 16  # cuts tested in one pass


def dependency_map(model: LanguageModel, idx: Tensor, *, replacements: int = 3) -> Tensor:
    """Return how much each prediction depends on each input: (t, t) float64 on the CPU, rows outputs, columns inputs.

    Entry (i, j) is the total variation distance, 0 to 1, between the next-token distributions at position i before and
    after token j is replaced, the maximum over several replacements.  It is 0 exactly if no bit of the logits changed.

    Args:
        model: a model of any family; left as it was, with dropout off meanwhile
        idx: (t,) or (1, t) token ids
        replacements: other tokens tried at each position, spread over the vocabulary; t passes for each
    """
    columns = list(dependency_columns(model, idx, replacements=replacements))
    return torch.stack(columns, dim=1) if columns else torch.zeros(0, 0, dtype=torch.float64)


def dependency_columns(model: LanguageModel, idx: Tensor, *, replacements: int = 3) -> Iterator[Tensor]:
    """Yield the columns of `dependency_map` one after the other, (t,) each, for callers that show progress."""
    idx, size = idx.reshape(1, -1).to(model.device), model.config.vocab_size
    with evaluating(model):
        before = model(idx).logits
    for j in range(idx.shape[1]):
        moved = torch.zeros(idx.shape[1], dtype=torch.float64)
        with evaluating(model):  # ends before each yield, since the caller may train in between
            for step in _steps(replacements, size):
                other = idx.clone()
                other[:, j] = (other[:, j] + step) % size
                moved = torch.maximum(moved, _distances(before, model(other).logits))
        yield moved


def future_dependencies(moved: Tensor) -> list[tuple[int, int]]:
    """Return all (i, j), j > i, where prediction i depends on the later input j; [] for an autoregressive model.

    Args:
        moved: (t, t) result of `dependency_map`
    """
    return [(i, j) for i, j in moved.triu(1).nonzero().tolist()]


def leaking_position(model: LanguageModel) -> int | None:
    """Return a position whose prediction depends on later inputs, on a random block; None if none was found.

    Each row has all tokens from its cut on replaced, and is compared before the cut with an unchanged row of a batch of
    the same shape: at every cut of the first 128 tokens, or of fewer, at least 16, if the model is so large that this
    would take more than about half a second.  A longer block is also tested at 3 cuts of its full length.
    This is no proof, since a replacement may change nothing by chance; `dependency_map` tests every pair.

    Accelerators need not be deterministic.  On other devices than the CPU the unchanged batch is computed twice, and
    only larger differences than between these two count.

    Args:
        model: a model of any family; left as it was, like PyTorch's random state
    """
    length, size = model.config.block_size, model.config.vocab_size
    if size == 1 or length == 1:
        return None
    generator = torch.Generator().manual_seed(0)
    idx = torch.randint(size, (1, length), generator=generator)
    some_cuts = (1 + torch.randperm(length - 1, generator=generator)[:LONG_CUTS]).tolist()
    affordable = math.isqrt(int(BUDGET / model.flops_per_token()))  # about as many rows as tokens
    prefix = min(length, MAX_PREFIX, max(affordable, MIN_PREFIX))
    tests = [(length, some_cuts)] if length > prefix else []
    tests.append((prefix, list(range(1, prefix))))
    with evaluating(model):
        return next((at for tokens, cuts in tests for at in _leaking(model, idx[:, :tokens], cuts)), None)


def suffix_changes(
    logits_of: LogitsOf, idx: Tensor, other: Tensor, cuts: list[int], *, rows: int = ROWS
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, for chunks of n cuts, (n,) cuts and (n, t) largest differences of a logit, once later tokens are replaced.

    Args:
        logits_of: the function that is tested, always called with a batch of one shape
        idx: (1, t) token ids
        other: (1, t) ids that replace those of idx from a cut on
        cuts: first replaced position of each test
        rows: cuts tested in one pass
    """
    rows, positions = min(rows, len(cuts)), torch.arange(idx.shape[1])
    before = logits_of(idx.expand(rows, -1).contiguous())
    for start in range(0, len(cuts), rows):
        chunk = torch.tensor(cuts[start : start + rows])
        at = torch.cat((chunk, chunk[-1:].expand(rows - len(chunk))))[:, None]  # the last chunk in the same shape
        after = logits_of(torch.where(positions >= at, other, idx))
        yield chunk, largest_differences(before, after)[: len(chunk)].cpu()


def largest_differences(before: Tensor, after: Tensor) -> Tensor:
    """Return (b, t) largest differences of a logit; NaN equals NaN, and differs from a number by infinity."""
    same = (before == after) | (before.isnan() & after.isnan())
    return (before - after).abs().nan_to_num(nan=math.inf, posinf=math.inf).masked_fill(same, 0.0).amax(-1)


def _leaking(model: LanguageModel, idx: Tensor, cuts: list[int]) -> Iterator[int]:
    """Yield, per chunk of cuts that finds any, the first position of (1, t) idx that depends on later tokens."""

    def logits_of(ids: Tensor) -> Tensor:
        return model(ids.to(model.device)).logits

    noise = 0.0
    if model.device.type != "cpu":
        unchanged = idx.expand(min(ROWS, len(cuts)), -1).contiguous()
        noise = float(largest_differences(logits_of(unchanged), logits_of(unchanged)).nan_to_num(posinf=0.0).max())
    for chunk, changes in suffix_changes(logits_of, idx, (idx + 1) % model.config.vocab_size, cuts):
        earlier = torch.arange(idx.shape[1]) < chunk[:, None]
        found = ((changes > noise) & earlier).any(0).nonzero()
        if len(found):
            yield int(found[0])


def _steps(replacements: int, size: int) -> list[int]:
    """Return offsets to add to an id, modulo the vocabulary, for `replacements` other tokens, evenly spread."""
    count = min(replacements, size - 1)
    return [1 + n * (size - 1) // count for n in range(count)]


def _distances(before: Tensor, after: Tensor) -> Tensor:
    """Return (t,) total variation distances in float64; the smallest positive number if only rounding makes them 0."""
    p, q = (logits[0].cpu().double().softmax(-1) for logits in (before, after))
    distances = ((p - q).abs().sum(-1) / 2).nan_to_num(1.0)
    smallest = torch.finfo(torch.float64).tiny
    return distances.clamp_min(smallest) * (largest_differences(before, after)[0].cpu() > 0)


def self_dependencies(model: LanguageModel, idx: Tensor, *, replacements: int = 3) -> list[int]:
    """Return the positions whose prediction depends on their own token while it is masked; [] for a correct model.

    Args:
        model: a model that `infills`; left as it was, with dropout off meanwhile
        idx: (t,) or (1, t) token ids
        replacements: other tokens tried at each position
    """
    idx, size = idx.reshape(1, -1).to(model.device), model.config.vocab_size
    seen = []
    with evaluating(model):
        for j in range(idx.shape[1]):
            masked = torch.zeros_like(idx, dtype=torch.bool)
            masked[:, j] = True
            before = model.masked_logits(idx, masked)
            others = (torch.where(masked, (idx + step) % size, idx) for step in _steps(replacements, size))
            if any(bool(largest_differences(before, model.masked_logits(other, masked))[0, j]) for other in others):
                seen.append(j)
    return seen


@dataclass(frozen=True)
class CausalityResult:
    """Result of a causality check.

    Attributes:
        sentence: the result, as a sentence
        broken: a declared property that doesn't hold; None if all hold
    """

    sentence: str
    broken: str | None = None


def causality_result(model: LanguageModel, idx: Tensor, moved: Tensor) -> CausalityResult:
    """Return the result of a check of `model` on (t,) or (1, t) `idx`, given its dependency map.

    A model that infills may depend on later tokens, but not on the masked token that it predicts.
    """
    later, length = {j for _, j in future_dependencies(moved)}, len(moved)
    count = (
        f"{len(later)} of {length - 1} later inputs move an earlier output"
        if later
        else ("no output moves with a later input")
    )
    if model.infills:
        seen = self_dependencies(model, idx)
        if seen:
            shown = f"{len(seen)} of {length} hidden tokens move their own prediction"
            return CausalityResult(
                f"{shown}: this model sees what it predicts", "claims to hide what it fills, and does not"
            )
        return CausalityResult(
            f"{count}, as is meant: this model predicts hidden tokens from both sides, and none of {length}, hidden, "
            "moves its own prediction"
        )
    if not later:
        return CausalityResult(count)
    return CausalityResult(
        f"{count}: this model sees what it predicts",
        "claims to be autoregressive, and is not" if model.autoregressive else None,
    )
