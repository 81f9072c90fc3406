"""Numbers and values as text, for pages, tables and terminals."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mingpt.core.statistics import Difference, Estimate

FLOP_UNITS = (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6))
NONE = "–"  # of a value that there is not


def number(value: float) -> str:
    """Three decimals, or two significant digits where three decimals would say little: 0.041, 0.0042."""
    if value == 0 or abs(value) >= 0.01:
        return f"{value:.3f}"
    return str(np.format_float_positional(value, precision=2, unique=False, fractional=False, trim="-"))


def chance(p: float) -> str:
    """`0.004`, or `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def estimate(value: Estimate) -> str:
    """`1.603 ± 0.013`: a mean and half the width of its interval; the mean alone where there is no interval."""
    return f"{number(value.mean)}{_half(value)}"


def change(value: Estimate | Difference) -> str:
    """The same of a difference, with its sign: `+0.012 ± 0.003`."""
    sign = "+" if value.mean > 0 else ""
    return f"{sign}{number(value.mean)}{_half(value)}"


def _half(value: Estimate | Difference) -> str:
    return "" if value.low is None or value.high is None else f" ± {number((value.high - value.low) / 2)}"


def seconds(value: float, kind: str = "") -> str:
    """`0.25 s`, `94 s`, `12 min`; of a kind `94 CPU s`, `12 CPU min`."""
    kind = f"{kind} " if kind else ""
    if value >= 600:
        return f"{value / 60:,.0f} {kind}min"
    return f"{value:.0f} {kind}s" if value >= 10 else f"{value:.2g} {kind}s"


def flops(value: float) -> str:
    """`5.69 TFLOP`, `430 GFLOP`: a number of floating-point operations."""
    unit, size = next(((unit, size) for unit, size in FLOP_UNITS if value >= size), ("FLOP", 1.0))
    scaled = value / size
    return f"{scaled:.0f} {unit}" if scaled >= 100 else f"{scaled:.3g} {unit}"


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
    """A setting's value as a command line would have it; NONE of None."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return NONE if value is None else str(value)


def heading(name: str) -> str:
    """`Loss by position` of a measurement's name, `loss-by-position`."""
    return f"{name[:1].upper()}{name[1:]}".replace("-", " ")


def integer(value: float) -> str:
    """`16,044`."""
    return f"{value:,.0f}"


def losses(values: Mapping[str, float]) -> str:
    """`1-gram 3.30, 2-gram 2.49`."""
    return ", ".join(f"{name} {loss:.2f}" for name, loss in values.items())
