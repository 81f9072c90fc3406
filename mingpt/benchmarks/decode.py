"""Milliseconds of writing a token, with and without the cache, next to other people's `generate`.

The first token, which takes the reading of the prompt, is timed alone as well and taken off the others' time.
"""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from mingpt.benchmarks.base import machine_of, ranking, summary, table, versus
from mingpt.benchmarks.options.base import device_beside, parse_peers
from mingpt.benchmarks.options.decode import CLONES, PACKAGES, Options
from mingpt.benchmarks.worker_process import Worker
from mingpt.distributed.threads import cpu_threads
from mingpt.inference.generate import Sampling, generate
from mingpt.model import GPT
from mingpt.training.profiling import BYTES, READ_BYTES, Spread, measure, memory_reader
from mingpt.utils import pick_device

logger = logging.getLogger(__name__)

BATCHES = (1, 16)
TURN = 0.5  # seconds that each writes at a time, as one who writes a text does


def run(options: Options) -> dict[str, Any]:
    """Time every writer at every batch, alternating.

    Returns:
        What the last line of `chargpt bench decode` prints: ms of the first token and of each later one, ratios of
        those to ours with a cache, and for each later one the share of the memory rate that reading its bytes takes,
        each round's of the rate measured in it.
    """
    device = pick_device(device_beside(options.peers, options.device), "device")
    with cpu_threads(options.threads):
        model = GPT(options.model).to(device).eval()
        rows, rates = {}, {}
        for title, batch in ((f"batch {batch}", batch) for batch in BATCHES):
            rows[title], rate = _one_batch(options, batch, model, device)
            rates[title] = summary(rate)
        listed = ", ".join(f"{rate['median'] / 1e9:.1f}" for rate in rates.values())
        logger.info(
            f"of rate: (weights + keys and values, read once) / time / the memory's rate in that round ({listed} GB/s);"
        )
        logger.info("above 100 % where a cache of the processor holds them")
    floor = {f"batch {batch}": least_bytes(model, batch, options.prompt, options.tokens) for batch in BATCHES}
    machine = {**machine_of(device), "threads": options.threads or torch.get_num_threads(), "memory_rate": rates}
    return {"bench": "decode", **asdict(options), **machine, "bytes_per_step": floor, "rows": rows}


def least_bytes(model: GPT, batch: int, prompt: int, tokens: int) -> float:
    """What a step after the first must read: all weights but tables, the head once for all rows; each row's own cache.

    Of a table only the rows looked up are read, which is next to nothing, unless it is the head as well.  The cache is
    as long as on average.
    """
    readers = [module for module in model.modules() if not isinstance(module, torch.nn.Embedding)]
    read = {weight for module in readers for weight in module.parameters(recurse=False)}
    config, length = model.config, prompt + tokens / 2
    kept = 2 * config.n_layer * config.key_heads * config.head_width * length
    return BYTES * (sum(weight.numel() for weight in read) + batch * kept)


def _one_batch(options: Options, batch: int, model: GPT, device: torch.device) -> tuple[dict[str, Any], Spread]:
    """Rows, and the rate of the memory by round."""
    shape = {"n_layer": options.layers, "n_head": options.heads, "n_embd": options.width, "batch": batch}
    shape |= {"block_size": options.block_size, "prompt": options.prompt, "threads": torch.get_num_threads()}
    own = {"cache": {"cache": True}, "no cache": {"cache": False}}
    own |= {"compiled": {"compile": True}} if options.compile else {}
    names = [*own, *parse_peers(options.peers, CLONES, PACKAGES)]
    with ExitStack() as stack:
        writers: dict[str, Callable[[], object]] = {"": memory_reader(device)}
        for tokens in (1, options.tokens):
            for name, how in own.items():
                writers[f"{name} {tokens}"] = partial(_write, model, batch, options.prompt, tokens, **how)
            for kind, path in parse_peers(options.peers, CLONES, PACKAGES).items():
                worker = Worker(f"{kind}-writing", path, shape | {"tokens": tokens})
                stack.callback(worker.close)
                writers[f"{kind} {tokens}"] = partial(worker.steps, 1)
        seconds = measure(writers, device, rounds=options.rounds, warmup=1, least=TURN)
    first = {name: seconds[f"{name} 1"] for name in names}
    each = {name: seconds[f"{name} {options.tokens}"].less(first[name]).divided(options.tokens - 1) for name in names}
    rate = Spread(tuple(READ_BYTES / value for value in seconds[""].values))
    least = least_bytes(model, batch, options.prompt, options.tokens)
    floor = Spread(tuple(least / value for value in rate.values))
    return _table(f"batch {batch}", first, each, floor), rate


def _table(title: str, first: dict[str, Spread], each: dict[str, Spread], floor: Spread) -> dict[str, Any]:
    """A row per writer; `floor`: seconds that reading the bytes of a step takes, by round."""
    logger.info(
        f"{title:14} {'first, ms':>10} {'each, ms':>10} {'quartiles':>21} {'of rate':>8}   takes of cache (quartiles)"
    )
    rows = table(each, "cache")
    for name, row in rows.items():
        ms, took = row["ms"], summary(floor.over(each[name]))
        row |= {"first_ms": summary(first[name], 1e-3), "memory_share": took}
        compared = "" if name == "cache" else versus(row["ratio"], row["apart"])
        between, share = f"{ms['q1']:.4g} to {ms['q3']:.4g}", f"{took['median']:.1%}"
        logger.info(
            f"{name:14} {1e3 * first[name].median:10.4g} {ms['median']:10.4g} {between:>21} {share:>8}   {compared}"
        )
    logger.info(f"{ranking(each)}   (~: quartiles overlap, so neither is faster)")
    return rows


def _write(model: GPT, batch: int, prompt: int, tokens: int, **how: bool) -> None:
    for _ in generate(model, torch.zeros(batch, prompt, dtype=torch.long), tokens, Sampling(), **how):
        pass
