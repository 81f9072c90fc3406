"""What a benchmark is; each is registered next to its options, which are checked before PyTorch is imported."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mingpt.core.registry import Registry

Run = Callable[[Any], dict[str, Any]]


@dataclass(frozen=True)
class Benchmark:
    """One thing to time.

    Attributes:
        about: one sentence, for help.
        options: the dataclass of its settings.
        run: options -> what its last line prints as JSON.
        ratio: what a figure shows of a row, "times faster": its "ratio", or with `takes` one over it; "": none has one.
        takes: whether a row's "ratio" is its time over another's, so that more is slower.
        clones, packages: peers that it can be given, as folders and as installed packages.
        lengthy: how long it takes, in words, where `bench all` leaves it out for that unless asked; "": not so long.
    """

    about: str
    options: type
    run: Run
    ratio: str = "ratio"
    takes: bool = False
    clones: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    lengthy: str = ""


BENCHMARKS: Registry[Benchmark] = Registry("bench")


def run_of(module: str) -> Run:
    """Return the function `run` of `mingpt.benchmarks.MODULE`, which is imported when that is called."""

    def run(options: Any) -> dict[str, Any]:
        found: dict[str, Any] = importlib.import_module(f"{__package__}.{module}").run(options)
        return found

    return run


def listing(program: str) -> str:
    """What there is to time, a line each, as help for `program`, which is how they are called."""
    lines = "\n".join(f"  {name:11}{BENCHMARKS[name].about}" for name in BENCHMARKS)
    return (
        f"usage: {program} [NAME] [--KEY=VALUE ...]\n\nnames:\n{lines}\n\n"
        f"Without a name: train. `{program} NAME --help` lists its settings."
    )
