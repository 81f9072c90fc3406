"""Which inputs move which outputs, seen from outside: replace a token, and compare the logits bit by bit.

Letters: b batch, t positions, v vocabulary.  It needs no gradients, so it judges a table of counts as it does a
network; and it asks a model for nothing but answers, so that the model's own word (`autoregressive`) can be checked.

Bits can be compared because every pass has the shape of the first: the same kernels then add the same numbers in the
same order, and whatever differs at a position has come from the token that was replaced.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mingpt.models.base import LanguageModel, evaluating

LOOKED_AT = 128  # tokens at most of which `leaking_position` looks at every cut
LOOKED_AT_LEAST = 16  # and at least, however large the model
LOOK_FLOPS = 10e9  # between these, as many as this pays for: 0.4 s on one core, 76 for the default model
SOME_CUTS = 3  # looked at in a block that is longer
ROWS = 16  # cuts that are looked at in one pass


def influence(model: LanguageModel, idx: Tensor, *, replacements: int = 3) -> Tensor:
    """How much each output moves when an input is replaced: (t, t) float64 on the CPU, rows outputs, columns inputs.

    Entry (i, j) is the largest total variation distance, 0 to 1, between the next-token distributions of position i
    before and after token j is replaced, over some replacements: the largest, since a dependence that one replacement
    shows is there, however many hide it.  It is 0 exactly where no bit of the logits changed, and above 0 elsewhere.

    Args:
        model: any; it is left as it was, with dropout off meanwhile.
        idx: (t,) or (1, t) token ids.
        replacements: other tokens tried at each position, spread over the vocabulary; t times as many passes.
    """
    idx, size = idx.reshape(1, -1).to(model.device), model.config.vocab_size
    moved = torch.zeros(idx.shape[1], idx.shape[1], dtype=torch.float64)
    with evaluating(model):
        before = model(idx).logits
        for j in range(idx.shape[1]):
            for step in _steps(replacements, size):
                other = idx.clone()
                other[:, j] = (other[:, j] + step) % size
                moved[:, j] = torch.maximum(moved[:, j], _distances(before, model(other).logits))
    return moved


def leaks(moved: Tensor) -> list[tuple[int, int]]:
    """Each (i, j), j > i, where input j moves output i by any bit: what an autoregressive model has none of.

    Args:
        moved: of `influence`.
    """
    return [(i, j) for i, j in moved.triu(1).nonzero().tolist()]


def leaking_position(model: LanguageModel, *, cuts: int | None = None, seed: int = 0) -> int | None:
    """A position whose output changes with later inputs, on a random block; None: none was found.

    A row has all tokens from its cut on replaced, and is compared before the cut with the same row of a batch of the
    same shape in which nothing was: at every cut of the first 128 tokens, or of fewer, 16 at least, where the model is
    so large that this would take longer than about half a second.  A longer block is looked at whole at 3 cuts more.
    No proof, since one replacement may hide what another shows: `influence` looks at every pair.

    Not every accelerator adds in the same order twice.  Away from the CPU the unchanged batch is read a second time,
    and no difference counts that is not above the largest between these two: 0 where its kernels do repeat.

    Args:
        cuts: places to look at in the whole block alone, drawn with `seed`, as a quick look; None: as above.
        seed: of the block and of such places; PyTorch's own random state is left alone.
    """
    length, size = model.config.block_size, model.config.vocab_size
    if size == 1 or length == 1:
        return None
    draws = torch.Generator().manual_seed(seed)
    idx = torch.randint(size, (1, length), generator=draws)
    some = (1 + torch.randperm(length - 1, generator=draws)[: cuts or SOME_CUTS]).tolist()
    paid = math.isqrt(int(LOOK_FLOPS / model.flops_per_token()))  # about that many rows of that many tokens
    near = min(length, LOOKED_AT, max(paid, LOOKED_AT_LEAST))
    looks = [(length, some)] if cuts or length > near else []
    looks += [] if cuts else [(near, list(range(1, near)))]
    with evaluating(model):
        return next((at for shown, at_cuts in looks for at in _leaking(model, idx[:, :shown], at_cuts)), None)


def _leaking(model: LanguageModel, idx: Tensor, cuts: list[int]) -> Iterator[int]:
    """For each chunk of cuts that finds any: the first position of (1, t) idx that changes with what is later."""
    rows, where = min(ROWS, len(cuts)), torch.arange(idx.shape[1])
    same = idx.expand(rows, -1).contiguous().to(model.device)
    before = model(same).logits
    noise = 0.0 if same.device.type == "cpu" else _largest_difference(before, model(same).logits)
    for start in range(0, len(cuts), rows):
        chunk = cuts[start : start + rows]
        at = torch.tensor(chunk + chunk[-1:] * (rows - len(chunk)))[:, None]  # of the same shape, also the last
        later = where >= at
        other = torch.where(later, (idx + 1) % model.config.vocab_size, idx).to(model.device)
        found = (_changed(before, model(other).logits, noise) & ~later).any(0).nonzero()
        if len(found):
            yield int(found[0])


def _largest_difference(before: Tensor, after: Tensor) -> float:
    return (before - after).abs().nan_to_num(0.0).max().item()


def _steps(replacements: int, size: int) -> list[int]:
    """What to add to an id, modulo the vocabulary, for so many other tokens: evenly spread, never itself."""
    count = min(replacements, size - 1)
    return [1 + n * (size - 1) // count for n in range(count)]


def _changed(before: Tensor, after: Tensor, noise: float = 0.0) -> Tensor:
    """(b, t) whether any logit of a position differs, by more than `noise`; two that are no number are the same."""
    same = (before == after) | (before.isnan() & after.isnan())
    if noise:
        same |= (before - after).abs() <= noise
    return ~same.all(-1).cpu()


def _distances(before: Tensor, after: Tensor) -> Tensor:
    """(t,) total variation distances in float64; where bits differ and rounding hides it, the smallest number."""
    p, q = (logits[0].cpu().double().softmax(-1) for logits in (before, after))
    distances = ((p - q).abs().sum(-1) / 2).nan_to_num(1.0)
    smallest = torch.finfo(torch.float64).tiny
    return distances.clamp_min(smallest) * _changed(before, after)[0]


def own_influence(model: LanguageModel, idx: Tensor, *, replacements: int = 3) -> list[int]:
    """Positions whose own token moves their own prediction while it is hidden: none, in a model that fills gaps fairly.

    Bit by bit, as `influence`.

    Args:
        model: one that `fills`; it is left as it was, with dropout off meanwhile.
        idx: (t,) or (1, t) token ids.
        replacements: other tokens tried at each position.
    """
    idx, size = idx.reshape(1, -1).to(model.device), model.config.vocab_size
    seen = []
    with evaluating(model):
        for j in range(idx.shape[1]):
            gaps = torch.zeros_like(idx, dtype=torch.bool)
            gaps[:, j] = True
            before = model.masked_logits(idx, gaps)
            others = (torch.where(gaps, (idx + step) % size, idx) for step in _steps(replacements, size))
            if any(bool(_changed(before, model.masked_logits(other, gaps))[0, j]) for other in others):
                seen.append(j)
    return seen


@dataclass(frozen=True)
class Finding:
    """What a look at a model's inputs and outputs came to.

    Attributes:
        sentence: for people
        broken: what the model claims and does not keep; None: it is what it says
    """

    sentence: str
    broken: str | None = None


def finding(model: LanguageModel, idx: Tensor, moved: Tensor) -> Finding:
    """What is to be said of `model`, which `influence` found to be moved so by (t,) or (1, t) `idx`.

    One that fills gaps is meant to read what comes later; it sees what it predicts only where a hidden token shows.
    """
    later, length = {j for _, j in leaks(moved)}, len(moved)
    count = (
        f"{len(later)} of {length - 1} later inputs move an earlier output"
        if later
        else ("no output moves with a later input")
    )
    if model.infills:
        seen = own_influence(model, idx)
        if seen:
            shown = f"{len(seen)} of {length} hidden tokens move their own prediction"
            return Finding(f"{shown}: this model sees what it predicts", "claims to hide what it fills, and does not")
        return Finding(
            f"{count}, as is meant: this model predicts hidden tokens from both sides, and none of {length}, hidden, "
            "moves its own prediction"
        )
    if not later:
        return Finding(count)
    return Finding(
        f"{count}: this model sees what it predicts",
        "claims to be autoregressive, and is not" if model.autoregressive else None,
    )
