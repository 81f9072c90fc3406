"""Every experiment that there is: importing this module registers them all, and loads PyTorch."""

from mingpt.experiments import attention, birnn, cache, gqa, rnn, rope, rope_gqa, symmetry, window
from mingpt.experiments.base import EXPERIMENTS

__all__ = ["EXPERIMENTS", "attention", "birnn", "cache", "gqa", "rnn", "rope", "rope_gqa", "symmetry", "window"]
