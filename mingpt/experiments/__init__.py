"""Questions, and the runs that answer them: one file an experiment, registered where it is defined.

A grid of settings times seeds becomes cells, each an ordinary run; what a run can't say is measured beside them.
"""

from mingpt.experiments import attention, birnn, cache, gqa, rnn, rope, rope_gqa, symmetry, window
from mingpt.experiments.base import EXPERIMENTS

__all__ = ["EXPERIMENTS", "attention", "birnn", "cache", "gqa", "rnn", "rope", "rope_gqa", "symmetry", "window"]
