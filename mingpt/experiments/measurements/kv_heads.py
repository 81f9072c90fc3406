"""An attention layer with fewer key/value heads: seconds of prefill and of decoding, operations, size of the cache."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import TypedDict

from mingpt.benchmarks import gqa
from mingpt.benchmarks.options.gqa import Options
from mingpt.core.safe_parsing import Whole
from mingpt.experiments.base import Lab, Measurement, Row, Sizes
from mingpt.experiments.measurements.timing import SpreadFields, spread
from mingpt.models.attention.layers import GroupedQueryAttention
from mingpt.models.base import ModelConfig
from mingpt.report.palette import INK, Palette
from mingpt.training.profiling import measure
from mingpt.utils import pick_device

HEADS, REPEATS = 6, 51
LENGTH = Sizes(quick=128, full=512)  # of the prompt


def _take(lab: Lab) -> list[Row]:
    """Time the prefill (a prompt, no gradients) here; training and decoding are timed by `chargpt bench gqa`."""
    device, width, length = pick_device("auto"), 192, lab.pick(LENGTH)
    options = Options(heads=HEADS, width=width, length=length, batch=4, rounds=REPEATS)
    timed = gqa.run(options)["rows"]
    torch.manual_seed(0)
    x = torch.randn(4, length, width, device=device)
    layers = {count: _layer(width, length, int(count)).to(device) for count in timed}
    reading = measure({count: partial(_read, layer, x) for count, layer in layers.items()}, device, rounds=REPEATS)
    size = {"width": width, "length": length, "batch": 4, "device": str(device)}
    return [
        {
            "key_heads": int(count),
            "prefill_ms": spread(reading[count], 1e-3),
            "training_ms": timed[count]["ms"],
            "token_us": timed[count]["token_us"],
            "cache_bytes": timed[count]["cache_bytes"],
            "kv_projection_flops_per_token": 2 * (layer.k_proj.weight.numel() + layer.v_proj.weight.numel()),
            "repeats": REPEATS,
            **size,
        }
        for count, layer in layers.items()
    ]


def _layer(width: int, length: int, key_heads: int) -> GroupedQueryAttention:
    config = ModelConfig(n_embd=width, n_query_head=HEADS, n_kv_head=key_heads, rope=True, block_size=length)
    return GroupedQueryAttention(config)


@torch.no_grad()
def _read(layer: nn.Module, x: Tensor) -> None:
    layer(x)


def _draw(rows: list[Row], figure: Any, look: Palette) -> None:
    counts = [str(row["key_heads"]) for row in rows]
    colours = [look.colour(_named(row)) for row in rows]
    for axes, key, title in zip(
        figure.subplots(1, 3),
        ("prefill_ms", "token_us", "cache_bytes"),
        ("prompt, ms", "one token, µs", "cache, KiB"),
        strict=True,
    ):
        values = [row[key] for row in rows]
        if isinstance(values[0], dict):
            middle = [value["median"] for value in values]
            below = [max(value["median"] - value["q1"], 0) for value in values]
            above = [max(value["q3"] - value["median"], 0) for value in values]
            axes.bar(counts, middle, yerr=[below, above], capsize=3, ecolor=INK, color=colours)
        else:
            axes.bar(counts, [value / 1024 for value in values], color=colours)
        axes.set(title=title, xlabel="key/value heads")
    figure.suptitle("One attention layer by its key/value heads")


def _named(row: Row) -> str:
    return f"key heads {row['key_heads']}"


def _table(rows: list[Row]) -> list[Row]:
    return [
        {
            "key/value heads": str(row["key_heads"]),
            "prompt, ms": row["prefill_ms"]["median"],
            "one token, µs": row["token_us"]["median"],
            "cache, bytes": row["cache_bytes"],
        }
        for row in rows
    ]


class RowFields(TypedDict):
    key_heads: Whole
    prefill_ms: SpreadFields
    token_us: SpreadFields
    cache_bytes: Whole
    repeats: Whole


head_times = Measurement(
    "head-times",
    _take,
    _draw,
    _table,
    smaller=f"a prompt of {LENGTH.quick} tokens",
    timed=True,
    row=RowFields,
    caption="One attention layer by its key/value heads: time for a prompt, time for one more token, size of the "
    "cache. Bar: median; line: quartiles.",
    variant=_named,
)
