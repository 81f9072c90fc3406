"""A window of attention: what it costs in time and memory, and what it loses."""

from typing import Any

from mingpt.data.text_files import TINY_PATH
from mingpt.experiments.base import Experiment, Form, register
from mingpt.experiments.base_config import FULL, QUICK, STANDARD
from mingpt.experiments.measurements.context_length import loss_by_position
from mingpt.experiments.measurements.memory import memory_tasks
from mingpt.experiments.measurements.price_list import price_list
from mingpt.experiments.measurements.sensitivity import sensitivity
from mingpt.experiments.measurements.window_cost import window_times

LAYERS = 2  # of the tasks' models
WINDOWS = {"window 4": 4, "window 16": 16}
SMALL: dict[str, dict[str, Any]] = {
    name: {"type": "gpt", "n_layer": LAYERS, "n_embd": 32, "rope": True, "window": window}
    for name, window in {"no window": None, **WINDOWS}.items()
}


def farthest(layers: int, window: int) -> int:
    """Return how many places back a prediction can see, the last token being 1 back: w - 1 more with each layer."""
    return layers * (window - 1) + 1


LIMITS = {name: farthest(LAYERS, window) for name, window in WINDOWS.items()}


def _variants(*windows: int) -> dict[str, list[dict[str, int | None]]]:
    return {"no window": [{"model.window": None}], **{f"window {w}": [{"model.window": w}] for w in windows}}


register(
    Experiment(
        name="window",
        question="What does a window of attention cost, and what does it lose?",
        hypothesis=(
            "The banded kernel's time and memory grow like N, those of a product with a mask like N^2; a loop over "
            "queries grows like N or worse, from a far higher start; half the block as window loses less "
            "than 0.02 nats, since layers reach back a window each."
        ),
        variants=_variants(4, 16, 64, 128),
        common={**FULL, "data.block_size": 256, "model.rope": True},
        quick=Form(
            settings={**QUICK, "data.block_size": 128, "trainer.max_iters": 1500},
            variants=_variants(2, 8, 32),
            seeds=3,
            characters=1_000_000,
        ),
        standard=Form(settings=STANDARD, variants=_variants(4, 16, 64), data=TINY_PATH),
        margin=0.02,
        measurements=(loss_by_position, sensitivity, *memory_tasks(SMALL, LIMITS), price_list, window_times),
    )
)
