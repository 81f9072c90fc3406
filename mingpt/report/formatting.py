"""Numbers and values as people read them, in a page as in a terminal."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mingpt.report.statistics import Estimate

NONE = "–"  # where there is nothing to say


def number(value: float) -> str:
    """Three decimals, or two significant digits where three decimals would say little: 0.041, 0.0042."""
    if value == 0 or abs(value) >= 0.01:
        return f"{value:.3f}"
    return str(np.format_float_positional(value, precision=2, unique=False, fractional=False, trim="-"))


def chance(p: float) -> str:
    """`p = 0.004`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.0995 else f"p = {p:.2f}"


def sentence(text: str) -> str:
    """Ends in a full stop; begins as it does, since a name may come first."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def said(text: str) -> str:
    """A sentence of its own: a letter that begins it is a capital, unless it begins a setting's or a file's name."""
    first = text.split(" ", 1)[0]
    return sentence(text if re.search(r"[^a-z'’-]", first.rstrip(",:;")) else f"{text[:1].upper()}{text[1:]}")


def estimate(value: Estimate | None, seeds: int | None = None) -> str:
    """`1.603 (1.590 to 1.616)`; with the number it is of where it is fewer than all `seeds`: `1.603, 2 of 3 seeds`."""
    if value is None:
        return NONE
    interval = "" if value.low is None or value.high is None else f" ({number(value.low)} to {number(value.high)})"
    fewer = f", {value.n} of {seeds} seeds" if seeds is not None and value.n < seeds else ""
    return f"{number(value.mean)}{interval}{fewer}"


def seconds(value: float) -> str:
    """`0.25 s`, `94 s`, `12 min`."""
    if value >= 600:
        return f"{value / 60:,.0f} min"
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"


def duration(seconds: float) -> str:
    """As `7 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def counted(value: int, noun: str) -> str:
    """`1 seed`, `2 seeds`, `16,044 steps`."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def millions(value: float) -> str:
    """`1.7`, `52.0`; two digits of what is smaller: `0.0042`."""
    return f"{value / 1e6:,.1f}" if value >= 1e6 else number(value / 1e6)


def expected(seconds: float, memory: float) -> str:
    """An estimate of `seconds` and of `memory`, bytes: `about 89 s and 0.1 GB`, `less than 1 s and about 12 MB`."""
    size = f"{memory / 1e9:,.1f} GB" if memory >= 95e6 else f"{max(memory / 1e6, 1):,.0f} MB"
    return f"less than 1 s and about {size}" if seconds < 1 else f"about {duration(seconds)} and {size}"


def setting(value: Any) -> str:
    """As a command line would have it."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return NONE if value is None else str(value)


def decimals(value: float | None) -> str:
    """Three of them."""
    return NONE if value is None else f"{value:.3f}"


def integer(value: int | None) -> str:
    """`16,044`."""
    return NONE if value is None else f"{value:,}"


def parameters(value: int | None) -> str:
    """`16,044`; of a model that has none, why."""
    return "none: counts" if value == 0 else integer(value)


def mega(value: float | None) -> str:
    """In millions."""
    return NONE if value is None else f"{value / 1e6:,.2f}"


def lines(losses: Mapping[str, float]) -> str:
    """`1-gram 3.30, 2-gram 2.49`."""
    return ", ".join(f"{name} {loss:.2f}" for name, loss in losses.items())


FORMS = {
    form.__name__: form
    for form in (sentence, said, estimate, seconds, setting, decimals, integer, parameters, mega, lines)
}
