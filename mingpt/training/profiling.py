"""Timing, memory and peak rates, measured from outside: no timer and no synchronisation in a forward pass."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles

import torch
from torch.profiler import ProfilerActivity, profile

from mingpt.distributed.strategy import SINGLE_PROCESS, ProcessGroup
from mingpt.models.base import LanguageModel
from mingpt.models.config import NeuralConfig
from mingpt.utils import multiplies_bfloat16, synchronise

BYTES = 4  # of a float32
READ_BYTES = 2**28  # larger than the caches of common machines


@dataclass(frozen=True)
class Spread:
    """Repeated measurements of one quantity.

    Attributes:
        values: measurements, in order
    """

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median of the values."""
        return median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile."""
        first, _, third = quantiles(self.values, n=4, method="inclusive")
        return first, third

    def over(self, other: "Spread") -> "Spread":
        """Return the ratios pair by pair, which a drift of the machine's speed doesn't affect."""
        return Spread(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))

    def less(self, other: "Spread") -> "Spread":
        """Return the differences pair by pair."""
        return Spread(tuple(a - b for a, b in zip(self.values, other.values, strict=True)))

    def divided(self, count: float) -> "Spread":
        """Return the values divided by `count`."""
        return Spread(tuple(value / count for value in self.values))

    def apart_from(self, other: "Spread") -> bool:
        """True if the ranges between quartiles don't overlap."""
        return self.quartiles[1] < other.quartiles[0] or other.quartiles[1] < self.quartiles[0]


def measure(
    contestants: Mapping[str, Callable[[], object]],
    device: torch.device,
    *,
    rounds: int = 7,
    warmup: int = 2,
    least: float = 0.0,
) -> dict[str, Spread]:
    """Time calls in seconds, alternating round by round, with the device synchronised around each.

    Args:
        contestants: calls to time, by name
        device: device to synchronise
        rounds: timed rounds
        warmup: rounds before them
        least: seconds per turn; if above 0, a turn is one untimed call and then 1, 2, 4, ... calls in a row, with a
            synchronisation after each row, so that neither cold caches nor launch latency dominate fast calls
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(warmup + rounds):
        for name, call in contestants.items():
            taken = _timed(call, device, least)
            if number >= warmup:
                seconds[name].append(taken)
    return {name: Spread(tuple(values)) for name, values in seconds.items()}


def _timed(call: Callable[[], object], device: torch.device, least: float) -> float:
    if least:
        call()
    row, calls, taken = 1, 0, 0.0
    while not calls or taken < least:
        taken += _seconds(call, device, row)
        row, calls = 2 * row, calls + row
    return taken / calls


def _seconds(call: Callable[[], object], device: torch.device, calls: int) -> float:
    synchronise(device)
    began = time.perf_counter()
    for _ in range(calls):
        call()
    synchronise(device)
    return time.perf_counter() - began


def peak_bytes(call: Callable[[], object], device: torch.device) -> int | None:
    """Return the peak memory, in bytes, of tensors allocated inside `call`; None if the device doesn't report it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        return None
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        call()
    results = recorded.profiler.kineto_results
    events = sorted((event.start_ns(), event.nbytes()) for event in results.events() if event.name() == "[memory]")
    live = peak = 0
    for _, change in events:
        live += change
        peak = max(peak, live)
    return peak


def peak_matmul_flops(device: torch.device) -> float:
    """Return the FLOP/s of a square matrix product, in the type that training uses on `device`."""
    size, dtype = (8192, torch.bfloat16) if multiplies_bfloat16(device) else (768, torch.float32)
    a = torch.rand(size, size, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    return 2 * size**3 / measure({"product": lambda: a @ a}, device, rounds=5)["product"].median


def memory_reader(device: torch.device) -> Callable[[], object]:
    """Return a function that reads READ_BYTES bytes from memory: the sum of an array larger than the caches."""
    return torch.ones(READ_BYTES // BYTES, device=device).sum


def expected_memory(model: LanguageModel, tokens: int, processes: ProcessGroup = SINGLE_PROCESS) -> int:
    """Return the approximate memory, in bytes per process, of a training step: parameters' state and activations.

    Args:
        model: the model
        tokens: tokens per micro-batch of one process
        processes: the processes that share the training
    """
    config = model.config
    assert isinstance(config, NeuralConfig)
    per_layer = 24 * config.n_embd  # saved for the backward pass per token: inputs of products, norms and gates
    per_token = config.n_layer * per_layer + 3 * config.vocab_size
    return BYTES * (processes.parameters_held(model, model.stages) + tokens * per_token)
