"""Confirm failures of the survey with transformers alone, in float32: `python -m tests.interop.audit.confirm`.

Each function asks one question in about ten lines, without any code of the audit; what it returns must be (nearly) 0
for a sound model.  The command asks those that the survey says fail, keeps the answers in survey.json, and ends with 1
if one of them is not confirmed: a false alarm.
"""

import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.interop.audit.survey import RESULTS, one_line, write
from tests.interop.audit.tiny_models import VOCABULARY, tiny_model

CLEAR = 1e-3  # of the largest logit, or of a loss: more than any rounding in float32


def some_ids(tokens: int = 12, seed: int = 0) -> Tensor:
    """(1, t) ids, none of them special."""
    return torch.randint(6, VOCABULARY, (1, tokens), generator=torch.Generator().manual_seed(seed))


def look_ahead(model: Any) -> float:
    """Change all tokens but the first, one after the other: how far do earlier logits move?"""
    ids, moved = some_ids(), 0.0
    before = model(ids).logits
    for j in range(1, ids.shape[1]):
        other = ids.clone()
        other[0, j] = 6 + (ids[0, j] - 5) % (VOCABULARY - 6)
        moved = max(moved, float((model(other).logits - before)[0, :j].abs().max()))
    return moved / float(before.abs().max())


def normalisation(model: Any) -> float:
    """Sum the probabilities of all tokens after a first one, each from a pass over the two of them: how far from 1?"""
    total = 0.0
    for token in range(VOCABULARY):
        total += float(model(torch.tensor([[6, token]])).logits[0, 0].double().softmax(-1)[token])
    return abs(total - 1)


def padding(model: Any, left: bool) -> float:
    """Put three tokens that the mask hides before or after a text: how far do its logits move?"""
    text, pad = some_ids(9), torch.full((1, 3), getattr(model.config, "pad_token_id", None) or 0)
    ones, zeros = torch.ones_like(text), torch.zeros_like(pad)
    ids, mask = (torch.cat(pair if left else pair[::-1], 1) for pair in ((pad, text), (zeros, ones)))
    whole: dict[str, Any] = {"use_cache": False} if takes(model, "use_cache") else {}
    given = {"position_ids": (mask.cumsum(-1) - 1).clamp_min(0)} if counts_from_0(model, text) else {}
    alone, found = model(text, **whole).logits, model(ids, attention_mask=mask, **given, **whole).logits
    found = found[:, 3:] if left else found[:, :9]
    return float((found - alone).abs().max() / alone.abs().max())


def counts_from_0(model: Any, text: Tensor) -> bool:
    """True if position_ids of 0, 1, 2, ... give what none give, so that they may say where padding is."""
    if not takes(model, "position_ids"):
        return False
    positions = torch.arange(text.shape[1])[None]
    off: dict[str, Any] = {"use_cache": False} if takes(model, "use_cache") else {}
    moved = model(text, position_ids=positions, **off).logits - model(text, **off).logits
    return bool(moved.abs().max() < 1e-4)


def rows(model: Any) -> float:
    """Put two other rows before a text: how far do its logits move?"""
    text, others = some_ids(9), torch.cat((some_ids(9, seed=1), some_ids(9, seed=2)))
    alone, found = model(text).logits[0], model(torch.cat((others, text))).logits[2]
    return float((found - alone).abs().max() / alone.abs().max())


def cache(model: Any, sizes: list[int]) -> float:
    """Feed 12 tokens in pieces, with the cache that comes back: how far are the logits from those of one pass?"""
    names = ("past_key_values", "cache_params", "past_buckets_states", "state", "mems")
    name, past, found = next(name for name in names if takes(model, name)), None, []
    for piece in some_ids().split(sizes, dim=1):
        out = model(piece, use_cache=True, **({} if past is None else {name: past}))
        past = getattr(out, name)
        found.append(out.logits)
    whole = model(some_ids()).logits
    return float((torch.cat(found, 1) - whole).abs().max() / whole.abs().max())


def score(model: Any) -> float:
    """Give the ids as labels: how far is the loss from that of the next tokens by the logits?"""
    ids = some_ids()
    out = model(ids, labels=ids)
    expected = F.cross_entropy(out.logits[0, :-1].double(), ids[0, 1:])
    return abs(float(out.loss) - float(expected)) / float(expected)


def determinism(model: Any) -> float:
    """Call the model twice: how far do the logits move?"""
    first, again = model(some_ids()).logits, model(some_ids()).logits
    return float((first - again).abs().max() / first.abs().max())


def takes(model: Any, name: str) -> bool:
    """True if the forward pass has this argument."""
    return name in inspect.signature(model.forward).parameters


def question(check: str, summary: str) -> Callable[[Any], float] | None:
    """The function that asks what a failure says; None if there is none."""
    if check == "batch":
        if "padding" not in summary:
            return rows
        return lambda model: padding(model, left="on the left" in summary)
    if check == "cache":
        sizes = [1] * 12 if "one by one" in summary else [3, 1, 4, 2, 2]
        sizes = [6, *[1] * 6] if "a prefix" in summary else sizes
        return lambda model: cache(model, sizes)
    return {"look_ahead": look_ahead, "normalisation": normalisation, "score": score, "determinism": determinism}.get(
        check
    )


def main() -> int:
    """Ask about every failure of the survey."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    wrong = 0
    for model_type, found in kept["classes"].items():
        failing = {name: said for name, (outcome, said) in found.get("results", {}).items() if outcome == "fail"}
        found["confirmed"] = {}
        for check, summary in failing.items():
            ask = question(check, summary)
            if ask is None:
                continue
            try:
                with torch.no_grad():
                    size = ask(tiny_model(model_type))
            except Exception as error:
                print(one_line(f"{model_type} {check}", error))
                continue
            found["confirmed"][check] = float(f"{size:.2g}")
            wrong += not size > CLEAR
            print(f"{model_type} {check}: {size:.2g} {'' if size > CLEAR else 'NOT CONFIRMED'}", flush=True)
    write(kept)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
