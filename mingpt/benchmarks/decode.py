"""Milliseconds of writing a token, with and without the cache, next to other people's `generate`.

The first token, which takes the reading of the prompt, is timed alone as well and taken off the others' time.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from mingpt.benchmarks.base import (
    BENCHMARKS,
    Benchmark,
    Say,
    Timing,
    cpu_threads,
    parse_peers,
    positive,
    ranking,
    summary,
    versus,
)
from mingpt.benchmarks.worker import Worker
from mingpt.errors import require
from mingpt.generate import Sampling, generate
from mingpt.lm import ModelConfig
from mingpt.model import GPT
from mingpt.probe import measure
from mingpt.utils import pick_device

CLONES, PACKAGES = ("nanogpt",), ("transformers",)
BATCHES = (1, 16)
VOCABULARY = 65


@dataclass(frozen=True, kw_only=True)
class Options(Timing):
    """Time writing at batch 1 and 16: the first token, which takes the reading of the prompt, and each after it.

    Attributes:
        layers: blocks
        heads: in each
        width: of the residual stream
        block_size: tokens seen at once; 0 < prompt + tokens <= block_size
        prompt: tokens that are there
        tokens: tokens to write after them
        compile: time the compiled step, too (see `mingpt.stepping`)
        peers: nanogpt=FOLDER, a clone of karpathy/nanoGPT; transformers, the installed package, its GPT-2 with a
            cache; both with a comma between; null: ours alone
    """

    layers: int = 6
    heads: int = 6
    width: int = 192
    block_size: int = 256
    prompt: int = 192
    tokens: int = 64
    compile: bool = False
    peers: str | None = None
    rounds: int = 5
    threads: int = 2
    device: str = "cpu"

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "layers", "heads", "width", "block_size", "prompt", "threads")
        require(self.tokens >= 2, "tokens", self.tokens, "must be at least 2: the first is timed alone")
        require(
            self.prompt + self.tokens <= self.block_size,
            "tokens",
            self.tokens,
            f"must be at most block_size={self.block_size} less prompt={self.prompt}",
        )
        require(not self.peers or self.device == "cpu", "device", self.device, "must be cpu, where peers are")
        parse_peers(self.peers, CLONES, PACKAGES)

    @property
    def model(self) -> ModelConfig:
        """GPT-2's block, whatever our defaults become."""
        parts = {"norm": "layernorm", "mlp": "gelu", "bias": True, "qk_norm": False, "rope": False, "init": "gpt2"}
        return ModelConfig(
            n_layer=self.layers,
            n_query_head=self.heads,
            n_embd=self.width,
            block_size=self.block_size,
            vocab_size=VOCABULARY,
            **parts,  # type: ignore[arg-type]
        )


def run(options: Options, say: Say) -> dict[str, Any]:
    """Time every writer at every batch, alternating.

    Returns:
        What the last line of `chargpt bench decode` prints: ms of the first token and of each later one, and ratios of
        those to ours with a cache.
    """
    device = pick_device(options.device, "device")
    with cpu_threads(options.threads):
        model = GPT(options.model).to(device).eval()
        rows = {f"batch {batch}": _one_batch(options, batch, model, device, say) for batch in BATCHES}
    return {"bench": "decode", **asdict(options), "device": str(device), "torch": torch.__version__, "rows": rows}


def _one_batch(options: Options, batch: int, model: GPT, device: torch.device, say: Say) -> dict[str, Any]:
    shape = {"n_layer": options.layers, "n_head": options.heads, "n_embd": options.width, "batch": batch}
    shape |= {name: getattr(options, name) for name in ("block_size", "prompt", "threads")}
    own = {"cache": {"cache": True}, "no cache": {"cache": False}}
    own |= {"compiled": {"compile": True}} if options.compile else {}
    names = [*own, *parse_peers(options.peers, CLONES, PACKAGES)]
    with ExitStack() as stack:
        writers: dict[str, Callable[[], object]] = {}
        for tokens in (1, options.tokens):
            for name, how in own.items():
                writers[f"{name} {tokens}"] = partial(_write, model, batch, options.prompt, tokens, **how)
            for kind, path in parse_peers(options.peers, CLONES, PACKAGES).items():
                worker = Worker(f"{kind}-writing", path, shape | {"tokens": tokens})
                stack.callback(worker.close)
                writers[f"{kind} {tokens}"] = partial(worker.steps, 1)
        seconds = measure(writers, device, rounds=options.rounds, warmup=1)
    first = {name: seconds[f"{name} 1"] for name in names}
    each = {name: seconds[f"{name} {options.tokens}"].less(first[name]).divided(options.tokens - 1) for name in names}
    say(f"batch {batch:<7} {'first, ms':>10} {'each, ms':>10} {'quartiles':>21}   takes of cache (quartiles)")
    rows = {}
    for name in names:
        ms, ratio, told = (
            summary(each[name], 1e-3),
            summary(each[name].over(each["cache"])),
            each[name].apart_from(each["cache"]),
        )
        rows[name] = {"first_ms": summary(first[name], 1e-3), "ms": ms, "ratio": ratio, "apart_from_cache": told}
        beside = "" if name == "cache" else versus(ratio, told)
        between = f"{ms['q1']:.4g} to {ms['q3']:.4g}"
        say(f"{name:13} {1e3 * first[name].median:10.4g} {ms['median']:10.4g} {between:>21}   {beside}")
    say(f"{ranking(each)}   (~: quartiles overlap, so neither is faster)")
    return rows


def _write(model: GPT, batch: int, prompt: int, tokens: int, **how: bool) -> None:
    for _ in generate(model, torch.zeros(batch, prompt, dtype=torch.long), tokens, Sampling(), **how):
        pass


BENCHMARKS.add("decode")(Benchmark("Time writing, with and without a cache.", Options, run))
