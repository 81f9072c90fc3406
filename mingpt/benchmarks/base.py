"""What a benchmark is, and what all of them print."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mingpt.errors import require
from mingpt.lm import ModelConfig
from mingpt.paths import expanded
from mingpt.probe import Spread
from mingpt.registry import Registry
from mingpt.say import Say
from mingpt.system import DEVICES
from mingpt.utils import training_type


@dataclass(frozen=True)
class Benchmark:
    """One thing to time.

    Attributes:
        about: one sentence, for help.
        options: the dataclass of its settings.
        run: (options, say) -> what its last line prints as JSON.
        ratio: what a figure shows of a row, "times faster": its "ratio", or with `takes` one over it; "": none has one.
        takes: whether a row's "ratio" is its time over another's, so that more is slower.
        clones, packages: peers that it can be given, as folders and as installed packages.
        lengthy: how long it takes, in words, where `bench all` leaves it out for that unless asked; "": not so long.
    """

    about: str
    options: type
    run: Callable[[Any, Say], dict[str, Any]]
    ratio: str = "ratio"
    takes: bool = False
    clones: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    lengthy: str = ""


BENCHMARKS: Registry[Benchmark] = Registry("bench")
VOCABULARY = 65  # tokens, as many as tinyshakespeare has characters
# GPT-2's block as nanoGPT has it, GELU by erf, and its one table for reading in and out, whatever our defaults become.
GPT2 = {"norm": "layernorm", "mlp": "gelu_erf", "bias": True, "qk_norm": False, "rope": False, "init": "gpt2"}
GPT2 |= {"tie_embeddings": True}


def gpt2(*, n_head: int, vocab_size: int = VOCABULARY, **sizes: Any) -> ModelConfig:
    """The model that is timed beside other people's GPT-2s."""
    return ModelConfig(n_query_head=n_head, vocab_size=vocab_size, **{**GPT2, **sizes})


def told_of(device: torch.device) -> dict[str, str]:
    """What a record says of where it was made: the device and a card's name, what it trains in, PyTorch's version."""
    card = {"card": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    kind = str(training_type(device)).removeprefix("torch.")
    return {"device": str(device), **card, "dtype": kind, "torch": torch.__version__}


def listing(program: str) -> str:
    """What there is to time, a line each, as help for `program`, which is how they are called."""
    lines = "\n".join(f"  {name:11}{BENCHMARKS[name].about}" for name in BENCHMARKS)
    return (
        f"usage: {program} [NAME] [--KEY=VALUE ...]\n\nnames:\n{lines}\n\n"
        f"Without a name: train. `{program} NAME --help` lists its settings."
    )


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
        device: where to compute; one of auto, cpu, cuda, mps; beside peers auto is cpu, where they compute
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
        heads: of queries, and of keys
        width: of the residual stream
    """

    layers: int
    heads: int
    width: int

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "layers", "heads", "width")


def positive(options: object, *names: str) -> None:
    """Refuse those of the fields `names` that are below 1."""
    for name in names:
        require(getattr(options, name) >= 1, name, getattr(options, name), "must be at least 1")


def writable_svg(figure: str | None) -> None:
    """Refuse a `figure` that is no .svg file, or that lies in a folder that there isn't."""
    if figure is not None:
        path = Path(figure)
        require(path.suffix == ".svg", "figure", path, "must end in .svg")
        require(path.parent.is_dir(), "figure", path, "must lie in a folder that there is")


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """As many threads inside; 0: as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
    """Where to compute beside `peers`, all of which compute on the CPU.

    Raises:
        UsageError: there are peers, and another device is asked for.
    """
    require(not peers or device in ("auto", "cpu"), "device", device, "must be cpu, where peers are")
    return "cpu" if peers else device


def summary(spread: Spread, unit: float = 1.0) -> dict[str, float]:
    """Median and quartiles, in `unit`s."""
    low, high = spread.quartiles
    return {"median": rounded(spread.median / unit), "q1": rounded(low / unit), "q3": rounded(high / unit)}


def rounded(value: float) -> float:
    """To four digits that count."""
    return float(f"{value:.4g}")


def ranking(seconds: dict[str, Spread]) -> str:
    """`a < b ~ c`: the fastest first; ~ where the quartiles of two neighbours overlap, so that neither is faster."""
    names = sorted(seconds, key=lambda name: seconds[name].median)
    line = names[0]
    for before, name in itertools.pairwise(names):
        line += f" {'<' if seconds[before].apart_from(seconds[name]) else '~'} {name}"
    return line


def table(seconds: dict[str, Spread], baseline: str, *, faster: bool = False) -> dict[str, dict[str, Any]]:
    """A row for each: `ms`, its `ratio` to the baseline, by round, and whether the two are `apart`.

    Args:
        faster: the ratio is how many times faster than the baseline it is, else how many times as long it takes.
    """
    base, rows = seconds[baseline], {}
    for name, spread in seconds.items():
        ratio = base.over(spread) if faster else spread.over(base)
        rows[name] = {"ms": summary(spread, 1e-3), "ratio": summary(ratio), "apart": spread.apart_from(base)}
    return rows


def versus(ratio: dict[str, float], told: bool) -> str:
    """`1.61x (1.54 to 1.8)`, or that the two can't be told apart."""
    return f"{ratio['median']:.4g}x ({ratio['q1']:.4g} to {ratio['q3']:.4g})" if told else "not told apart"
