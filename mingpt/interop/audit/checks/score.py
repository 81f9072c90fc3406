"""The score itself: the loss that is reported against the loss recomputed from the logits, and the bytes it is per.

A model that returns a loss is asked for it, with padding too where it takes labels and a mask; what a wrong loss is
instead, such as one without the shift, is looked up among usual mistakes.  A loss that a run claims of a text is
recomputed in blocks, each target once.  A tokenizer must give back the text whose bytes a loss is divided by.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mingpt.core.errors import in_one_line
from mingpt.interop.audit.calling import IGNORED
from mingpt.interop.audit.checks.base import check, snippet
from mingpt.interop.audit.effort import Effort
from mingpt.interop.audit.results import FAIL, NOT_APPLICABLE, Result, failed, not_applicable, passed
from mingpt.interop.audit.target import Claim, Target
from mingpt.interop.audit.token_file import TokenScores

ROWS, TOKENS, PADDING = 3, 11, 4
RELATIVE = {torch.float64: 1e-6, torch.float32: 1e-5}  # losses are often computed in float32
NARROW = 1e-2
CLAIMED = 1e-3  # nats between a claimed loss and the recomputed one
AT_ONCE = 4096  # tokens in one pass
TEXT = (
    "The quick brown fox, it's 37 °C: café № 1 \u2013 \u00abнет\u00bb 日本\n\n\tif (x<=0) { return -1; }  // end 🙂\n"
)


@check(
    6, "score", "the reported loss is that of its own logits, each target once, and its bytes are the text's", weight=2
)
def score(target: Target, effort: Effort) -> Result:
    """Ask each source of a score that a target has; the first that is wrong is the result."""
    steady = target if target.model is None else target.comparable()
    if steady is None:
        return not_applicable("equal inputs give different outputs; see determinism")
    parts = (_of_file, _of_model, _of_padding, _of_claim, _of_tokenizer)
    results = [part(steady, effort) for part in parts]
    answered = [result for result in results if result.outcome != NOT_APPLICABLE]
    wrong = next((result for result in answered if result.outcome == FAIL), None)
    if wrong or not answered:
        return wrong or not_applicable("; ".join(result.summary for result in results if result.summary))
    evidence: dict[str, Any] = {}
    for result in answered:
        evidence |= result.evidence
    return passed("; ".join(result.summary for result in answered), **evidence)


def next_token_nats(logits: Tensor, ids: Tensor) -> Tensor:
    """Return (b, t-1) losses in nats of the tokens after the first of (b, t) ids."""
    losses = F.cross_entropy(logits[:, :-1].double().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return losses.view(len(ids), -1)


def _close(target: Target, a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=RELATIVE.get(target.rounding.dtype, NARROW), abs_tol=1e-9)


def _of_model(target: Target, effort: Effort) -> Result:
    """Compare the loss that the model returns with that of its logits."""
    if target.model is None or target.calling.loss is None:
        return not_applicable("" if target.model is None else "the model reports no loss (labels or targets)")
    ids = target.ids(ROWS, target.tokens_within(TOKENS))
    try:
        reported = target.reported_loss(ids)
    except Exception as error:  # any code of others
        return not_applicable(f"it reports no loss: {' '.join(str(error).split())[:100]}")
    expected = float(next_token_nats(target.logits(ids), ids).mean())
    if _close(target, reported, expected):
        return passed(f"reported loss {reported:.6g} is that of the logits", reported=reported, recomputed=expected)
    return _wrong_loss(
        target,
        reported,
        expected,
        _mistake(target, ids, reported),
        f"ids, mask = target.ids({ROWS}, {ids.shape[1]}), None",
    )


def _wrong_loss(target: Target, reported: float, expected: float, mistake: str, code: str) -> Result:
    summary = f"reported loss {reported:.6g}, recomputed from the logits {expected:.6g}{mistake}"
    lines = [
        "from mingpt.interop.audit.checks.score import next_token_nats",
        code,
        "scored = slice(None) if mask is None else mask[:, 1:] == 1",
        "print(target.reported_loss(ids, mask), float(next_token_nats(target.logits(ids, mask), ids)[scored].mean()))",
    ]
    return failed(summary, snippet(target, *lines), reported=reported, recomputed=expected, mistake=mistake.strip(": "))


def _mistake(target: Target, ids: Tensor, reported: float) -> str:
    """Return the name of the mistake whose loss was reported, or ""."""
    whole = target.logits(ids)
    inputs = target.logits(ids[:, :-1]) if target.calling.loss == "targets" else whole
    for name, value in _mistakes(whole.double(), inputs.double(), ids):
        if _close(target, reported, float(value)):
            return f": {name}"
    return ""


def _mistakes(logits: Tensor, inputs: Tensor, ids: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield names of mistakes and the losses that they give."""

    def loss(x: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        return F.cross_entropy(x.flatten(0, 1), targets.flatten(), reduction=reduction)

    right = loss(logits[:, :-1], ids[:, 1:])
    yield "no shift, each token is scored as its own prediction", loss(logits, ids)
    yield "no shift, each token is scored as its own prediction", loss(inputs[:, : ids.shape[1] - 1], ids[:, :-1])
    yield "a double shift, the token after the next is scored", loss(logits[:, :-2], ids[:, 2:])
    yield "the sum over tokens, not their mean", loss(logits[:, :-1], ids[:, 1:], "sum")
    yield "the sum over tokens divided by rows", loss(logits[:, :-1], ids[:, 1:], "sum") / len(ids)
    yield (
        "the sum divided by all tokens, the first of each row too",
        loss(logits[:, :-1], ids[:, 1:], "sum") / ids.numel(),
    )
    yield "bits, not nats", right / math.log(2)
    yield "a perplexity", right.exp()
    yield "the last target is never counted", loss(logits[:, :-2], ids[:, 1:-1])
    yield "the first target is never counted", loss(logits[:, 1:-1], ids[:, 2:])
    yield "only the last target is counted", loss(logits[:, -2:-1], ids[:, -1:])
    nats = next_token_nats(logits, ids)
    for name, twice in (("first", nats[:, :1]), ("last", nats[:, -1:])):
        yield f"the {name} target is counted twice", (nats.sum() + twice.sum()) / (nats.numel() + len(ids))
    yield "only the first row is counted", nats[0].mean()


def _of_padding(target: Target, effort: Effort) -> Result:
    """Compare the loss of rows of unequal lengths with that of the tokens that are no padding."""
    if target.model is None or target.calling.loss != "labels" or not target.calling.mask:
        return not_applicable("")
    ids = target.ids(ROWS, target.tokens_within(TOKENS))
    mask = torch.ones_like(ids)
    padding = min(PADDING, ids.shape[1] - 2)
    mask[0, ids.shape[1] - padding :] = 0
    try:
        reported = target.reported_loss(ids, mask)
    except Exception as error:  # any code of others
        return not_applicable(f"it reports no loss with padding: {' '.join(str(error).split())[:100]}")
    nats = next_token_nats(target.logits(ids, mask), ids)
    scored = mask[:, 1:] == 1
    expected = float(nats[scored].mean())
    if _close(target, reported, expected):
        return passed(f"labels of {IGNORED} aren't counted", reported_with_padding=reported)
    rows = torch.stack([row[real].mean() for row, real in zip(nats, scored, strict=True)])
    mistakes = {
        "padding is counted": nats.mean(),
        "the mean of the rows' means, not of all tokens": rows.mean(),
        "the sum is divided by all tokens, padding too": nats[scored].sum() / nats.numel(),
    }
    name = next((f": {name}" for name, value in mistakes.items() if _close(target, reported, float(value))), "")
    code = (
        f"ids = target.ids({ROWS}, {ids.shape[1]})\nmask = torch.ones_like(ids)\nmask[0, {ids.shape[1] - padding}:] = 0"
    )
    return _wrong_loss(target, reported, expected, name or ", with padding", code)


def _of_claim(target: Target, effort: Effort) -> Result:
    """Recompute a claimed loss in blocks of the trained length, each target once."""
    claim, block = target.claim, target.block_size
    if claim is None or block is None:
        return not_applicable("")
    if not target.autoregressive:
        return not_applicable("the model has no loss")
    total, count = 0.0, 0
    own = target if target.original is None else replace(target, model=target.original)  # in its own precision
    for ids in _blocks(claim.ids, block):
        if effort.left() <= 0:
            return not_applicable(f"no time to recompute the loss of {len(claim.ids):,} tokens; see --thorough")
        losses = F.cross_entropy(own.logits(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        total += float(losses.double().sum())
        count += losses.numel()
    nats = total / count
    evidence = {"claimed": claim.nats, "recomputed_claim": nats, "tokens": count}
    if abs(nats - claim.nats) > CLAIMED:
        code = f"print(target.claim.nats, {nats!r})  # claimed, and recomputed in blocks of {block} tokens"
        return failed(
            f"{claim.source}: {claim.nats:.4f} nats claimed, {nats:.4f} recomputed", snippet(target, code), **evidence
        )
    wrong = _bytes_of_claim(target, claim, nats)
    return wrong or passed(f"{claim.source} is {nats:.4f} nats again, over {count:,} tokens", **evidence)


def _blocks(ids: Tensor, block: int) -> list[Tensor]:
    """Return (b, t+1) batches of windows that overlap by one token, so that each is a target once."""
    whole = (len(ids) - 1) // block
    windows = [ids[start * block : (start + 1) * block + 1] for start in range(whole)]
    rows = max(AT_ONCE // block, 1)
    batches = [torch.stack(windows[start : start + rows]) for start in range(0, whole, rows)]
    rest = ids[whole * block :]
    return batches + ([rest[None]] if len(rest) > 1 else [])


def _bytes_of_claim(target: Target, claim: Claim, nats: float) -> Result | None:
    """Return a failure if claimed bits per byte aren't those of the text's bytes."""
    scored = claim.ids[1:].tolist()
    counted = target.codec.byte_count(claim.ids.tolist()) if target.codec else None
    if claim.bits_per_byte is None or claim.text is None or counted is None:
        return None
    size = len(claim.text.encode())
    first = counted - (target.codec.byte_count(scored) or 0) if target.codec else 0
    expected = nats * len(scored) / math.log(2) / (size - first)
    if math.isclose(expected, claim.bits_per_byte, rel_tol=1e-3):
        return None
    summary = (
        f"{claim.source}: {claim.bits_per_byte:.4f} bits per byte claimed, {expected:.4f} by the text's {size:,} bytes"
    )
    return failed(summary, snippet(target, "print(target.claim.bits_per_byte, len(target.claim.text.encode()))"))


def _of_tokenizer(target: Target, effort: Effort) -> Result:
    """Encode and decode some text: what is lost or invented makes bits per byte wrong."""
    if target.codec is None:
        return not_applicable("")
    for text in [text for text in (target.text, target.claim.text if target.claim else None) if text] or [TEXT]:
        try:
            found = target.codec.decode(target.codec.encode(text))
        except Exception as error:  # a vocabulary without some character, or any code of others
            return not_applicable(f"its tokenizer takes no such text: {in_one_line(error)[:80]}")
        if found != text:
            lost = len(text.encode()) - len(found.encode())
            what = f"loses {lost} of its" if lost > 0 else f"adds {-lost} to its" if lost else "changes some of its"
            summary = (
                f"a text read back from its tokens {what} {len(text.encode())} bytes: bits per byte aren't the text's"
            )
            code = (
                f"text = {text[:200]!r}\nprint(target.codec.decode(target.codec.encode(text)) == text)  # must be True"
            )
            return failed(summary, snippet(target, code), bytes=len(text.encode()), decoded=len(found.encode()))
    return passed("the tokenizer gives back its text")


def _of_file(target: Target, effort: Effort) -> Result:
    """Recompute what the header of a file of scores says."""
    scores = target.scores
    if scores is None:
        return not_applicable("")
    nats = [log_prob for log_prob in scores.log_probs if log_prob is not None]
    mean = -math.fsum(nats) / len(nats)
    size = sum(size for size, log_prob in zip(scores.sizes, scores.log_probs, strict=True) if log_prob is not None)
    found = {"loss": mean, "tokens": len(nats), "bytes": size, "text_sha256": scores.sha256}
    wrong = _positions(scores) or next(
        filter(None, (_header(scores, name, value) for name, value in found.items())), None
    )
    if wrong:
        return failed(wrong, snippet(target, "print(target.scores.header, target.scores.positions[:10])"), **found)
    if target.text is not None and hashlib.sha256(target.text.encode()).hexdigest() != scores.sha256:
        whole = sum(scores.sizes)
        wrong = f"its tokens spell {whole:,} bytes, and aren't the text, which has {len(target.text.encode()):,}"
        return failed(wrong, snippet(target, "print(sum(target.scores.sizes), target.scores.sha256)"), **found)
    bits = mean * len(nats) / math.log(2) / max(size, 1)
    return passed(
        f"{mean:.6g} nats over {len(nats):,} tokens, {bits:.6g} bits per byte of {size:,} bytes, as reported", **found
    )


def _positions(scores: TokenScores) -> str:
    """Return what is wrong with the positions: one twice, or missing."""
    at = scores.positions
    if len({*at}) < len(at):
        return f"position {next(p for n, p in enumerate(at) if p in at[:n])} is counted twice"
    missing = next((p for p, found in enumerate(sorted(at), min(at)) if p != found), None)
    if missing is not None:
        return f"position {missing} is missing, so it is never counted"
    return ""


def _header(scores: TokenScores, name: str, value: Any) -> str:
    """Return how an entry of the header differs from what the lines give."""
    said = scores.header.get(name)
    if said is None:
        return ""
    number = isinstance(said, int | float) and isinstance(value, int | float)
    same = math.isclose(said, value, rel_tol=1e-6) if number else said == value
    return "" if same else f"the header says {name} {str(said)[:70]}, the lines give {value}"
