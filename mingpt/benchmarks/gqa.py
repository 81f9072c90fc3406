"""Cost of an attention layer by its number of key/value heads: forward and backward, a token written, bytes kept."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mingpt.benchmarks.base import machine_of, ranking, summary, table, versus
from mingpt.benchmarks.options.gqa import STEPS, Options
from mingpt.distributed.threads import cpu_threads
from mingpt.models.attention.layers import AttentionConfig, GroupedQueryAttention
from mingpt.training.profiling import measure
from mingpt.utils import pick_device

logger = logging.getLogger(__name__)


def run(options: Options) -> dict[str, Any]:
    """Time every number of key/value heads, alternating.

    Returns:
        What the last line of `chargpt bench grouped` prints, a row per number of key/value heads.
    """
    device = pick_device(options.device, "device")
    with cpu_threads(options.threads):
        rows = _rows(options, device)
        machine = {**machine_of(device), "threads": torch.get_num_threads()}
    return {"bench": "grouped", **asdict(options), **machine, "rows": rows}


def _rows(options: Options, device: torch.device) -> dict[str, Any]:
    torch.manual_seed(0)
    x = torch.randn(options.batch, options.length, options.width, device=device)
    layers = {str(g): _layer(options, g).to(device) for g in range(options.heads, 0, -1) if options.heads % g == 0}
    training = measure({g: partial(_both_ways, layer, x) for g, layer in layers.items()}, device, rounds=options.rounds)
    writers = {g: _writer(layer, x) for g, layer in layers.items()}
    writing = measure(writers, device, rounds=options.rounds)
    most = str(options.heads)
    rows, tokens = table(training, most), table(writing, most)
    takes = f"takes of {most}'s"
    logger.info(
        f"{'key heads':>9} {'both ways, ms':>14} {takes:>25} {'a token, us':>12} {takes:>25} {'cache, bytes':>13}"
    )
    for g, layer in layers.items():
        us, size = summary(writing[g].divided(STEPS), 1e-6), layer.new_state(options.batch, options.length).bytes
        rows[g] |= {"token_us": us, "token_ratio": tokens[g]["ratio"], "token_apart": tokens[g]["apart"]}
        rows[g]["cache_bytes"] = size
        both, token = ("" if g == most else versus(found[g]["ratio"], found[g]["apart"]) for found in (rows, tokens))
        logger.info(f"{g:>9} {rows[g]['ms']['median']:14.4g} {both:>25} {us['median']:12.4g} {token:>25} {size:13,}")
    for what, seconds in (("both ways", training), ("a token", writing)):
        logger.info(f"{what}: {ranking(seconds)}   (~: quartiles overlap, so neither is faster)")
    return rows


def _layer(options: Options, key_heads: int) -> GroupedQueryAttention:
    config = AttentionConfig(
        n_embd=options.width,
        n_query_head=options.heads,
        n_kv_head=key_heads,
        rope=True,
        block_size=options.length,
    )
    return GroupedQueryAttention(config)


def _both_ways(layer: GroupedQueryAttention, x: Tensor) -> None:
    layer(x).output.sum().backward()


def _writer(layer: GroupedQueryAttention, x: Tensor) -> Callable[[], object]:
    """STEPS tokens, one at a time, after all but as many."""

    @torch.no_grad()
    def write() -> None:
        state.length = x.shape[1] - STEPS  # again from there
        for _ in range(STEPS):
            layer(token, state)

    state, token = layer.new_state(len(x), x.shape[1]), x[:, :1]
    with torch.no_grad():
        layer(x[:, :-STEPS], state)
    return write
