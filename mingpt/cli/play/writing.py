"""The view Write: text token by token, each with its alternatives; next-token distributions; infilling."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mingpt.cli.play.bodies import MOST_TOKENS
from mingpt.core.errors import UsageError, require
from mingpt.core.token_ids import Tokenizer
from mingpt.inference.generate import Decoder, Draw, Sampling, draws, fill_gaps, probabilities, prompt_ids
from mingpt.runs.trained_run import Run

Event = tuple[str, dict[str, Any]]  # its name, and its data

ALTERNATIVES = 10  # of a token that was drawn
BARS = 30  # of a distribution
KEPT = 16  # prefixes whose logits are kept, for sliders
DIGITS = 6  # of a probability that count
USUAL_TOKENS = 200
OWN = Sampling(temperature=1)  # a model's own distribution


def name_of(tokenizer: Tokenizer, id: int) -> str:
    """Return one token's own text; U+FFFD for what is part of a character."""
    spelling = tokenizer.spelling
    return spelling[id].decode("utf-8", "replace") if id < len(spelling) else ""  # a model may have more rows


def names_of(tokenizer: Tokenizer, ids: Sequence[int]) -> dict[str, Any]:
    """Return ids with the text of each."""
    return {"ids": list(ids), "texts": [name_of(tokenizer, id) for id in ids]}


def sampling_of(settings: Mapping[str, Any]) -> Sampling:
    """Return the settings of a request, without its length.

    Raises:
        UsageError: one breaks a rule.
    """
    return Sampling(**{name: value for name, value in settings.items() if name != "max_new_tokens"})


def context(run: Run, body: Mapping[str, Any]) -> Tensor:
    """Return the (1, t) ids that a request begins with: those given, or those of its prompt.

    Raises:
        UsageError: an unknown character, or an id that is none of the vocabulary.
    """
    ids = body.get("prefix_ids", body.get("ids"))
    require(ids is None or "prompt" not in body, "prompt", "given", "must not be given with ids")
    if ids is None:
        return prompt_ids(run.tokenizer, body.get("prompt", ""))
    size = run.model.config.vocab_size
    require(max(ids) < size, "ids", max(ids), f"must be below the vocabulary's size, {size}")
    return torch.tensor([ids])


def write(run: Run, body: Mapping[str, Any]) -> Iterator[Event]:
    """Yield the events of a generated text: `prompt`, a `token` each, `done`.

    The texts of the tokens and of `done` joined are what `run.generate` returns after the prompt with the same seed.

    Raises:
        UsageError: a setting or the prompt is wrong, or the model does not generate text.
    """
    settings = body.get("settings", {})
    count = settings.get("max_new_tokens", USUAL_TOKENS)
    require(count <= MOST_TOKENS, "max_new_tokens", count, f"must be at most {MOST_TOKENS:,} here")
    start = context(run, body)
    drawn = draws(run.model, start, count, sampling_of(settings))
    yield "prompt", names_of(run.tokenizer, start[0].tolist())
    decoder = Decoder(run.tokenizer)
    for draw in drawn:
        id = int(draw.ids)
        yield "token", {"text": decoder.text(id), **_alternatives(run.tokenizer, id, draw)}
    yield "done", {"text": decoder.rest()}


def _alternatives(tokenizer: Tokenizer, id: int, draw: Draw) -> dict[str, Any]:
    """What a token was drawn from: its own probability and the likeliest others'."""
    own, used = probabilities(draw.logits, OWN)[0], draw.probabilities[0]
    likeliest = own.topk(min(ALTERNATIVES, len(own))).indices.tolist()
    return {
        "id": id,
        "p": rounded(own[id]),
        "p_used": rounded(used[id]),
        "alternatives": [_bar(tokenizer, each, own, used) for each in likeliest],
    }


def _bar(tokenizer: Tokenizer, id: int, own: Tensor, used: Tensor) -> dict[str, Any]:
    return {"id": id, "text": name_of(tokenizer, id), "p": rounded(own[id]), "p_used": rounded(used[id])}


class NextTokens:
    """Next-token distributions after prefixes; the logits of the last few are kept, so that a slider costs no pass."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Path, int, tuple[int, ...]], Tensor] = OrderedDict()

    def bars(self, run: Run, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the distribution after a prefix: its likeliest tokens, and its entropy in nats.

        Raises:
            UsageError: as `write`.
        """
        start = context(run, body)
        logits = self._logits(run, start)
        own, used = probabilities(logits, OWN)[0], probabilities(logits, sampling_of(body.get("settings", {})))[0]
        likeliest = own.topk(min(BARS, len(own))).indices.tolist()
        yield {
            "bars": [_bar(run.tokenizer, each, own, used) for each in likeliest],
            "entropy": rounded(_entropy(own)),
            "entropy_used": rounded(_entropy(used)),
            "kept": int((used > 0).sum()),
            **names_of(run.tokenizer, start[0].tolist()),
        }

    def _logits(self, run: Run, start: Tensor) -> Tensor:
        key = run.folder, run.progress.step, tuple(start[0].tolist())
        if key not in self._kept:
            self._kept[key] = next(draws(run.model, start, 1, OWN)).logits
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]


def _entropy(p: Tensor) -> Tensor:
    return -torch.special.xlogy(p, p).sum()


def filled(run: Run, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the text with one more gap filled each time; `p` of what was filled in is its probability then.

    Raises:
        UsageError: as `run.fill`.
    """
    for state in fill_gaps(run.model, run.tokenizer, body["text"], body.get("gap", "_")):
        ids = state.ids.tolist()
        pieces = [
            {"text": name_of(run.tokenizer, id), "filled": at in state.chances, "p": state.chances.get(at)}
            for at, id in enumerate(ids)
        ]
        yield {"text": run.tokenizer.decode(ids), "pieces": pieces}


def facts(run: Run) -> dict[str, Any]:
    """Return what a page needs to know of a run before it asks for text."""
    model, usual = run.model, Sampling()
    return {
        "family": model.config.type,
        "class": type(model).__name__,
        "autoregressive": model.autoregressive,
        "why_not": why_not(run),
        "infills": model.infills,
        "block_size": model.config.block_size,
        "vocab_size": model.config.vocab_size,
        "unit": run.tokenizer.unit,
        "parameters": model.parameter_count,
        "step": run.progress.step,
        "sampling": {
            **{name: getattr(usual, name) for name in ("temperature", "top_k", "top_p", "min_p", "seed")},
            "max_new_tokens": USUAL_TOKENS,
        },
        "prompt": run.prompts()[0],
        "start": name_of(run.tokenizer, int(prompt_ids(run.tokenizer, "")[0, -1])),
    }


def why_not(run: Run) -> str | None:
    """Return why a model does not generate text, in one line; None: it does."""
    try:
        draws(run.model, torch.zeros(1, 1, dtype=torch.long), 0, OWN)
    except UsageError as reason:
        return str(reason)
    return None


def rounded(value: Tensor | float) -> float:
    """Return a number to as many digits as count."""
    return float(f"{float(value):.{DIGITS}g}")
