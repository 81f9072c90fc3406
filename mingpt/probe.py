"""Cost, seen from outside: how fast this machine multiplies, and what a run will take of time and memory."""

import time
from statistics import median

import torch

from mingpt.lm import LanguageModel

# Of the machine's matrix rate, what a training step of a small model reaches here; a guess that is printed as "about".
USUAL_SHARE = 0.6
BYTES = 4  # of a float32


def matrix_rate(device: torch.device) -> float:
    """Floating-point operations per second of a square matrix product, in the type that training uses there."""
    on_cuda = device.type == "cuda"
    size, dtype = (8192, torch.bfloat16) if on_cuda else (768, torch.float32)
    a = torch.randn(size, size, device=device, dtype=dtype)
    seconds = []
    for _ in range(7):
        began = time.perf_counter()
        a @ a
        if on_cuda:
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / median(seconds[2:])


def expected_memory(model: LanguageModel, tokens: int) -> int:
    """About the bytes of a training step on `tokens` tokens at once: weights, gradients, two averages, activations."""
    config = model.config
    per_layer = 24 * config.n_embd  # what the backward pass needs of one token: inputs of every product, norm and gate
    per_token = config.n_layer * per_layer + 3 * config.vocab_size
    return BYTES * (4 * model.parameter_count + tokens * per_token)
