"""The benchmarks and their options: listed and checked before PyTorch is imported."""

from mingpt.benchmarks.benchmark import BENCHMARKS
from mingpt.benchmarks.options import (
    attention,
    decode,
    distributed,
    gqa,
    load,
    play,
    rnn,
    run_all,
    scaling,
    speedrun,
    train_step,
)

__all__ = [
    "BENCHMARKS",
    "attention",
    "decode",
    "distributed",
    "gqa",
    "load",
    "play",
    "rnn",
    "run_all",
    "scaling",
    "speedrun",
    "train_step",
]
