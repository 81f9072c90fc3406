"""A window in several ways: seconds and live bytes of one attention layer against the length."""

from typing import Any

from typing_extensions import TypedDict

from mingpt.benchmarks import attention
from mingpt.benchmarks.options.attention import Options
from mingpt.core.safe_parsing import Number, Whole
from mingpt.experiments.base import Lab, Measurement, Row, Sizes
from mingpt.experiments.measurements.summaries import groups
from mingpt.experiments.measurements.timing import SpreadFields, banded_lines, spread
from mingpt.report.figure_layout import log_ticks
from mingpt.report.palette import Palette
from mingpt.training.profiling import measure, peak_bytes
from mingpt.utils import pick_device

WAYS = ("full", "loop", "reference", "banded")  # reference: a product of all pairs, and a mask
SHORTEST = 256
REPEATS, LONGEST = Sizes(quick=5, full=9), Sizes(quick=4096, full=32768)
UNWINDOWED = Sizes(quick=4096, full=16384)  # the longest without a window


def _times(lab: Lab) -> list[Row]:
    """Forward and backward, one row a way and length; a way ends where it takes too long (attention.LIMITS)."""
    device, rows, length = pick_device("auto"), [], SHORTEST
    longest, rounds, full_ends = lab.pick(LONGEST), lab.pick(REPEATS), lab.pick(UNWINDOWED)
    options = Options(length=longest, window=64, heads=4, width=32, rounds=rounds)
    while length <= options.length:
        calls = {name: call for name, call in attention.calls(options, length, device).items() if name in WAYS}
        calls = {name: call for name, call in calls.items() if name != "full" or length <= full_ends}
        for name, seconds in measure(calls, device, rounds=options.rounds, warmup=1).items():
            peak = peak_bytes(calls[name], device)
            rows.append({"way": name, "length": length, "window": 64, "ms": spread(seconds, 1e-3), "peak_bytes": peak})
        length *= 2
    return rows


def _draw_times(rows: list[Row], figure: Any, look: Palette) -> None:
    time, memory = figure.subplots(1, 2)
    banded_lines(time, [{**row, "way": _way(row)} for row in rows], look, "way", "length", "ms")
    time.set(yscale="log", xlabel="positions", ylabel="forward and backward, ms")
    for way in dict.fromkeys(map(_way, rows)):
        own = [row for row in rows if _way(row) == way and row["peak_bytes"]]
        if own:
            at, peaks = [row["length"] for row in own], [row["peak_bytes"] / 1e6 for row in own]
            memory.plot(at, peaks, **look.line(way, len(at)))
    memory.set(yscale="log", xlabel="positions", ylabel="live memory at its peak, MB")
    for axes in (time, memory):
        log_ticks(axes.xaxis, {row["length"] for row in rows}, most=4)  # side by side
    figure.suptitle(f"Cost of attention with a window of {rows[0]['window']}, and without")


def time_slopes(rows: list[Row]) -> dict[str, float]:
    """Exponent of N by least squares on logarithms, over the longer half of each way's lengths."""
    slopes = {}
    for way in dict.fromkeys(row["way"] for row in rows):
        own = sorted((row for row in rows if row["way"] == way), key=lambda row: row["length"])
        late = own[len(own) // 2 :] if len(own) > 3 else own  # all where these would be too few to fit a line to
        if len(late) > 1:
            slopes[way] = attention.slope([row["length"] for row in late], [row["ms"]["median"] for row in late])
    return slopes


def _way(row: Row) -> str:
    """How it is computed; without a window, under the name that this has as a variant."""
    return "no window" if row["way"] == "full" else str(row["way"])


def _time_table(rows: list[Row]) -> list[Row]:
    """Growth of time, and time at each way's longest text."""
    slopes, table = time_slopes(rows), []
    for (way,), own in groups(rows, "way").items():
        longest = max(own, key=lambda row: row["length"])
        window = "none" if way == "full" else str(longest["window"])
        grows, ms = slopes.get(str(way)), longest["ms"]["median"]
        table.append({"computed by": way, "window": window, "time grows like N to the": grows, "N": longest["length"]})
        table[-1] |= {"ms at N": ms, "peak, MB": longest["peak_bytes"] and longest["peak_bytes"] / 1e6}
    return table


SMALLER = f"up to {LONGEST.quick:,} positions, {REPEATS.quick} repeats"


class TimesFields(TypedDict):
    way: str
    length: Whole
    window: Whole
    ms: SpreadFields
    peak_bytes: Number | None


window_times = Measurement(
    "window-times",
    _times,
    _draw_times,
    _time_table,
    smaller=SMALLER,
    timed=True,
    row=TimesFields,
    caption="Time and memory of one attention layer without a window and with one, by how that is computed, as the "
    "text grows. Line: median; shaded: quartiles.",
    variant=_way,
)
