"""Generation: token by token from any autoregressive model, and infilling of masked tokens by a bidirectional one."""

import codecs
import itertools
import math
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mingpt.core.errors import NotFiniteError, UsageError, require
from mingpt.core.token_ids import Tokenizer
from mingpt.distributed.threads import cpu_threads
from mingpt.inference.compiled_decode import Step, compiled_step
from mingpt.inference.sampling_config import COMPILE_RULE
from mingpt.inference.sampling_config import Sampling as Sampling
from mingpt.models.base import LanguageModel, State, evaluating

LINE_END = "\n"  # replaces an empty prompt


class Draw(NamedTuple):
    """A drawn token: (b,) ids, the (b, v) logits before any setting, and the (b, v) probabilities it was drawn from."""

    ids: Tensor
    logits: Tensor
    probabilities: Tensor


def probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """Return (b, v) float64 probabilities of (b, v) logits after temperature, top_k, top_p and min_p, in this order.

    top_p is from Holtzman et al. 2020, min_p from Nguyen et al. 2024.

    Raises:
        NotFiniteError: a logit is not finite.
    """
    logits = logits.cpu().double()  # not every accelerator has float64
    if not math.isfinite(logits.sum()):  # in one pass: inf and NaN propagate to the sum
        raise NotFiniteError("the model gives logits that are not finite")
    if sampling.temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).double()
    logits = (logits - logits.amax(-1, keepdim=True)) / sampling.temperature  # at most 0: never inf
    if 0 < sampling.top_k < logits.shape[-1]:
        dropped = logits.sort(descending=True, stable=True).indices[:, sampling.top_k :]
        logits = logits.scatter(-1, dropped, -math.inf)
    p = logits.softmax(-1)
    if sampling.top_p < 1:
        ordered, order = p.sort(descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered
        p = p.masked_fill((before >= sampling.top_p).gather(-1, order.argsort()), 0.0)
        p = p / p.sum(-1, keepdim=True)
    if sampling.min_p > 0:
        p = p.masked_fill(p < sampling.min_p * p.amax(-1, keepdim=True), 0.0)
        p = p / p.sum(-1, keepdim=True)
    return p


def generate(
    model: LanguageModel,
    prompt: Tensor,
    new_tokens: int,
    sampling: Sampling,
    *,
    cache: bool = True,
    compile: bool = False,
) -> Iterator[Tensor]:
    """Yield `new_tokens` times the next (b,) token ids after the (b, t) prompt, t >= 1: the ids of `draws`."""
    return (draw.ids for draw in draws(model, prompt, new_tokens, sampling, cache=cache, compile=compile))


def draws(
    model: LanguageModel,
    prompt: Tensor,
    new_tokens: int,
    sampling: Sampling,
    *,
    cache: bool = True,
    compile: bool = False,
) -> Iterator[Draw]:
    """Yield `new_tokens` times the next token of each row after the (b, t) prompt, t >= 1, and what it was drawn from.

    Earlier tokens are in the model's decoding state.  If that isn't unbounded it holds block_size tokens;
    `sampling.past_block` decides what happens beyond them.  Draws come from a generator of their own.

    Args:
        model: an autoregressive model
        prompt: (b, t) token ids
        new_tokens: number of tokens to generate
        sampling: temperature, top_k, top_p, min_p, seed and past_block
        cache: False: no state; every token takes a pass over its complete context, the last block_size tokens as with
            past_block=exact, or all if the state is unbounded
        compile: compile the decoding step (see `mingpt.inference.compiled_decode`)

    Raises:
        UsageError: the model isn't autoregressive, or settings contradict each other, or there is no compiler.
    """
    require(cache or not compile, "compile", compile, COMPILE_RULE)
    require(new_tokens >= 0, "max_new_tokens", new_tokens, "must be 0 or more")
    past_block, block_size = sampling.past_block_with(cache), model.config.block_size
    if not model.autoregressive:
        remedy = "; it infills masked tokens: --fill='To b_ or not'" if model.infills else ""
        raise UsageError(f"{type(model).__name__} isn't autoregressive, so it can't generate text{remedy}")
    fits = model.unbounded or prompt.shape[1] + new_tokens - 1 <= block_size
    rule = f"needs prompt and tokens within block_size={block_size}, or past_block=half: exact has no cache past it"
    require(fits or past_block.cached or not compile, "compile", compile, rule)
    step = compiled_step() if compile else _next_logits
    return _sample(model, prompt, new_tokens, sampling, past_block.kept(block_size), cache, step)


def _sample(
    model: LanguageModel, prompt: Tensor, new_tokens: int, sampling: Sampling, kept: int, cache: bool, step: Step
) -> Iterator[Draw]:
    """Draw as `draws`, after its checks; `kept` tokens are encoded again when the state is full or not used."""
    device, block_size, unbounded = model.device, model.config.block_size, model.unbounded
    fresh = (prompt if unbounded else prompt[:, -block_size:]).to(device)
    seen, state = [fresh], model.new_state(fresh.shape[0])
    generator = torch.Generator().manual_seed(sampling.seed)
    # A single row's products are too small to divide: two threads gain nothing, and spin next to other processes.
    threads = 1 if len(fresh) == 1 and device.type == "cpu" else torch.get_num_threads()
    for _ in range(new_tokens):
        if not cache or not (unbounded or state.length + fresh.shape[1] <= block_size):
            fresh = torch.cat(seen, dim=1)[:, None if unbounded else -kept :]
            seen, state = [fresh], model.new_state(fresh.shape[0])
        # The consumer may train between two tokens, so leave inference mode before each yield.
        with cpu_threads(threads), evaluating(model) if model.training else torch.inference_mode():
            logits = (step if fresh.shape[1] == 1 else _next_logits)(model, fresh, state)
        p = probabilities(logits, sampling)
        fresh = torch.multinomial(p, 1, generator=generator).to(device)
        if not (cache and unbounded):  # the state is sufficient
            seen.append(fresh)
        yield Draw(fresh[:, 0], logits, p)


def _next_logits(model: LanguageModel, ids: Tensor, state: State) -> Tensor:
    """Return (b, v) logits after `state` and (b, t) ids, which are appended to it a block at a time."""
    for part in ids.split(model.config.block_size, dim=1):
        logits = model(part, state=state).logits[:, -1]
    return logits


def stream(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: str,
    new_tokens: int,
    sampling: Sampling,
    *,
    cache: bool = True,
    compile: bool = False,
    stop: Collection[int] = (),
) -> Iterator[str]:
    """Yield the generated text, a piece per token, up to the first token of `stop`, which is left out.

    An empty prompt is replaced by the end of a line.  A character is yielded once all of its bytes are generated, so a
    piece may be empty.  Incomplete characters and invalid UTF-8 become U+FFFD.

    Raises:
        UsageError: the prompt has characters outside the vocabulary; and as `generate`.
    """
    drawn = generate(model, prompt_ids(tokenizer, prompt), new_tokens, sampling, cache=cache, compile=compile)
    until_stop = itertools.takewhile(lambda token: int(token) not in stop, drawn)
    return _pieces(tokenizer, until_stop)  # errors are raised above, before the first piece


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> Tensor:
    """Return the (1, t) ids of a prompt, t >= 1; an empty one is replaced by the end of a line, or by token 0.

    Raises:
        UsageError: the prompt has characters outside the vocabulary.
    """
    spelled = prompt or (LINE_END if spells(tokenizer, LINE_END) else "")
    ids = tokenizer.encode(spelled).astype("int64") if spelled else np.zeros(1, np.int64)
    return torch.from_numpy(ids)[None]


class Decoder:
    """Turns ids into text one at a time; a character comes with the last of its bytes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._utf8, self._spelling = codecs.getincrementaldecoder("utf-8")("replace"), tokenizer.spelling

    def text(self, id: int) -> str:
        """Return the text that this id completes, which may be empty."""
        return self._utf8.decode(self._spelling[id] if id < len(self._spelling) else b"")  # a model may have more rows

    def rest(self) -> str:
        """Return U+FFFD for a character that was not completed, else ""."""
        return self._utf8.decode(b"", final=True)


def _pieces(tokenizer: Tokenizer, drawn: Iterator[Tensor]) -> Iterator[str]:
    decoder = Decoder(tokenizer)
    for token in drawn:
        yield decoder.text(int(token))
    if rest := decoder.rest():
        yield rest


def write(model: LanguageModel, tokenizer: Tokenizer, prompt: str, new_tokens: int, sampling: Sampling) -> str:
    """Return the prompt and the text generated after it, as `stream`."""
    return prompt + "".join(stream(model, tokenizer, prompt, new_tokens, sampling))


class Filled(NamedTuple):
    """Text with some masked tokens filled in: (t,) ids, 0 where still masked, and probabilities by filled position."""

    ids: Tensor
    chances: Mapping[int, float]


def fill(model: LanguageModel, tokenizer: Tokenizer, text: str, gap: str = "_") -> str:
    """Return `text` with each `gap` replaced by its likeliest token, as `fill_gaps`."""
    *_, last = fill_gaps(model, tokenizer, text, gap)
    return tokenizer.decode(last.ids.tolist())


def fill_gaps(model: LanguageModel, tokenizer: Tokenizer, text: str, gap: str = "_") -> Iterator[Filled]:
    """Yield `text` after each `gap` that is replaced by its likeliest token, the most probable of all first.

    Tokens that were filled in are context of those still masked.

    Args:
        model: a model that infills
        tokenizer: its tokenizer
        text: text with masked tokens, of at most block_size tokens
        gap: character that marks a masked token

    Raises:
        UsageError: `gap` isn't a single character of the text, the text is too long or has characters outside the
            vocabulary, or the model was not trained on masked tokens.
    """
    size = model.config.block_size
    require(len(gap) == 1, "gap", repr(gap), "must be one character")
    require(gap in text, "fill", repr(text), f"has no masked token; mark one with {gap!r}")
    parts = [torch.from_numpy(tokenizer.encode(part).astype("int64")) for part in text.split(gap)]
    length = sum(map(len, parts)) + len(parts) - 1
    require(length <= size, "fill", repr(text), f"must be at most {size} tokens, not {length}")
    ids = torch.cat([piece for part in parts for piece in (part, torch.zeros(1, dtype=torch.int64))][:-1])[None]
    ends = torch.tensor([len(part) + 1 for part in parts[:-1]]).cumsum(0) - 1
    masked = torch.zeros_like(ids, dtype=torch.bool).index_fill(1, ends, True)
    ids, masked = ids.to(model.device), masked.to(model.device)
    chances: dict[int, float] = {}
    while masked.any():
        with evaluating(model):
            p, tokens = probabilities(model.masked_logits(ids, masked)[0], Sampling(temperature=1)).max(-1)
        best = int(p.masked_fill(~masked[0].cpu(), -1).argmax())
        ids[0, best], masked[0, best], chances[best] = int(tokens[best]), False, float(p[best])
        yield Filled(ids[0].clone(), dict(chances))


def spells(tokenizer: Tokenizer, text: str) -> bool:
    """Return True if the vocabulary has every character of `text`."""
    try:
        tokenizer.encode(text)
    except UsageError:
        return False
    return True
