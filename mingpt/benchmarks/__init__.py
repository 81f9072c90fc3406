"""Measurements of speed against other people's code and other ways, alternated in one run; one file each."""

from mingpt.benchmarks import attention, decode, every, grouped, growth, processes, rnn, speedrun, train_step
from mingpt.benchmarks.base import BENCHMARKS

__all__ = [
    "BENCHMARKS",
    "attention",
    "decode",
    "every",
    "grouped",
    "growth",
    "processes",
    "rnn",
    "speedrun",
    "train_step",
]
