"""Readings of a bidirectional layer: whether their predictions make a probability of strings, and what they cost."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from typing_extensions import TypedDict

from mingpt.core.safe_parsing import Number, Whole
from mingpt.experiments.base import Lab, Measurement, Row, Sizes
from mingpt.experiments.base_config import model_config, task_config
from mingpt.experiments.measurements.summaries import groups
from mingpt.experiments.measurements.timing import SpreadFields, banded_lines, spread
from mingpt.experiments.measurements.window_cost import time_slopes
from mingpt.model import build
from mingpt.models.base import LanguageModel, evaluating
from mingpt.models.recurrent.layers import READINGS
from mingpt.report.figure_layout import log_ticks
from mingpt.report.palette import INK, Palette
from mingpt.trainer import Trainer
from mingpt.training.profiling import measure
from mingpt.utils import derived_seed, pick_device

V, LONGEST, SEEDS = 3, 5, 3
EXACT = 1e-9  # what a sum in float64 may be off by
RANDOM = "random weights"
STEPS = Sizes(quick=200, full=1000)  # of training on random strings
LENGTHS = Sizes(quick=(32, 64, 128, 256, 512), full=(32, 64, 128, 256, 512, 1024))  # of texts whose reading is timed
WIDTH = {"sums": 16, "costs": 64}
LAYER: dict[str, Any] = {"cell": "gru", "n_layer": 1}
# Small layers of their own, and no experiment's variants.
WAYS: dict[str, dict[str, Any]] = {
    "whole text": {**LAYER, "type": "birnn", "reading": "full"},
    "each prefix": {**LAYER, "type": "birnn", "reading": "prefix"},
    "one way": {**LAYER, "type": "rnn"},
}


def total(model: LanguageModel, length: int) -> float:
    """The sum over all strings of `length` tokens after a first one of the product of what `model` gives each token: 1
    for anything that is a probability of strings."""
    strings = torch.cartesian_prod(*[torch.arange(model.config.vocab_size)] * length).view(-1, length)
    text = torch.cat((torch.zeros_like(strings[:, :1]), strings), 1)
    with evaluating(model):
        nats = model(text[:, :-1]).logits.log_softmax(-1).gather(-1, text[:, 1:, None])
    return nats.sum((1, 2)).exp().sum().item()


def _model(settings: dict[str, Any], seed: int, spread_: float) -> LanguageModel:
    """Build a model in float64; its weights are drawn with this standard deviation, 0: as they are initialised."""
    torch.manual_seed(derived_seed(seed, "weights"))
    config = model_config(**settings, n_embd=WIDTH["sums"], vocab_size=V, block_size=LONGEST)
    model = build(config).double()
    with torch.no_grad():
        for parameter in model.parameters() if spread_ else ():
            parameter.normal_(0, spread_)
    return model


def _random_strings(seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Of every length in turn; nothing in them can be predicted, so all that is learned is to copy."""
    draws = torch.Generator().manual_seed(derived_seed(seed, "strings", step))
    text = torch.randint(V, (32, 2 + step % LONGEST), generator=draws)
    return text[:, :-1], text[:, 1:]


def _trained(settings: dict[str, Any], seed: int, steps: int) -> LanguageModel:
    model = _model(settings, seed, 0.0)
    how = task_config(max_iters=steps, batch_size=32, learning_rate=1e-2)
    Trainer(how, model, partial(_random_strings, seed), seed=seed).run()
    return model


def _sums(lab: Lab) -> list[Row]:
    """Of each way to read, with random weights and taught to predict random strings: the sum for each length."""
    rows = []
    for way, settings in WAYS.items():
        for seed in range(SEEDS):
            models = {
                RANDOM: _model(settings, seed, 0.5),
                "trained on random strings": _trained(settings, seed, lab.pick(STEPS)),
            }
            for weights, model in models.items():
                for length in range(1, LONGEST + 1):
                    where = {"way": way, "weights": weights, "seed": seed, "length": length, "vocabulary": V}
                    found = total(model, length)
                    of = {"width": WIDTH["sums"], "dtype": "float64"}
                    rows.append({**where, "sum": found, "off_by": abs(found - 1), **of})
    return rows


def _draw_sums(rows: list[Row], figure: Any, look: Palette) -> None:
    figure.suptitle("Products of predictions, summed over all strings of a length")
    kinds, ways = (list(dict.fromkeys(row[key] for row in rows)) for key in ("weights", "way"))
    lengths = sorted({row["length"] for row in rows})
    copied = [rows[0]["vocabulary"] ** (length - 1) for length in lengths]
    for axes, weights in zip(figure.subplots(1, len(kinds), sharey=True), kinds, strict=True):
        axes.plot(lengths, copied, color=INK, lw=1, ls=":", label="if all but the last are copied")
        for place, way in enumerate(ways):
            own = [row for row in rows if (row["way"], row["weights"]) == (way, weights)]
            shifted = [row["length"] + 0.08 * (place - 1) for row in own]  # so that no dot hides another
            axes.plot(shifted, [row["sum"] for row in own], label=way, **look.dots(_layer_of(own[0])), ms=4.5)
        axes.axhline(1, color=INK, lw=0.8)
        axes.set(yscale="log", xlabel="symbols in a string", title=weights)
    figure.axes[0].set_ylabel("sum; 1 for a probability")
    figure.axes[0].legend(frameon=False)


def _costs(lab: Lab) -> list[Row]:
    """A forward pass over one text, without gradients, by its length."""
    device, rows = pick_device("auto"), []
    for length in lab.pick(LENGTHS):
        sizes: dict[str, Any] = {"n_embd": WIDTH["costs"], "vocab_size": 65, "block_size": length}
        models = {way: build(model_config(**settings, **sizes)).to(device).eval() for way, settings in WAYS.items()}
        idx = torch.randint(65, (1, length), generator=torch.Generator().manual_seed(0)).to(device)
        calls = {way: partial(_read, model, idx) for way, model in models.items()}
        of = {"width": WIDTH["costs"]}
        for way, seconds in measure(calls, device, rounds=7, warmup=1).items():
            reading = WAYS[way].get("reading")
            steps = READINGS[reading].work(length) if reading else length
            rows.append({"way": way, "length": length, "ms": spread(seconds, 1e-3), "positions_read": steps, **of})
    return rows


@torch.no_grad()
def _read(model: LanguageModel, idx: Tensor) -> None:
    model(idx)


def _draw_costs(rows: list[Row], figure: Any, look: Palette) -> None:
    axes, slopes = figure.subplots(), time_slopes(rows)
    banded_lines(axes, [{**row, "way": _layer_of(row)} for row in rows], look, "way", "length", "ms")
    for way, text in zip(slopes, axes.get_legend().get_texts(), strict=False):
        text.set_text(f"{way}: $T^{{{slopes[way]:.1f}}}$")
    axes.set(yscale="log", xlabel="tokens T", ylabel="reading one text, ms")
    log_ticks(axes.xaxis, {row["length"] for row in rows})
    axes.set_title(f"Time to predict all tokens of a text, GRU of width {rows[0]['width']}")


def _layer_of(row: Row) -> str:
    """The name that it has as a variant of the experiment."""
    return str(row["way"]) if row["way"] == "one way" else f"both ways on {row['way']}"


def _sum_table(rows: list[Row]) -> list[Row]:
    """The sums over the longest strings, over the seeds."""
    longest = max(row["length"] for row in rows)
    return [
        {
            "predictions read": way,
            "weights": weights,
            "symbols": longest,
            "lowest sum": min(row["sum"] for row in own),
            "highest sum": max(row["sum"] for row in own),
            "off by at most": max(row["off_by"] for row in own),
        }
        for (way, weights, length), own in groups(rows, "way", "weights", "length").items()
        if length == longest
    ]


def _cost_table(rows: list[Row]) -> list[Row]:
    slopes, longest = time_slopes(rows), max(row["length"] for row in rows)
    return [
        {"predictions read": way, "time grows like T to the": slopes.get(str(way)), f"ms of {longest} tokens": ms}
        for (way, length), own in groups(rows, "way", "length").items()
        if length == longest
        for ms in [own[0]["ms"]["median"]]
    ]


class SumsFields(TypedDict):
    way: str
    weights: str
    length: Whole
    sum: Number
    off_by: Number
    vocabulary: Whole
    width: Whole


class CostsFields(TypedDict):
    way: str
    length: Whole
    ms: SpreadFields
    width: Whole


string_sums = Measurement(
    "string-sums",
    _sums,
    _draw_sums,
    _sum_table,
    smaller=f"where trained, {STEPS.quick} steps on random strings",
    row=SumsFields,
    caption="Products of a layer's predictions, summed over all strings of a length: 1 if they are probabilities. "
    "Left: random weights; right: trained. A dot for each seed; dotted: the sum if all but the last symbol are copied.",
    variant=_layer_of,
)
prefix_cost = Measurement(
    "prefix-cost",
    _costs,
    _draw_costs,
    _cost_table,
    smaller=f"texts of up to {LENGTHS.quick[-1]} tokens",
    timed=True,
    row=CostsFields,
    caption="Time to predict every token of a text by its length T. Line: median; shaded: quartiles. The exponents are "
    "fitted to the longer half of the lengths.",
    variant=_layer_of,
)
