"""Normalisation: the distributions after each token sum to 1, and so do the probabilities of all strings.

Logits become a distribution by softmax over the vocabulary.  A model whose outputs are log-probabilities, which is
seen of most of its positions, must have summed over the vocabulary at all of them.  The chain rule is then tested as a
whole: the probabilities of all strings of n tokens after a first one sum to 1, each string scored in a pass of its own.
That sum is not 1 where a prediction depends on the token that it predicts, whatever the cause.
"""

import itertools
import math

import torch
from torch import Tensor

from mingpt.interop.audit.checks.base import check, snippet
from mingpt.interop.audit.effort import Effort
from mingpt.interop.audit.results import Result, failed, not_applicable, passed
from mingpt.interop.audit.target import Target

TOKENS = 24
NEAR = 1e-4  # of a sum of probabilities from 1
STRINGS, MANY = 1024, 65_536  # strings that are scored at most; by a thorough audit
LONGEST = 6  # tokens of a string
ROWS = 256  # strings in one pass
SUM = {torch.float64: 1e-8}  # tolerance of the sum over all strings, by the model's narrowest type
NARROW_SUM = 1e-4


@check(2, "normalisation", "next-token probabilities sum to 1, and those of all strings do", weight=2)
def normalisation(target: Target, effort: Effort) -> Result:
    """Look at the sums of one random text, then at all strings of a small vocabulary."""
    if target.scores is not None:
        return _scores_below_zero(target)
    tokens = target.tokens_within(TOKENS)
    logits = target.logits(target.ids(2, tokens))
    bad = _not_numbers(target, logits) or _badly_normalised(target, logits)
    if bad:
        return bad
    kind = "outputs are log-probabilities" if _log_sums(logits, -1).mean() > 0.5 else "softmax of the logits"
    if not target.autoregressive:
        return passed(f"{kind} sums to 1; strings have no probability where a model sees what it predicts")
    length = string_length(target, effort)
    if not length:
        return passed(f"{kind} sums to 1; {target.vocab_size:,} tokens are too many for all strings")
    return _all_strings(target, kind, length, effort)


def _scores_below_zero(target: Target) -> Result:
    assert target.scores is not None
    above = [
        (position, log_prob)
        for position, log_prob in zip(target.scores.positions, target.scores.log_probs, strict=True)
        if log_prob is not None and log_prob > 0
    ]
    if not above:
        return passed("no probability is above 1; of one token per position, no sum can be seen")
    position, log_prob = max(above, key=lambda pair: pair[1])
    summary = (
        f"{len(above)} probabilities are above 1, that of position {position} is {math.exp(min(log_prob, 700)):.3g}"
    )
    lines = ["print([(p, x) for p, x in zip(target.scores.positions, target.scores.log_probs) if x and x > 0])"]
    return failed(summary, snippet(target, *lines), position=position, log_prob=log_prob, count=len(above))


def _not_numbers(target: Target, logits: Tensor) -> Result | None:
    """Return a failure if a position has NaN, +inf, or nothing but -inf."""
    wrong = logits.isnan().any(-1) | (logits == math.inf).any(-1) | (logits == -math.inf).all(-1)
    if not wrong.any():
        return None
    row, position = wrong.nonzero()[0].tolist()
    lines = [
        f"logits = target.logits(target.ids(2, {logits.shape[1]}))",
        f"print(logits[{row}, {position}])  # no numbers",
    ]
    evidence = {"row": row, "position": position, "size": math.inf}
    return failed(f"logits at position {position} are no numbers", snippet(target, *lines), **evidence)


def _log_sums(logits: Tensor, dim: int) -> Tensor:
    """Return True where the logarithm of the sum of exp(logits) over `dim` is 0, as of log-probabilities."""
    return (logits.double().logsumexp(dim).abs() < NEAR).double()


def _badly_normalised(target: Target, logits: Tensor) -> Result | None:
    """Return a failure if outputs are log-probabilities at some positions only, or over positions or rows."""
    over_vocabulary = _log_sums(logits, -1)
    line = f"logits = target.logits(target.ids(2, {logits.shape[1]}))"
    for dim, axis in ((1, "positions"), (0, "rows of the batch")):
        if _log_sums(logits, dim).mean() > 0.9 > over_vocabulary.mean():
            lines = [line, f"print(logits.exp().sum({dim}), logits.exp().sum(-1))  # the latter must be 1"]
            return failed(
                f"outputs are normalised over the {axis}, not the vocabulary", snippet(target, *lines), dim=dim
            )
    if 0.5 < over_vocabulary.mean() < 1:
        sums = logits.double().logsumexp(-1)
        row, position = (sums.abs() == sums.abs().max()).nonzero()[0].tolist()
        total = math.exp(min(float(sums[row, position]), 700))
        lines = [line, f"print(float(logits[{row}, {position}].exp().sum()))  # must be 1"]
        summary = f"log-probabilities at position {position} sum to {total:.4g}, not 1"
        return failed(summary, snippet(target, *lines), position=position, sum=total)
    return None


def string_length(target: Target, effort: Effort) -> int:
    """Return how long strings are of which all can be scored; 0 if there are too many of one token, or of one alone."""
    most, v = MANY if effort.thorough else STRINGS, target.vocab_size
    length = min(int(math.log(most) / math.log(v)) if v <= most else 0, LONGEST, (target.block_size or LONGEST + 1) - 1)
    return length if v**length <= most else length - 1


def _all_strings(target: Target, kind: str, length: int, effort: Effort) -> Result:
    number = target.vocab_size**length
    steady = target.comparable()
    if steady is None:
        return not_applicable("equal inputs give different outputs; see determinism")
    total = _summed(steady, length, ROWS, effort)
    near = SUM.get(target.rounding.dtype, NARROW_SUM)
    if total is not None and abs(total - 1) > near:  # what moves between the rows of a batch is another check's
        total = _summed(steady, length, 1, effort)
    if total is None:
        return passed(f"{kind} sums to 1; no time for all {number:,} strings of {length} tokens")
    evidence = {"strings": number, "length": length, "sum": total}
    if abs(total - 1) <= near:
        return passed(f"the probabilities of all {number:,} strings of {length} tokens sum to {total:.9g}", **evidence)
    lines = [
        "from itertools import product",
        "from mingpt.interop.audit.checks.normalisation import string_probabilities",
        f"strings = product(range({target.vocab_size}), repeat={length})",
        "print(sum(string_probabilities(target, torch.tensor([string])) for string in strings))  # must be 1",
    ]
    summary = f"the probabilities of all {number:,} strings of {length} tokens sum to {total:.6g}, not 1"
    return failed(summary, snippet(target, *lines), **evidence)


def _summed(target: Target, length: int, rows: int, effort: Effort) -> float | None:
    """Return the sum of the probabilities of all strings, so many in a pass; None if the time is spent."""
    total, strings = 0.0, itertools.product(range(target.vocab_size), repeat=length)
    for chunk in iter(lambda: list(itertools.islice(strings, rows)), []):
        if effort.left() <= 0:
            return None
        total += string_probabilities(target, torch.tensor(chunk))
    return total


def string_probabilities(target: Target, strings: Tensor) -> float:
    """Return the summed probabilities of (b, n) strings after the first drawable token, in one pass."""
    first = target.drawable[:1].expand(len(strings), 1)
    log_probs = target.logits(torch.cat((first, strings), dim=1)).double().log_softmax(-1)[:, :-1]
    return float(log_probs.gather(-1, strings[..., None]).sum((1, 2)).exp().sum())
