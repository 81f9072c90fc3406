"""Options of `chargpt bench decode`."""

from dataclasses import dataclass

from mingpt.benchmarks.benchmark import BENCHMARKS, Benchmark, run_of
from mingpt.benchmarks.options.base import ModelTiming, device_beside, gpt2, parse_peers, positive
from mingpt.core.errors import require
from mingpt.models.config import GPTConfig

CLONES, PACKAGES = ("nanogpt",), ("transformers", "x-transformers")


@dataclass(frozen=True, kw_only=True)
class Options(ModelTiming):
    """Time writing at batch 1 and 16: the first token, which takes the reading of the prompt, and each after it.

    Attributes:
        block_size: tokens seen at once; 0 < prompt + tokens <= block_size
        prompt: tokens that are there
        tokens: tokens to write after them
        compile: time the compiled step, too (see `mingpt.inference.compiled_decode`)
        peers: nanogpt=FOLDER, a clone of karpathy/nanoGPT; transformers, the installed package, its GPT-2 with a
            cache, and GELU by erf as in the others (its own tanh form takes longer); x-transformers, likewise, without
            its filter of likely tokens; commas between; null: ours alone
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
        positive(self, "block_size", "prompt")
        require(self.tokens >= 2, "tokens", self.tokens, "must be at least 2: the first is timed alone")
        require(
            self.prompt + self.tokens <= self.block_size,
            "tokens",
            self.tokens,
            f"must be at most block_size={self.block_size} less prompt={self.prompt}",
        )
        device_beside(self.peers, self.device)
        parse_peers(self.peers, CLONES, PACKAGES)

    @property
    def model(self) -> GPTConfig:
        """GPT-2's block, in these sizes."""
        sizes = {"n_layer": self.layers, "n_head": self.heads, "n_embd": self.width, "block_size": self.block_size}
        return gpt2(**sizes)


BENCHMARKS.add("decode")(
    Benchmark(
        "Time writing, with and without a cache.",
        Options,
        run_of("decode"),
        ratio="times faster ours writes a token with a cache",
        clones=CLONES,
        packages=PACKAGES,
    )
)
