"""Every benchmark that there is, registered."""

from mingpt.benchmarks import attention, decode, every, grouped, growth, load, processes, rnn, speedrun, train_step
from mingpt.benchmarks.base import BENCHMARKS

__all__ = [
    "BENCHMARKS",
    "attention",
    "decode",
    "every",
    "grouped",
    "growth",
    "load",
    "processes",
    "rnn",
    "speedrun",
    "train_step",
]
