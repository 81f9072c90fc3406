"""What there is to time, and what each benchmark may be told: known, and checked, before PyTorch is imported."""

from typing import NamedTuple

from mingpt.benchmarks.options import (
    attention,
    decode,
    every,
    grouped,
    growth,
    load,
    processes,
    rnn,
    speedrun,
    train_step,
)
from mingpt.registry import Registry


class Offer(NamedTuple):
    """A benchmark to choose.

    Attributes:
        about: one sentence, for help.
        options: the dataclass of its settings.
    """

    about: str
    options: type


OFFERED: Registry[Offer] = Registry("bench")
OFFERED.add("attention")(Offer("Time a sliding window in several ways.", attention.Options))
OFFERED.add("decode")(Offer("Time writing, with and without a cache.", decode.Options))
OFFERED.add("all")(Offer("Run each of the others, one after the other.", every.Options))
OFFERED.add("grouped")(Offer("Time a layer with fewer key/value heads.", grouped.Options))
OFFERED.add("growth")(Offer("Time a training step as it grows along four axes.", growth.Options))
OFFERED.add("load")(Offer("Time training and decoding beside busy processes.", load.Options))
OFFERED.add("processes")(Offer("Train with several processes and with one.", processes.Options))
OFFERED.add("rnn")(Offer("Time a recurrence beside PyTorch's.", rnn.Options))
OFFERED.add("speedrun")(Offer("Time whole trainings to a loss.", speedrun.Options))
OFFERED.add("train")(Offer("Time a training step against other projects'.", train_step.Options))


def listing(program: str) -> str:
    """What there is to time, a line each, as help for `program`, which is how they are called."""
    lines = "\n".join(f"  {name:11}{OFFERED[name].about}" for name in OFFERED)
    return (
        f"usage: {program} [NAME] [--KEY=VALUE ...]\n\nnames:\n{lines}\n\n"
        f"Without a name: train. `{program} NAME --help` lists its settings."
    )
