"""The figure that answers what a comparison asks: each variant's difference from the baseline, with its interval."""

from collections.abc import Sequence
from typing import Any

from mingpt.report import columns
from mingpt.report.columns import Row
from mingpt.report.compare import Comparison
from mingpt.report.drawing import Drawing
from mingpt.report.fonts import in_lines, plain
from mingpt.report.formatting import chance, change, number
from mingpt.report.interval_plot import NAME, ROW, Interval, draw_intervals
from mingpt.report.palette import LINE, Palette, settings
from mingpt.report.plotting import require_matplotlib

WIDTH, REST = 4.5, 1.0  # inches: of a figure, of its axis and labels
LETTER = 0.02  # width of a letter of an n-gram model's name, as a part of the axis
NamedLine = tuple[str, float]  # of an n-gram model: its name, and where it stands


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
        unit = "nats per token" if result.unit == "nats" else result.unit
        label = f"validation loss minus that of\n{in_lines(result.baseline)}, {unit}"
        draw_intervals(axes, [_interval(row, palette) for row in rows], result.margin, label)
        drawn = _lines(axes, result)
    words = _words(rows, result)
    caption = " ".join(filter(None, [_caption(rows, result, drawn), f"{small}." if small else ""]))
    return Drawing(figure=figure, caption=caption, label=f"{caption} {words}")


def _interval(row: Row, palette: Palette) -> Interval:
    found = row.difference
    assert found is not None
    style = palette.dots(row.variant.name)
    return Interval(label=_name(row), mean=found.mean, low=found.low, high=found.high, style=style)


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
    for _, at in near:
        axes.axvline(at, color=LINE, lw=0.8, ls=(0, (4, 3)), zorder=0)
    for name, middle in _together(near, LETTER * (high - low)):
        place = {"xy": (middle, 1.01), "xycoords": ("data", "axes fraction")}
        axes.annotate(plain(name), **place, ha="center", color=LINE, fontsize=9)
    return bool(near)


def _together(lines: Sequence[NamedLine], letter: float) -> list[NamedLine]:
    """Return one name and its place for each group of lines whose own names would overlap."""
    groups: list[list[NamedLine]] = []
    for line in lines:
        groups.append([line])
        while len(groups) > 1 and _touch(_one_name(groups[-2]), _one_name(groups[-1]), letter):
            last = groups.pop()
            groups[-1].extend(last)
    return [_one_name(group) for group in groups]


def _one_name(lines: Sequence[NamedLine]) -> NamedLine:
    names = [*(name.removesuffix("gram") for name, _ in lines[:-1]), lines[-1][0]]
    return ", ".join(names), (lines[0][1] + lines[-1][1]) / 2


def _touch(left: NamedLine, right: NamedLine, letter: float) -> bool:
    """Whether there are fewer than two letters' widths between two names."""
    return right[1] - left[1] < letter * ((len(left[0]) + len(right[0])) / 2 + 2)


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
