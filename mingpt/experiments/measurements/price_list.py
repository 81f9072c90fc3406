"""The price list of an experiment's models: a training step and a decoded token, in time and memory, by length.

The variants are those of the experiment, as large as its trials train them, at lengths far beyond its block.  What
they learned changes no price, so the weights are new ones.  Eager, float32 on a CPU; variants alternate, step by step
and token by token.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from typing_extensions import TypedDict

from mingpt.core.safe_parsing import Count, Number
from mingpt.experiments.base import Lab, Measurement, Row, Sizes
from mingpt.experiments.measurements.summaries import by_variant, groups
from mingpt.experiments.measurements.timing import SpreadFields, banded_lines, spread
from mingpt.inference.generate import Sampling, generate
from mingpt.model import build
from mingpt.models.base import LanguageModel
from mingpt.report.figure_layout import log_ticks
from mingpt.report.formatting import counted
from mingpt.report.palette import Palette
from mingpt.runs.config import Config
from mingpt.trainer import Trainer
from mingpt.training.profiling import Spread, measure, peak_bytes
from mingpt.training.trainer_config import TrainerConfig
from mingpt.utils import pick_device

logger = logging.getLogger(__name__)

LENGTHS = Sizes(quick=(256, 512), full=(1024, 2048, 4096, 8192, 16384))
SHOWN = (1, 4, 16)  # times the shortest length: the rows of the table
MOST, FEWEST, TOKENS_A_ROUND = 9, 3, 3 * 8192  # timed steps of a variant: as many tokens, within these limits
DECODED = 32  # tokens that are timed
VOCABULARY, WARM_UP = 65, 64  # tokens


def _take(lab: Lab) -> list[Row]:
    """One row for each variant and length; the variants are those of the finished trials."""
    device, rows = pick_device("auto"), list[Row]()
    configs = {trial.variant: trial.configs[-1] for trial in lab.trials}
    for length in lab.pick(LENGTHS):
        rounds = min(max(TOKENS_A_ROUND // length, FEWEST), MOST)
        models = {name: _model(config, length).to(device) for name, config in configs.items()}
        trainers = {name: _trainer(configs[name], model, length) for name, model in models.items()}
        peaks = {name: peak_bytes(trainer.step, device) for name, trainer in trainers.items()}
        steps = measure({name: each.step for name, each in trainers.items()}, device, rounds=rounds, warmup=0)
        tokens = _decoding(models, length, device)
        logger.info(f"  length {length:,}: {rounds} steps and {DECODED} tokens of each of {len(models)} variants")
        rows += [
            {
                "arm": name,
                "length": length,
                "step_ms": spread(steps[name], 1e-3),
                "peak_bytes": peaks[name],
                "token_us": spread(tokens[name], 1e-6),
                "cache_bytes": cache_bytes(model),
                "threads": torch.get_num_threads(),
                "device": str(device),
            }
            for name, model in models.items()
        ]
    return rows


def _model(config: Config, length: int) -> LanguageModel:
    torch.manual_seed(0)
    return build(replace(config.model, vocab_size=VOCABULARY, block_size=length))


def _trainer(config: Config, model: LanguageModel, length: int) -> Trainer:
    """A trainer with the experiment's optimizer and batches of one random text; it has made a first, short step, which
    allocates what the optimizer keeps."""
    assert isinstance(config.trainer, TrainerConfig)
    ids = torch.randint(VOCABULARY, (1, length + 1), generator=torch.Generator().manual_seed(0))

    def batch(step: int) -> tuple[Tensor, Tensor]:
        short = ids[:, : min(WARM_UP, length) + 1] if step == 0 else ids
        return short[:, :-1].to(model.device), short[:, 1:].to(model.device)

    settings = replace(config.trainer, batch_size=1, accumulation=1, compile="never")
    trainer = Trainer(settings, model.train(), batch, device=model.device)
    trainer.step()
    return trainer


def _decoding(models: Mapping[str, LanguageModel], length: int, device: torch.device) -> dict[str, Spread]:
    """Seconds of each of the last DECODED tokens of a text of `length`, with the cache."""
    prompt = torch.randint(VOCABULARY, (1, length - DECODED), generator=torch.Generator().manual_seed(0))
    texts: dict[str, Iterator[Tensor]] = {
        name: generate(model.eval(), prompt, DECODED + 1, Sampling()) for name, model in models.items()
    }
    for text in texts.values():
        next(text)  # reads the prompt into the cache
    return measure({name: partial(next, text) for name, text in texts.items()}, device, rounds=DECODED, warmup=0)


def cache_bytes(model: LanguageModel) -> int:
    """Bytes of the keys and values that all layers of a GPT keep of one text as long as its block."""
    state: Any = model.new_state(1)
    return sum(layer.cache.bytes for layer in state.layers)


PANELS = (
    ("step_ms", "training step, ms", 1.0),
    ("peak_bytes", "memory of a step, MB", 1e6),
    ("token_us", "decoded token, µs", 1.0),
    ("cache_bytes", "cache of a text, MB", 1e6),
)


def _draw(rows: list[Row], figure: Any, look: Palette) -> None:
    """Four panels: time and memory of a training step above, of decoding below."""
    figure.set_figheight(5.0)
    panels = figure.subplots(2, 2, sharex=True)
    for axes, (key, title, unit) in zip(panels.flat, PANELS, strict=True):
        if isinstance(rows[0][key], dict):
            banded_lines(axes, rows, look, "arm", "length", key)
            axes.get_legend().remove()
        else:
            _lines(axes, [row for row in rows if row[key] is not None], look, key, unit)
        axes.set(yscale="log", title=title)
        log_ticks(axes.xaxis, {row["length"] for row in rows})
    for axes in panels[1]:
        axes.set_xlabel("length, tokens")
    panels[0, 0].legend(frameon=False)
    threads, device = rows[0]["threads"], rows[0]["device"]
    on = f"training on {counted(threads, 'CPU thread')}, decoding on 1" if device == "cpu" else device
    figure.suptitle(f"Price by length, {on}")


def _lines(axes: Any, rows: list[Row], look: Palette, key: str, unit: float) -> None:
    for variant, own in by_variant(rows).items():
        at = [row["length"] for row in own]
        axes.plot(at, [row[key] / unit for row in own], label=variant, **look.line(variant, len(at)))


def _table(rows: list[Row]) -> list[Row]:
    """A row for each variant at 1, 4 and 16 times the shortest length, and its step's time against the first's."""
    shortest = min(row["length"] for row in rows)
    kept = {(row["length"], row["arm"]): row for row in rows if row["length"] // shortest in SHOWN}
    first = {length: own[0]["step_ms"]["median"] for (length,), own in groups(list(kept.values()), "length").items()}
    return [
        {
            "variant": variant,
            "length": length,
            "training step, ms": _digits(row["step_ms"]["median"]),
            "step time / baseline's": _digits(row["step_ms"]["median"] / first[length]),
            "memory of a step, MB": _digits(row["peak_bytes"], 1e6),
            "decoded token, µs": _digits(row["token_us"]["median"]),
            "cache of a text, MB": _digits(row["cache_bytes"], 1e6),
        }
        for (length, variant), row in kept.items()
    ]


def _digits(value: float | None, unit: float = 1.0) -> float | None:
    """The value in units, to three digits, or without decimals."""
    if value is None:
        return None
    found = value / unit
    return round(found) if found >= 100 else float(f"{found:.3g}")


class RowFields(TypedDict):
    arm: str
    length: Count
    step_ms: SpreadFields
    peak_bytes: Number | None
    token_us: SpreadFields
    cache_bytes: Count
    threads: Count
    device: str


price_list = Measurement(
    "price-list",
    _take,
    _draw,
    _table,
    smaller=f"texts of {LENGTHS.quick[0]} and {LENGTHS.quick[1]} tokens",
    timed=True,
    row=RowFields,
    caption="What each variant costs as the text grows: one text, new weights, float32, eager. Above: one training "
    "step (forward, backward, optimizer), its time and its memory: the most bytes that tensors made during the step "
    "take at once, weights and what the optimizer keeps not counted. Below: decoding one more token after a text of "
    "this length, its time, and the key/value cache of all layers, computed. Line: median of repeats that alternate "
    f"between the variants; shaded: quartiles. Repeats: {DECODED} tokens; {MOST} steps, fewer of long texts, at least "
    f"{FEWEST}.",
)
