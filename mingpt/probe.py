"""Cost, seen from outside: how fast this machine multiplies, and what a run will take of time and memory."""

import time
from statistics import median

import torch

from mingpt.lm import LanguageModel
from mingpt.utils import multiplies_bfloat16, synchronise

# Of the matrix rate, what a step of the default model reached on two cores (LOG.md, 2026-11-22); printed as "about".
USUAL_SHARE = 0.36
BYTES = 4  # of a float32


def matrix_rate(device: torch.device) -> float:
    """Floating-point operations per second of a square matrix product, in the type that training uses there."""
    size, dtype = (8192, torch.bfloat16) if multiplies_bfloat16(device) else (768, torch.float32)
    a = torch.rand(size, size, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    seconds = []
    for _ in range(7):
        began = time.perf_counter()
        a @ a
        synchronise(device)
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / median(seconds[2:])


def expected_memory(model: LanguageModel, tokens: int) -> int:
    """About the bytes of a training step on `tokens` tokens at once: weights, gradients, two averages, activations."""
    config = model.config
    per_layer = 24 * config.n_embd  # what the backward pass needs of one token: inputs of every product, norm and gate
    per_token = config.n_layer * per_layer + 3 * config.vocab_size
    return BYTES * (4 * model.parameter_count + tokens * per_token)
