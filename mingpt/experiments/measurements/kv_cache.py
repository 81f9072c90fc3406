"""Generation with and without a KV cache: whether the text is the same, and the time of a token by its position."""

import time
from typing import Any

import torch
from typing_extensions import TypedDict

from mingpt.core.safe_parsing import Whole
from mingpt.experiments.base import Lab, Measurement, Row, Sizes
from mingpt.experiments.base_config import model_config
from mingpt.experiments.measurements.summaries import by_variant
from mingpt.experiments.measurements.timing import SpreadFields, spread
from mingpt.inference.generate import Sampling, generate
from mingpt.model import build
from mingpt.models.base import LanguageModel
from mingpt.report.palette import Palette
from mingpt.training.profiling import Spread
from mingpt.utils import pick_device, synchronise

VARIANTS: dict[str, dict[str, Any]] = {
    "learned positions": {"rope": False},
    "RoPE": {"rope": True},
    "RoPE, window 32": {"rope": True, "window": 32},
    "RoPE, 1 key head": {"rope": True, "n_kv_head": 1},
}
CACHE, NO_CACHE = ", cache", ", no cache"  # end the name of a way to generate
REPEATS = 5
LENGTH = Sizes(quick=256, full=1024)  # of the longest text whose tokens are timed
TOKENS, PROMPTS = Sizes(quick=40, full=400), Sizes(quick=(1, 50), full=(1, 16, 60))  # of texts that are compared


def _model(block_size: int, **settings: Any) -> LanguageModel:
    """Untrained: what a token costs does not depend on what was learned."""
    torch.manual_seed(0)
    return build(model_config(vocab_size=65, block_size=block_size, **settings)).eval()


def _same(lab: Lab) -> list[Row]:
    """Tokens that differ, of texts drawn at several temperatures past the end of the block; in float64, so that no tie
    is broken by rounding."""
    rows, tokens, prompts = [], lab.pick(TOKENS), lab.pick(PROMPTS)
    for name, settings in VARIANTS.items():
        model = _model(64, **settings).double()
        for prompt in prompts:
            for temperature in (0.0, 0.8):
                start, sampling = torch.arange(prompt)[None] % 65, Sampling(temperature=temperature, past_block="exact")
                texts = [
                    torch.stack(list(generate(model, start, tokens, sampling, cache=cache))) for cache in (True, False)
                ]
                differing = int((texts[0] != texts[1]).sum())
                where = {"arm": name, "prompt": prompt, "temperature": temperature}
                rows.append({**where, "tokens": tokens, "differing": differing, "dtype": "float64", "trained": False})
    return rows


def _times(lab: Lab) -> list[Row]:
    """Milliseconds of the token at each of some positions, the device synchronised before and after it."""
    length, device = lab.pick(LENGTH), pick_device("auto")
    positions = [p for p in (8, 16, 32, 64, 128, 192, 256, 512, 768, 1024) if p <= length]
    rows = []
    for name, settings in VARIANTS.items():
        model = _model(length, **settings).to(device)
        for cache in (True, False):
            seconds = [_each(model, length - 1, cache, device) for _ in range(REPEATS)]
            for position in positions:
                # Neighbours stand in for more repeats of one position.
                near = [run[p] for run in seconds for p in range(position - 6, position - 1)]
                way = f"{name}{CACHE if cache else NO_CACHE}"
                rows.append({"way": way, "position": position, "ms": spread(Spread(tuple(near)), 1e-3)})
    return rows


def _each(model: LanguageModel, tokens: int, cache: bool, device: torch.device) -> list[float]:
    seconds, before = [], time.perf_counter()
    start = torch.zeros(1, 1, dtype=torch.long)
    for _ in generate(model, start, tokens, Sampling(), cache=cache):
        synchronise(device)
        seconds.append(time.perf_counter() - before)
        before = time.perf_counter()
    return seconds


def _draw_times(rows: list[Row], figure: Any, look: Palette) -> None:
    axes = figure.subplots()
    for way in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == way]
        at, name, cached = [row["position"] for row in own], _model_of(own[0]), not way.endswith(NO_CACHE)
        look_ = {**look.line(name, len(at)), "ls": "-" if cached else (0, (2, 2))}
        axes.plot(at, [row["ms"]["median"] for row in own], label=way, **look_)
        quartiles = ([row["ms"][end] for row in own] for end in ("q1", "q3"))
        axes.fill_between(at, *quartiles, alpha=0.12, lw=0, color=look.colour(name))
    axes.set(yscale="log", xlabel="position of the token", ylabel="ms for this token")
    axes.set_title("Time to generate one token")
    axes.legend()


def _model_of(row: Row) -> str:
    return str(row["way"]).removesuffix(NO_CACHE).removesuffix(CACHE)


def _same_table(rows: list[Row]) -> list[Row]:
    return [
        {
            "model": variant,
            "tokens generated": sum(row["tokens"] for row in own),
            "different with a cache": sum(row["differing"] for row in own),
        }
        for variant, own in by_variant(rows).items()
    ]


def _time_table(rows: list[Row]) -> list[Row]:
    """Medians at the last position."""
    last = max(row["position"] for row in rows)
    ms = {row["way"]: row["ms"]["median"] for row in rows if row["position"] == last}
    return [
        {
            "model": name,
            "position": last,
            "with cache, ms": ms.get(name + CACHE),
            "without, ms": ms.get(name + NO_CACHE),
        }
        for name in dict.fromkeys(map(_model_of, rows))
    ]


class TextsFields(TypedDict):
    tokens: Whole
    differing: Whole


class TimesFields(TypedDict):
    way: str
    position: Whole
    ms: SpreadFields


SMALLER = f"{TOKENS.quick} tokens generated after each of {len(PROMPTS.quick)} prompts"
same_text = Measurement("same-text", _same, table=_same_table, smaller=SMALLER, row=TextsFields)
token_times = Measurement(
    "token-times",
    _times,
    _draw_times,
    _time_table,
    smaller=f"up to position {LENGTH.quick}",
    timed=True,
    row=TimesFields,
    caption="Time to generate the token at each position, with a key/value cache (solid) and without (dotted). Line: "
    "median; shaded: quartiles.",
    variant=_model_of,
)
