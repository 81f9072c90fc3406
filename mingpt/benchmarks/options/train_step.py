"""Options of `chargpt bench train`."""

from dataclasses import dataclass
from typing import Any

from mingpt.benchmarks.benchmark import BENCHMARKS, Benchmark, run_of
from mingpt.benchmarks.options.base import Rounds, parse_peers
from mingpt.core.errors import require
from mingpt.core.registry import Registry, did_you_mean
from mingpt.core.torchrun_env import STRATEGIES

SHAPES: Registry[dict[str, Any]] = Registry("shape")
SHAPES.add("A")({"n_layer": 6, "n_head": 6, "n_embd": 192, "block_size": 16, "batch_size": 64})
SHAPES.add("B")({"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64, "batch_size": 12})
SHAPES.add("C")({"n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 256, "batch_size": 8})
# GPT-2's smallest, 124M parameters, its vocabulary rounded up as nanoGPT does.
GPT2_124M = {"n_layer": 12, "n_head": 12, "n_embd": 768, "block_size": 1024, "vocab_size": 50304}
SHAPES.add("gpt2")({**GPT2_124M, "batch_size": 128, "accumulation": 4})
PEERS, CUDA_PEERS = ("mingpt", "mingpt-trainer", "nanogpt"), ("nanogpt",)


@dataclass(frozen=True, kw_only=True)
class Options(Rounds):
    """Time a training step, next to other people's where you have clones of them.

    Attributes:
        shape: A: 6 layers of width 192, block 16, batch 64; B: 4, 128, 64, 12; C: 6, 384, 256, 8; gpt2: the 124M of
            GPT-2, block 1024, batch 128 in four parts
        peers: KIND=FOLDER,...: clones of mingpt (karpathy/minGPT, its step), mingpt-trainer (with its own loop and
            loader) or nanogpt (karpathy/nanoGPT); null: ours alone
        through: ddp, fsdp, or both with a comma: ours through that engine as well, with no other process; null: neither
        compile: time compiled steps, too, ours and nanogpt's; on cuda all are, in bfloat16, and no others are timed
        dropout: probability, in all of them
        device: where to train: cpu or cuda, where nanogpt is the only peer
    """

    shape: str = "A"
    peers: str | None = None
    through: str | None = None
    compile: bool = False
    dropout: float = 0.0
    device: str = "cpu"
    threads: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        SHAPES[self.shape]
        require(0 <= self.dropout < 1, "dropout", self.dropout, "must be in [0, 1)")
        require(self.device in ("cpu", "cuda"), "device", self.device, "must be cpu or cuda")
        parse_peers(self.peers, PEERS if self.device == "cpu" else CUDA_PEERS)
        for strategy in strategies_of(self):
            rule = f"must be of {', '.join(STRATEGIES)}{did_you_mean(strategy, STRATEGIES)}"
            require(strategy in STRATEGIES, "through", strategy, rule)


def strategies_of(options: Options) -> list[str]:
    return [] if options.through is None else options.through.split(",")


BENCHMARKS.add("train")(
    Benchmark(
        "Time a training step against other projects'.",
        Options,
        run_of("train_step"),
        ratio="times faster ours makes a step",
        clones=PEERS,
    )
)
