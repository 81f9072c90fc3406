"""The figure that answers what a comparison asks: each variant's difference from the baseline, with its interval."""

from collections.abc import Sequence
from typing import Any

from mingpt.report import columns
from mingpt.report.columns import Row
from mingpt.report.compare import Comparison
from mingpt.report.drawing import Drawing
from mingpt.report.fonts import in_lines, plain
from mingpt.report.formatting import chance, change, number
from mingpt.report.palette import INK, LINE, QUIET, Palette, settings
from mingpt.report.plotting import require_matplotlib

WIDTH, ROW, REST = 4.5, 0.44, 1.0  # inches: of a figure, of each variant, of axis and labels
NAME = 20  # letters of a variant's name in a line


def differences(result: Comparison, *, small: str = "", palette: Palette | None = None) -> Drawing | None:
    """Draw each variant's validation loss minus the baseline's, paired over seeds, with its 95 % interval.

    The margin of equivalence is shaded; n-gram models' losses are lines, where they lie near.  None where no variant
    shares two seeds with the baseline.

    Args:
        small: what the quick form makes smaller; said in the caption.
        palette: looks of the variants; None: in their order.
    """
    rows = [row for row in columns.rows_of(result) if row.difference]
    if not rows:
        return None
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    palette = palette or Palette(each.name for each in result.variants)
    with rc_context(settings()):
        figure = Figure(figsize=(WIDTH, REST + ROW * len(rows)), layout="constrained")
        axes = figure.subplots()
        _draw(axes, rows, result, palette)
        drawn = _lines(axes, result)
        _label(axes, rows, result)
    words = _words(rows, result)
    caption = " ".join(filter(None, [_caption(rows, result, drawn), f"{small}." if small else ""]))
    return Drawing(figure=figure, caption=caption, label=f"{caption} {words}")


def _draw(axes: Any, rows: Sequence[Row], result: Comparison, palette: Palette) -> None:
    axes.axvspan(-result.margin, result.margin, color=QUIET, alpha=0.18, lw=0, zorder=0)
    axes.axvline(0, color=QUIET, lw=1.5, zorder=1)
    for place, row in enumerate(rows):
        found = row.difference
        assert found is not None
        look = palette.dots(row.variant.name)
        if found.low is not None and found.high is not None:
            axes.plot([found.low, found.high], [place, place], color=look["color"], ls="-", lw=2.2)
        axes.plot([found.mean], [place], ms=7, **look)
    axes.set_ylim(len(rows) - 0.45, -0.55)


def _lines(axes: Any, result: Comparison) -> bool:
    """Draw n-gram models that lie near the variants, named above; return whether there are any."""
    baseline = _baseline_loss(result)
    low, high = axes.get_xlim()
    room = 0.35 * (high - low)
    above = [(name, loss - baseline) for name, loss in result.baselines.items()]
    near = [(name, at) for name, at in sorted(above, key=lambda line: line[1]) if low - room <= at <= high + room]
    reached = [at for _, at in near]
    axes.set_xlim(min([low, *(at - 0.05 * room for at in reached)]), max([high, *(at + 0.05 * room for at in reached)]))
    low, high = axes.get_xlim()
    together: list[list[tuple[str, float]]] = []  # lines whose names would touch
    for line in near:
        axes.axvline(line[1], color=LINE, lw=0.8, ls=(0, (4, 3)), zorder=0)
        if together and line[1] - together[-1][-1][1] <= 0.14 * (high - low):
            together[-1].append(line)
        else:
            together.append([line])
    for lines in together:
        names = ", ".join([*(name.removesuffix("gram") for name, _ in lines[:-1]), lines[-1][0]])
        middle = (lines[0][1] + lines[-1][1]) / 2
        place = {"xy": (middle, 1.01), "xycoords": ("data", "axes fraction")}
        axes.annotate(plain(names), **place, ha="center", color=LINE, fontsize=9)
    return bool(near)


def _label(axes: Any, rows: Sequence[Row], result: Comparison) -> None:
    axes.locator_params(axis="x", nbins=5)
    axes.set_yticks(range(len(rows)), [_name(row) for row in rows])
    axes.tick_params(colors=INK, labelsize=9)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    unit = "nats per token" if result.unit == "nats" else result.unit
    baseline = in_lines(result.baseline)
    axes.set_xlabel(f"validation loss minus that of\n{baseline}, {unit}", fontsize=9.5, color=INK)


def _name(row: Row) -> str:
    """Name, outcome and p of a variant, as the labels of an axis have them."""
    assert row.test is not None
    tested = row.test.outcome if row.test.p is None else f"{row.test.outcome}, p {chance(row.test.p)}"
    return f"{in_lines(row.variant.name, NAME)}\n{tested}"


def _baseline_loss(result: Comparison) -> float:
    loss = next(each for each in result.variants if each.name == result.baseline).loss
    assert loss is not None
    return loss.mean


def _caption(rows: Sequence[Row], result: Comparison, dashed: bool) -> str:
    baseline = _baseline_loss(result)
    four = result.baselines.get(columns.FOUR_GRAM)
    absent = [each.name for each in result.variants if each.loss is None]
    sentences = [
        f"Difference of the validation loss from that of {result.baseline}, {number(baseline)} {result.unit}: mean and "
        "95 % interval, paired by seed; p of the paired t-test after Holm's correction.",
        f"Left is better. Shaded: ±{result.margin:g}; an interval inside it means equivalent, if the difference is not "
        "significant.",
        "Dashed: n-gram models." if dashed else "",
        f"The 4-gram lies at {four - baseline:+.3f}." if four is not None else "",
        f"Without a validation loss: {', '.join(absent)}." if absent else "",
    ]
    return " ".join(filter(None, sentences))


def _words(rows: Sequence[Row], result: Comparison) -> str:
    found = [
        f"{row.variant.name} {change(row.difference)} ({row.test.outcome})"
        for row in rows
        if row.difference and row.test
    ]
    return f"Differences, {result.unit}: {', '.join(found)}."
