"""Every benchmark in turn with its defaults, and a picture of what takes how much of what."""

import logging
import math
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from mingpt.benchmarks.benchmark import Benchmark
from mingpt.benchmarks.options import run_all
from mingpt.core.errors import MingptError
from mingpt.report.figures import finish, measured
from mingpt.report.fonts import plain
from mingpt.report.palette import INK, Palette
from mingpt.utils import device_name

logger = logging.getLogger(__name__)

CAPTION = (
    "How many times faster than its baseline each contender is, a panel for each benchmark. Line: quartiles; hollow: "
    "no significant difference."
)
ROW, PANEL, WIDTH = 0.24, 0.75, 6.4  # inches: a bar, what a panel has around its bars, the picture


def run(options: run_all.Options) -> dict[str, Any]:
    """Run them one after the other.

    Returns:
        What the last line of `chargpt bench all` prints: what each of theirs would, by its name, or
        `{"failed": REASON}`; and under "failed" the names of those.
    """
    known, chosen = run_all.timed(lengthy=True), run_all.timed(lengthy=options.speedrun)
    prepared = {name: _options_of(benchmark, options) for name, benchmark in chosen.items()}  # rejected before any time
    results: dict[str, Any] = {}
    for name, benchmark in chosen.items():
        logger.info(f"== {name}: {benchmark.about}")
        try:
            results[name] = benchmark.run(prepared[name])
        except MingptError as error:  # a peer that does not start, say: the others have their figures
            results[name] = {"failed": str(error)}
            logger.warning(f"{name} failed: {error}")
    failed = [name for name, result in results.items() if "failed" in result]
    left_out = sorted(known.keys() - chosen.keys())
    for name in left_out:
        logger.info(f"== {name}: left out, as it takes {known[name].lengthy}; --speedrun=True has it")
    if options.figure is not None:
        draw(results, Path(options.figure))
        logger.info(f"figure: {options.figure}")
    machine = {
        "cpu": device_name(torch.device("cpu")),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    ended = {"left_out": left_out, "failed": failed}
    return {"bench": "all", **asdict(options), **machine, **ended, "results": results}


def _options_of(benchmark: Benchmark, options: run_all.Options) -> Any:
    """Its defaults, with our threads and with those of our peers that it knows."""
    takes = {field.name for field in fields(benchmark.options)}
    given = [part for part in (options.peers or "").split(",") if part]
    known = [part for part in given if part.partition("=")[0] in (*benchmark.clones, *benchmark.packages)]
    wanted = {"threads": options.threads, "peers": ",".join(known) or None}
    return benchmark.options(**{name: value for name, value in wanted.items() if name in takes})


def ratios(rows: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row that has a ratio: its name, after those of the rows around it; median, quartiles, and `apart`.

    A row that doesn't say whether it differs significantly from its baseline counts as one that does.
    """
    for name, row in rows.items():
        if isinstance(row, Mapping):
            if row.get("ratio"):
                yield prefix + name, {**row["ratio"], "apart": row.get("apart", True)}
            yield from ratios({k: v for k, v in row.items() if k != "ratio"}, f"{prefix}{name}, ")


def turned(ratio: Mapping[str, Any]) -> dict[str, Any]:
    """One over it."""
    return {**ratio, "median": 1 / ratio["median"], "q1": 1 / ratio["q3"], "q3": 1 / ratio["q1"]}


def draw(results: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Horizontal bars, a panel per benchmark, as each has a baseline of its own; longer is faster in all of them."""
    rows, known = [], run_all.timed(lengthy=True)
    for bench, result in results.items():
        label = f"{bench}: {known[bench].ratio}"
        for name, ratio in ratios(result.get("rows", {})):
            shown = turned(ratio) if known[bench].takes else ratio
            rows.append({"bench": bench, "name": name, "xlabel": label, **shown})
    best = [f"{row['bench']}, {row['name']}: {row['median']:.3g}" for row in rows]
    measured(_panels, rows, alt="; ".join(best), caption=CAPTION).save(path)


def _panels(rows: list[dict[str, Any]], figure: Any, look: Palette) -> None:
    """Medians as bars from 1, quartiles as a line, on a logarithmic axis: twice and half as much look alike.

    A bar without a significant difference from its baseline is hollow.  A ratio of 0 reaches the edge.
    """
    panels = {name: [row for row in rows if row["bench"] == name] for name in dict.fromkeys(r["bench"] for r in rows)}
    if not panels:
        return
    heights = [PANEL + ROW * len(found) for found in panels.values()]
    figure.set_size_inches(WIDTH, sum(heights))
    all_axes = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, (bench, found) in zip(all_axes, panels.items(), strict=True):
        colour, places = look.colour(bench), range(len(found))
        above = [row[key] for row in found for key in ("q1", "median", "q3") if row[key] > 0]
        low, high = min([*above, 1.0]) / 2, max([*above, 1.0])
        for y, row in zip(places, found, strict=True):
            length = max(row["median"], low) - 1
            bar = axes.barh(y, length, left=1, height=0.6, color=colour, edgecolor=colour, alpha=0.55)
            bar[0].set_fill(row["apart"])
            ends = [max(row["q1"], low), max(row["q3"], low)]
            axes.plot(ends, [y, y], color=INK, ls="-", lw=1.6, solid_capstyle="butt")
            axes.annotate(f"{row['median']:.3g}", (1.01, y), xycoords=("axes fraction", "data"), va="center")
        axes.set_xscale("log")
        _ticks(axes, 1.2 * low if min(row["q1"] for row in found) <= 0 else min(above), high)
        axes.axvline(1, color=INK, ls="-", lw=0.8)
        axes.set_yticks(places, [plain(row["name"]) for row in found])
        axes.set_ylim(len(found) - 0.4, -0.6)
        finish(axes, xlabel=found[0]["xlabel"])


def _ticks(axes: Any, low: float, high: float) -> None:
    """From half to twice, or farther where the data go, at 1, 2, 5 times powers of ten."""
    low, high = min(low / 1.2, 0.5), max(1.2 * high, 2.0)
    axes.set_xlim(low, high)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
