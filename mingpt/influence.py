"""Which inputs move which outputs, seen from outside: replace a token, and compare the logits bit by bit.

Letters: b batch, t positions, v vocabulary.  It needs no gradients, so it judges a table of counts as it does a
network; and it asks a model for nothing but answers, so that the model's own word (`autoregressive`) can be checked.

Bits can be compared because every pass has the shape of the first: the same kernels then add the same numbers in the
same order, and whatever differs at a position has come from the token that was replaced.
"""

import torch
from torch import Tensor

from mingpt.lm import LanguageModel, evaluating

CUTS = 3  # places at which `leaking_position` looks


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


def leaking_position(model: LanguageModel, *, seed: int = 0) -> int | None:
    """A position whose output changes with later inputs, in a few passes over one random block; None: none was found.

    All tokens from a cut on are replaced: after the first, in the middle, and the last alone.  No proof: `influence`
    looks at every pair.  PyTorch's own random state is left alone.
    """
    length, size = model.config.block_size, model.config.vocab_size
    draws = torch.Generator().manual_seed(seed)
    idx = torch.randint(size, (1, length), generator=draws).to(model.device)
    if size == 1:
        return None
    with evaluating(model):
        before = model(idx).logits
        for cut in sorted({1 + (length - 2) * n // (CUTS - 1) for n in range(CUTS)} if length > 1 else ()):
            other = idx.clone()
            other[:, cut:] = (other[:, cut:] + 1) % size
            changed = _changed(before, model(other).logits)[:cut].nonzero()
            if len(changed):
                return int(changed[0])
    return None


def _steps(replacements: int, size: int) -> list[int]:
    """What to add to an id, modulo the vocabulary, for so many other tokens: evenly spread, never itself."""
    count = min(replacements, size - 1)
    return [1 + n * (size - 1) // count for n in range(count)]


def _changed(before: Tensor, after: Tensor) -> Tensor:
    """(t,) whether any logit of a position differs; two that are no number are the same."""
    same = (before == after) | (before.isnan() & after.isnan())
    return ~same.all(-1)[0].cpu()


def _distances(before: Tensor, after: Tensor) -> Tensor:
    """(t,) total variation distances in float64; where bits differ and rounding hides it, the smallest number."""
    p, q = (logits[0].cpu().double().softmax(-1) for logits in (before, after))
    distances = ((p - q).abs().sum(-1) / 2).nan_to_num(1.0)
    smallest = torch.finfo(torch.float64).tiny
    return distances.clamp_min(smallest) * _changed(before, after)


def finding(moved: Tensor) -> str:
    """What `influence` found, in one sentence."""
    later, length = {j for _, j in leaks(moved)}, len(moved)
    if not later:
        return "no output moves with a later input"
    return f"{len(later)} of {length - 1} later inputs move an earlier output: this model sees what it predicts"
