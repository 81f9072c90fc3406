"""Cost, seen from outside: seconds, live memory, the machine's own rates, and what a run will take.

Nothing that is measured here knows of it: no timer inside a model, no cache emptied in a forward pass.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles

import torch
from torch.profiler import ProfilerActivity, profile

from mingpt.distributed.strategy import ALONE, Ranks
from mingpt.models.base import LanguageModel
from mingpt.utils import multiplies_bfloat16, synchronise

BYTES = 4  # of a float32
READ_BYTES = 2**28  # of an array that no cache of common machines holds


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing.

    Attributes:
        values: in the order taken.
    """

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third."""
        first, _, third = quantiles(self.values, n=4, method="inclusive")
        return first, third

    def over(self, other: "Spread") -> "Spread":
        """Ratios pair by pair, so that a machine whose speed drifts does not decide them."""
        return Spread(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))

    def less(self, other: "Spread") -> "Spread":
        """Differences pair by pair."""
        return Spread(tuple(a - b for a, b in zip(self.values, other.values, strict=True)))

    def divided(self, count: float) -> "Spread":
        """Of each of `count` equal parts, or in units of `count`."""
        return Spread(tuple(value / count for value in self.values))

    def apart_from(self, other: "Spread") -> bool:
        """Whether the quartiles don't overlap, so that one may be called faster."""
        return self.quartiles[1] < other.quartiles[0] or other.quartiles[1] < self.quartiles[0]


def measure(
    contestants: Mapping[str, Callable[[], object]],
    device: torch.device,
    *,
    rounds: int = 7,
    warmup: int = 2,
    least: float = 0.0,
) -> dict[str, Spread]:
    """Seconds of each call, alternated round by round after a warm-up, the device synchronised around each turn.

    Args:
        least: above 0, a turn is a call that is not timed, then 1, 2, 4 ... in a row, a card waited for after each row,
            until they lasted so many seconds: so that a quick one is judged neither by the caches that a slow one
            before it left, nor by how long the host takes to ask a card for it.
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
    """The high-water mark of memory that tensors made inside `call` hold at once; None where a device doesn't tell."""
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


def matrix_rate(device: torch.device) -> float:
    """Floating-point operations per second of a square matrix product, in the type that training uses there."""
    size, dtype = (8192, torch.bfloat16) if multiplies_bfloat16(device) else (768, torch.float32)
    a = torch.rand(size, size, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    return 2 * size**3 / measure({"product": lambda: a @ a}, device, rounds=5)["product"].median


def memory_reader(device: torch.device) -> Callable[[], object]:
    """What reads READ_BYTES bytes from memory, none from a cache: the sum of a larger array than those hold."""
    return torch.ones(READ_BYTES // BYTES, device=device).sum


def expected_memory(model: LanguageModel, tokens: int, ranks: Ranks = ALONE) -> int:
    """About the bytes of a training step on `tokens` tokens at once: weights, gradients, two averages, activations.

    Args:
        tokens: of one process.
        ranks: that share the training; the bytes are those of one process, too.
    """
    config = model.config
    per_layer = 24 * config.n_embd  # what the backward pass needs of one token: inputs of every product, norm and gate
    per_token = config.n_layer * per_layer + 3 * config.vocab_size
    return BYTES * (ranks.held(model, model.stages) + tokens * per_token)
