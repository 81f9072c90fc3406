"""How a benchmark times, and where: what the options of several have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mingpt.core.errors import require
from mingpt.core.paths import expanded
from mingpt.core.system_config import DEVICES
from mingpt.models.config import GPTConfig
from mingpt.report.drawing import require_format

VOCABULARY = 65  # tokens, as many as tinyshakespeare has characters
# GPT-2's block as nanoGPT has it, GELU by erf, and its one table for reading in and out, whatever our defaults become.
GPT2 = {"norm": "layernorm", "mlp": "gelu_erf", "bias": True, "qk_norm": False, "rope": False, "init": "gpt2"}
GPT2 |= {"tie_embeddings": True}


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How often a benchmark times, and with how many threads.

    Attributes:
        rounds: times that each takes its turn
        threads: CPU threads of each process; 0: as many as PyTorch chooses
    """

    rounds: int = 7
    threads: int = 0

    def __post_init__(self) -> None:
        require(self.rounds >= 2, "rounds", self.rounds, "must be at least 2, for a spread")
        require(self.threads >= 0, "threads", self.threads, "must be 0 or more")


@dataclass(frozen=True, kw_only=True)
class Timing(Rounds):
    """How a benchmark times, and where.

    Attributes:
        device: where to compute; one of auto, cpu, cuda, mps; with peers auto is cpu, where they compute
    """

    device: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.device in DEVICES, "device", self.device, f"must be one of {', '.join(DEVICES)}")


@dataclass(frozen=True, kw_only=True)
class ModelTiming(Timing):
    """How large the GPT is that a benchmark times.

    Attributes:
        layers: blocks of the model
        heads: query heads, and as many key heads
        width: width of the residual stream
    """

    layers: int
    heads: int
    width: int

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "layers", "heads", "width")


def positive(options: object, *names: str) -> None:
    """Check that the fields `names` are at least 1."""
    for name in names:
        require(getattr(options, name) >= 1, name, getattr(options, name), "must be at least 1")


def writable_figure(figure: str | None) -> None:
    """Reject a `figure` that is no .svg, .png or .pdf file, or that lies in a folder that there isn't."""
    if figure is not None:
        require_format("figure", Path(figure))


def parse_peers(text: str | None, clones: Sequence[str], packages: Sequence[str] = ()) -> dict[str, str]:
    """`CLONE=FOLDER,PACKAGE,...` -> the folder of each kind; "" for an installed package.

    Raises:
        UsageError: an unknown kind, a clone that isn't there, or a folder given for a package.
    """
    peers: dict[str, str] = {}
    for part in (text or "").split(","):
        kind, given, path = part.partition("=")
        path = expanded(path)
        if part:
            require(kind in (*clones, *packages), "peers", part, f"must be of {', '.join((*clones, *packages))}")
            require(
                kind in packages or bool(path and Path(path).is_dir()), "peers", part, "must be KIND=FOLDER of a clone"
            )
            require(kind in clones or not given, "peers", part, f"must be {kind} alone: it is an installed package")
            peers[kind] = path
    return peers


def device_beside(peers: str | None, device: str) -> str:
    """Where to compute with `peers`, all of which compute on the CPU.

    Raises:
        UsageError: there are peers, and another device is asked for.
    """
    require(not peers or device in ("auto", "cpu"), "device", device, "must be cpu, where peers are")
    return "cpu" if peers else device


def gpt2(*, n_head: int, vocab_size: int = VOCABULARY, **sizes: Any) -> GPTConfig:
    """The model that is timed against other GPT-2s."""
    return GPTConfig(n_query_head=n_head, vocab_size=vocab_size, **{**GPT2, **sizes})
