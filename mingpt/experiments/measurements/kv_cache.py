"""Generation with and without a KV cache: whether the text is the same, and the time of a token by its position.

Times are of eager decoding of a single text, which takes one CPU thread (`mingpt.inference.generate`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from typing_extensions import TypedDict

from mingpt.core.safe_parsing import Whole
from mingpt.experiments.base import Lab, Measurement, Row, Sizes
from mingpt.experiments.base_config import model_config
from mingpt.experiments.measurements.price_list import cache_bytes
from mingpt.experiments.measurements.summaries import by_variant
from mingpt.experiments.measurements.timing import SpreadFields, spread
from mingpt.inference.generate import Sampling, generate
from mingpt.model import build
from mingpt.models.base import LanguageModel
from mingpt.report.figure_layout import log_ticks
from mingpt.report.palette import Palette
from mingpt.training.profiling import Spread, measure
from mingpt.utils import pick_device

VARIANTS: dict[str, dict[str, Any]] = {
    "learned positions": {"rope": False},
    "RoPE": {"rope": True},
    "RoPE, window 32": {"rope": True, "window": 32},
    "RoPE, 1 key head": {"rope": True, "n_kv_head": 1},
}
CACHE, NO_CACHE = ", cache", ", no cache"  # end the name of a way to generate
POSITIONS = Sizes(quick=(16, 64, 256), full=(16, 64, 256, 1024, 4096))  # lengths of the prompts after which is timed
ROUNDS, LATER = 4, 6  # prompts of each length, and tokens after the first that are timed after each
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
    """Milliseconds of the first token after a prompt, which reads it, and of each later one; all ways in turn, token by
    token."""
    device, rows = pick_device("auto"), list[Row]()
    for position in lab.pick(POSITIONS):
        models = {name: _model(position + LATER, **settings).to(device) for name, settings in VARIANTS.items()}
        # Those with a cache one after the other: a token without one empties the processor's own caches.
        ways = {name + end: (model, end == CACHE) for end in (CACHE, NO_CACHE) for name, model in models.items()}
        first, later = ({way: list[float]() for way in ways} for _ in range(2))
        for number in range(1 + ROUNDS):  # the first warms up
            texts = {way: _text(model, position, cache) for way, (model, cache) in ways.items()}
            for seconds, tokens in ((first, 1), (later, LATER)):
                found = measure(texts, device, rounds=tokens, warmup=0)
                for way in ways if number else ():
                    seconds[way] += found[way].values
        for way, (model, cache) in ways.items():
            times = {key: spread(Spread(tuple(each[way])), 1e-3) for key, each in (("first_ms", first), ("ms", later))}
            kept = cache_bytes(model) if cache else 0
            rows.append({"way": way, "position": position, **times, "cache_bytes": kept, "device": str(device)})
    return rows


def _text(model: LanguageModel, prompt: int, cache: bool) -> Callable[[], object]:
    """Generation after a prompt of so many tokens: each call gives the next token."""
    return partial(next, generate(model, torch.arange(prompt)[None] % 65, LATER + 1, Sampling(), cache=cache))


def _draw_times(rows: list[Row], figure: Any, look: Palette) -> None:
    panels = figure.subplots(1, 2, sharey=True)
    for axes, key, title in zip(panels, ("ms", "first_ms"), ("each further token", "first token"), strict=True):
        for way in dict.fromkeys(row["way"] for row in rows if key == "ms" or not row["way"].endswith(NO_CACHE)):
            own = [row for row in rows if row["way"] == way]
            at, name, cached = [row["position"] for row in own], _model_of(own[0]), not way.endswith(NO_CACHE)
            look_ = {**look.line(name, len(at)), "ls": "-" if cached else (0, (2, 2))}
            axes.plot(at, [row[key]["median"] for row in own], label=name if cached else None, **look_)
            quartiles = ([row[key][end] for row in own] for end in ("q1", "q3"))
            axes.fill_between(at, *quartiles, alpha=0.12, lw=0, color=look.colour(name))
        axes.set(yscale="log", xlabel="tokens before it", title=title)
        log_ticks(axes.xaxis, {row["position"] for row in rows})
    panels[0].set_ylabel("ms")
    panels[0].legend(frameon=False)
    on = "one CPU thread" if rows[0]["device"] == "cpu" else rows[0]["device"]  # generation of one text takes one
    figure.suptitle(f"Time of one token on {on}; dashed: without a cache")


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
    """Medians at every second position, from the first on, a row for each model."""
    shown = sorted({row["position"] for row in rows})[::2]
    found = {(row["position"], row["way"]): row for row in rows}
    return [
        {
            "model": name,
            "tokens before": position,
            "each token with cache, ms": found[position, name + CACHE]["ms"]["median"],
            "each token without, ms": found[position, name + NO_CACHE]["ms"]["median"],
            "first token with cache, ms": found[position, name + CACHE]["first_ms"]["median"],
            "first token without, ms": found[position, name + NO_CACHE]["first_ms"]["median"],
            "cache, kB": round(found[position, name + CACHE]["cache_bytes"] / 1e3),
        }
        for position in shown
        for name in dict.fromkeys(map(_model_of, rows))
    ]


class TextsFields(TypedDict):
    tokens: Whole
    differing: Whole


class TimesFields(TypedDict):
    way: str
    position: Whole
    first_ms: SpreadFields
    ms: SpreadFields
    cache_bytes: Whole
    device: str


SMALLER = f"{TOKENS.quick} tokens generated after each of {len(PROMPTS.quick)} prompts"
same_text = Measurement("same-text", _same, table=_same_table, smaller=SMALLER, row=TextsFields)
token_times = Measurement(
    "token-times",
    _times,
    _draw_times,
    _time_table,
    smaller=f"up to position {POSITIONS.quick[-1]}",
    timed=True,
    row=TimesFields,
    caption="Time to generate one token after so many others, with a key/value cache (solid) and without (dashed). "
    "Left: each further token; right: the first one after a prompt, which reads all of it and takes as long without a "
    "cache (not drawn; in the table). One text, "
    "untrained models of 4 layers of width 128, float32, eager. Line: median of "
    f"{ROUNDS * LATER} tokens, {ROUNDS} first ones; shaded: quartiles.",
    variant=_model_of,
)
