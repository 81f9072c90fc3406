"""Writing text: one token at a time from any autoregressive model, or into the gaps of one that reads both ways."""

import codecs
import itertools
import math
from collections.abc import Collection, Iterator

import numpy as np
import torch
from torch import Tensor

from mingpt.core.errors import NotFiniteError, UsageError, require
from mingpt.data.tokenizers import Tokenizer
from mingpt.inference.compiled_decode import Step, compiled_step
from mingpt.inference.sampling_config import COMPILE_RULE
from mingpt.inference.sampling_config import Sampling as Sampling
from mingpt.models.base import LanguageModel, State, evaluating
from mingpt.utils import cpu_threads

LINE_END = "\n"  # where an empty prompt starts


def probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """(b, v) logits -> (b, v) float64 probabilities after temperature, top_k and top_p (Holtzman et al. 2020)."""
    logits = logits.cpu().double()  # not every accelerator has float64
    if not math.isfinite(logits.sum()):  # one pass: what is not finite stays so in a sum
        raise NotFiniteError("the model gives logits that are not finite")
    if sampling.temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).double()
    logits = (logits - logits.amax(-1, keepdim=True)) / sampling.temperature  # the largest 0: finite however cold
    if 0 < sampling.top_k < logits.shape[-1]:
        dropped = logits.sort(descending=True, stable=True).indices[:, sampling.top_k :]
        logits = logits.scatter(-1, dropped, -math.inf)
    p = logits.softmax(-1)
    if sampling.top_p < 1:
        ordered, order = p.sort(descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered
        p = p.masked_fill((before >= sampling.top_p).gather(-1, order.argsort()), 0.0)
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
    """Yield `new_tokens` times the (b,) ids that continue the (b, t) prompt, t >= 1.

    Earlier tokens are kept in the model's state.  Where that is not unbounded it holds block_size tokens; what happens
    past them `sampling.past_block` says.  The draws come from a generator of their own, an independent one a row.

    Args:
        cache: False: nothing is kept, and every token takes a fresh pass over all that it may read: the last block_size
            tokens, as with past_block=exact, or the whole text where the state is unbounded.
        compile: compile the step of one token that the cache allows (see `mingpt.inference.compiled_decode`).

    Raises:
        UsageError: a model that is not autoregressive; a negative number of tokens; half a block kept without a cache;
            nothing to compile or no compiler.
    """
    require(cache or not compile, "compile", compile, COMPILE_RULE)
    require(new_tokens >= 0, "max_new_tokens", new_tokens, "must be 0 or more")
    past_block, block_size = sampling.past_block_with(cache), model.config.block_size
    if not model.autoregressive:
        remedy = "; it fills gaps: --fill='To b_ or not'" if model.infills else ""
        raise UsageError(f"{type(model).__name__} needs the text to come to predict it, so it can't write any{remedy}")
    fits = model.unbounded or prompt.shape[1] + new_tokens - 1 <= block_size
    rule = f"needs prompt and tokens within block_size={block_size}, or past_block=half: exact keeps nothing past it"
    require(fits or past_block.cached or not compile, "compile", compile, rule)
    step = compiled_step() if compile else _after
    return _draws(model, prompt, new_tokens, sampling, past_block.kept(block_size), cache, step)


def _draws(
    model: LanguageModel, prompt: Tensor, new_tokens: int, sampling: Sampling, kept: int, cache: bool, step: Step
) -> Iterator[Tensor]:
    """`kept`: tokens that are encoded again where the state is full, or is not to be used a second time."""
    device, block_size, unbounded = model.device, model.config.block_size, model.unbounded
    fresh = (prompt if unbounded else prompt[:, -block_size:]).to(device)
    seen, state = [fresh], model.new_state(fresh.shape[0])
    generator = torch.Generator().manual_seed(sampling.seed)
    # One row's products are too small to divide: two threads gain nothing, and spin beside other busy processes.
    threads = 1 if len(fresh) == 1 and device.type == "cpu" else torch.get_num_threads()
    for _ in range(new_tokens):
        if not cache or not (unbounded or state.length + fresh.shape[1] <= block_size):
            fresh = torch.cat(seen, dim=1)[:, None if unbounded else -kept :]
            seen, state = [fresh], model.new_state(fresh.shape[0])
        # A consumer may train between two tokens, with what is drawn outside of this mode.
        with cpu_threads(threads), evaluating(model) if model.training else torch.inference_mode():
            logits = (step if fresh.shape[1] == 1 else _after)(model, fresh, state)
        fresh = torch.multinomial(probabilities(logits, sampling), 1, generator=generator).to(device)
        if not (cache and unbounded):  # the state holds all that it needs
            seen.append(fresh)
        yield fresh[:, 0]


def _after(model: LanguageModel, ids: Tensor, state: State) -> Tensor:
    """(b, v) logits after (b, t) ids and what `state` has read, which they extend; a block at a time."""
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
    """What follows the prompt, token by token, up to the first of the ids `stop`, which is left out.

    An empty prompt starts as after the end of a line.

    A character is given once all of its bytes are drawn; with the token before it, so a piece may be empty.  What is
    left of one at the end, and bytes that are no text, are U+FFFD.

    Raises:
        UsageError: a prompt with characters outside the vocabulary.
    """
    spelled = prompt or (LINE_END if spells(tokenizer, LINE_END) else "")
    ids = tokenizer.encode(spelled).astype("int64") if spelled else np.zeros(1, np.int64)
    start = torch.from_numpy(ids)[None]
    drawn = generate(model, start, new_tokens, sampling, cache=cache, compile=compile)
    until_stop = itertools.takewhile(lambda token: int(token) not in stop, drawn)
    return _pieces(tokenizer, until_stop)  # rejected above, before the first is asked for


def _pieces(tokenizer: Tokenizer, drawn: Iterator[Tensor]) -> Iterator[str]:
    decoder, spelling = codecs.getincrementaldecoder("utf-8")("replace"), tokenizer.spelling
    for token in drawn:
        id = int(token)
        yield decoder.decode(spelling[id] if id < len(spelling) else b"")  # a model may have rows for more
    rest = decoder.decode(b"", final=True)
    if rest:
        yield rest


def write(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: str,
    new_tokens: int,
    sampling: Sampling,
    stop: Collection[int] = (),
) -> str:
    """The prompt and what follows it, as `stream` gives it."""
    return prompt + "".join(stream(model, tokenizer, prompt, new_tokens, sampling, stop=stop))


def fill(model: LanguageModel, tokenizer: Tokenizer, text: str, gap: str = "_") -> str:
    """`text` with one token in the place of each `gap`: always the likeliest, the surest gap first.

    What was put into a gap helps with the others.

    Raises:
        UsageError: a gap mark that is no single character, a text without it, of more than block_size tokens or with
            characters outside the vocabulary; a model that does not fill gaps.
    """
    size = model.config.block_size
    require(len(gap) == 1, "gap", repr(gap), "must be one character")
    require(gap in text, "fill", repr(text), f"has no gap, as {gap!r} marks one")
    parts = [torch.from_numpy(tokenizer.encode(part).astype("int64")) for part in text.split(gap)]
    length = sum(map(len, parts)) + len(parts) - 1
    require(length <= size, "fill", repr(text), f"must be at most {size} tokens, not {length}")
    ids = torch.cat([piece for part in parts for piece in (part, torch.zeros(1, dtype=torch.int64))][:-1])[None]
    ends = torch.tensor([len(part) + 1 for part in parts[:-1]]).cumsum(0) - 1
    gaps = torch.zeros_like(ids, dtype=torch.bool).index_fill(1, ends, True)
    ids, gaps = ids.to(model.device), gaps.to(model.device)
    while gaps.any():
        with evaluating(model):
            likely, tokens = probabilities(model.masked_logits(ids, gaps)[0], Sampling(temperature=1)).max(-1)
        surest = int(likely.masked_fill(~gaps[0].cpu(), -1).argmax())
        ids[0, surest], gaps[0, surest] = int(tokens[surest]), False
    return tokenizer.decode(ids[0].tolist())


def spells(tokenizer: Tokenizer, text: str) -> bool:
    """Whether the vocabulary has every character of `text`."""
    try:
        tokenizer.encode(text)
    except UsageError:
        return False
    return True
