"""Tokens per second of writing, with and without the cache, next to other people's `generate`."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from mingpt.benchmarks.base import BENCHMARKS, Benchmark, Say, parse_peers, ranking, summary
from mingpt.benchmarks.worker import Worker
from mingpt.errors import require
from mingpt.generate import Sampling, generate
from mingpt.lm import ModelConfig
from mingpt.model import GPT
from mingpt.probe import Spread, measure
from mingpt.utils import DEVICES, pick_device

CLONES, PACKAGES = ("nanogpt",), ("transformers",)
BATCHES = (1, 16)
VOCABULARY = 65


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time writing, the reading of the prompt included, at batch 1 and 16.

    Attributes:
        layers: blocks
        heads: in each
        width: of the residual stream
        block_size: tokens seen at once; 0 < prompt + tokens <= block_size
        prompt: tokens that are there
        tokens: tokens to write after them
        peers: nanogpt=FOLDER, a clone of karpathy/nanoGPT; transformers, the installed package, its GPT-2 with a
            cache; both with a comma between; null: ours alone
        rounds: times that each takes its turn
        threads: CPU threads of each process
        device: where to compute; one of auto, cpu, cuda, mps; peers take the cpu alone
    """

    layers: int = 6
    heads: int = 6
    width: int = 192
    block_size: int = 256
    prompt: int = 192
    tokens: int = 64
    peers: str | None = None
    rounds: int = 5
    threads: int = 2
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "width", "block_size", "prompt", "tokens", "threads"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        require(
            self.prompt + self.tokens <= self.block_size,
            "tokens",
            self.tokens,
            f"must be at most block_size={self.block_size} less prompt={self.prompt}",
        )
        require(self.rounds >= 2, "rounds", self.rounds, "must be at least 2, for a spread")
        require(self.device in DEVICES, "device", self.device, f"must be one of {', '.join(DEVICES)}")
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
        What the last line of `chargpt bench decode` prints: tokens per second, and ratios of time to ours with a cache.
    """
    device, before = pick_device(options.device, "device"), torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        model = GPT(options.model).to(device).eval()
        rows = {f"batch {batch}": _one_batch(options, batch, model, device, say) for batch in BATCHES}
    finally:
        torch.set_num_threads(before)
    return {"bench": "decode", **asdict(options), "device": str(device), "torch": torch.__version__, "rows": rows}


def _one_batch(options: Options, batch: int, model: GPT, device: torch.device, say: Say) -> dict[str, Any]:
    shape = {"n_layer": options.layers, "n_head": options.heads, "n_embd": options.width, "batch": batch}
    shape |= {name: getattr(options, name) for name in ("block_size", "prompt", "tokens", "threads")}
    with ExitStack() as stack:
        writers: dict[str, Callable[[], object]] = {
            name: partial(_write, model, batch, options, cache)
            for name, cache in (("cache", True), ("no cache", False))
        }
        for kind, path in parse_peers(options.peers, CLONES, PACKAGES).items():
            worker = Worker(f"{kind}-writing", path, shape)
            stack.callback(worker.close)
            writers[kind] = partial(worker.steps, 1)
        seconds = measure(writers, device, rounds=options.rounds, warmup=1)
    say(f"batch {batch:<4} {'tokens/s':>10} {'quartiles':>21}   takes of our time with a cache (quartiles)")
    rows = {}
    for name, spread in seconds.items():
        rate = summary(Spread(tuple(batch * options.tokens / value for value in spread.values)))
        ratio, told = summary(spread.over(seconds["cache"])), spread.apart_from(seconds["cache"])
        rows[name] = {"tokens_per_second": rate, "ratio": ratio, "apart_from_cache": told}
        beside = f"{ratio['median']:.4g}x ({ratio['q1']:.4g} to {ratio['q3']:.4g})" if told else "not told apart"
        beside = "" if name == "cache" else beside
        between = f"{rate['q1']:.4g} to {rate['q3']:.4g}"
        say(f"{name:10} {rate['median']:10.4g} {between:>21}   {beside}")
    say(f"{ranking(seconds)}   (~: quartiles overlap, so neither is faster)")
    return rows


def _write(model: GPT, batch: int, options: Options, cache: bool) -> None:
    prompt = torch.zeros(batch, options.prompt, dtype=torch.long)
    for _ in generate(model, prompt, options.tokens, Sampling(), cache=cache):
        pass


BENCHMARKS.add("decode")(Benchmark("Time writing, with and without a cache.", Options, run))
