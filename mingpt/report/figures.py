"""The figures of a comparison and of a measurement, in one look.

A figure is 4.5 inches wide, so that a phone shows its letters large enough.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mingpt.core.run_files.curves import Curve, mean_curve
from mingpt.report.compare import Comparison, Variant
from mingpt.report.drawing import Drawing
from mingpt.report.figure_layout import tidy
from mingpt.report.fonts import in_lines
from mingpt.report.formatting import losses, number
from mingpt.report.palette import INK, QUIET, Palette, settings
from mingpt.report.panels import GREY, LOSS, draw_lines, fit_height, grid, name_baseline, others
from mingpt.report.plotting import require_matplotlib

WIDTH, HEIGHT, LEGEND_ROW = 4.5, 3.1, 0.19  # inches
MEASURED = (5.0, 3.6)  # inches, of a measurement's figure
VALIDATION, TRAINING = "validation loss", "training loss, smoothed"
BOTH = f"{VALIDATION} and smoothed training loss"
Draw = Callable[[list[dict[str, Any]], Any, Palette], None]


def finish(axes: Any, **labels_: str) -> None:
    """The look of every figure: ink for all that is no data, no box, small letters."""
    axes.set(**labels_)
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(INK)
    axes.tick_params(colors=INK, labelsize=9)
    for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
        text.set(color=INK, fontsize=9.5)


def legend(figure: Any, rows: int) -> None:
    """Below the axes, a row a variant, or several of a long name."""
    if rows:
        found = figure.legend(loc="outside lower left", frameon=False, fontsize=9, labelcolor=INK, handlelength=3.4)
        found.set_in_layout(True)


def loss_curves(
    result: Comparison, *, over: str = "steps", small: str = "", palette: Palette | None = None
) -> Drawing | None:
    """Draw loss against `steps`, `seconds` or `flops`: a panel for each variant, with the baseline's mean in grey.

    A variant's mean is thick, each of its seeds thin, n-gram lines are named.  Validation loss where it was computed
    along the way, else smoothed training loss, and the picture says which; of a lone run both.  None without a curve.

    Args:
        small: what the quick form makes smaller; written in the figure.
        palette: looks of the variants; None: in their order.
    """
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # 0.5 s, and only where a picture is drawn
    from matplotlib.ticker import EngFormatter

    palette = palette or Palette(each.name for each in result.variants)
    kind, lines = _kinds(result, palette)
    points = {line.name: len(getattr(mean_curve(line.curves), over)) if line.curves else 0 for line in lines}
    several = not _is_lone(result) and max(points.values(), default=0) > 1
    fewest = 2 if several else 1  # a single point is no curve where other variants have one
    drawn = [line for line in lines if points[line.name] >= fewest]
    if not drawn:
        return None
    across = result.baselines if VALIDATION in kind else {}
    x_label = {"steps": "optimizer step", "flops": "training FLOPs"}.get(over, f"{result.clock} seconds of training")
    x_label = x_label.strip()
    with rc_context(settings()):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        labelled = {"xlabel": x_label, "ylabel": f"{'loss' if kind == BOTH else kind}, {_unit(result, kind)}"}
        if _is_lone(result) or len(drawn) == 1:
            _in_one(figure, drawn, over, across, labelled)
        else:
            _in_panels(figure, drawn, over, palette, across, labelled)
        if over == "flops":
            for axes in figure.axes:
                axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        _write_small(figure, small)
    absent = [line.name for line in lines if line not in drawn]
    label = " ".join(filter(None, [_alt(result, kind, x_label, across), _sentence(small)]))
    return Drawing(figure=figure, caption=_caption(kind, x_label, drawn, absent, across), label=label)


def _in_one(
    figure: Any, lines: Sequence["Line"], over: str, across: Mapping[str, float], labelled: Mapping[str, str]
) -> None:
    """Draw the kinds of loss of one run, or the seeds of one variant."""
    figure.set_figheight(HEIGHT + LEGEND_ROW * sum(in_lines(line.name).count("\n") + 1 for line in lines))
    axes = figure.subplots()
    for line in lines:
        _draw(axes, line, over)
    draw_lines([axes], across, every=len(lines) > 1)
    finish(axes, **labelled)
    legend(figure, len(lines))


def _in_panels(
    figure: Any,
    lines: Sequence["Line"],
    over: str,
    palette: Palette,
    across: Mapping[str, float],
    labelled: Mapping[str, str],
) -> None:
    names = [line.name for line in lines]
    axes = grid(figure, others(names), palette, x_label=labelled["xlabel"], y_label=labelled["ylabel"])
    fit_height(figure, axes, HEIGHT)
    middle = mean_curve(lines[0].curves)
    for line, each in zip(lines[1:], axes, strict=True):
        each.plot(getattr(middle, over), middle.losses, **GREY, marker="o" if len(middle.steps) == 1 else "")
        _draw(each, line, over)
    draw_lines(axes, across)
    name_baseline(figure, names)


class Line(NamedTuple):
    """What is drawn as one line: its name in the legend, its seeds' curves, its look."""

    name: str
    curves: list[Curve]
    look: dict[str, Any]


def _kinds(result: Comparison, palette: Palette) -> tuple[str, list[Line]]:
    """What kind of loss is drawn, and the line of each variant; of a lone run its two kinds of loss."""
    if _is_lone(result):
        return _of_one_run(result.variants[0], palette)
    evaluated = any(len(curve.steps) > 1 for each in result.variants for curve in each.curves)
    kind, lines = VALIDATION if evaluated else TRAINING, []
    for each in result.variants:
        curves = [curve for curve in (each.curves if evaluated else each.training) if curve.steps]
        lines.append(Line(each.name, curves, palette.line(each.name, len(mean_curve(curves).steps)) if curves else {}))
    return kind, lines


def _is_lone(result: Comparison) -> bool:
    return len(result.variants) == 1 and len(result.variants[0].runs) == 1


def _of_one_run(variant: Variant, palette: Palette) -> tuple[str, list[Line]]:
    training, evaluated = ([curve for curve in curves if curve.steps] for curves in (variant.training, variant.curves))
    quiet = {"color": QUIET, "ls": "-", "lw": 1.2, "marker": "o" if training and len(training[0].steps) == 1 else ""}
    lines = [Line(TRAINING, training, quiet)] if training else []
    if evaluated:
        lines.append(Line(VALIDATION, evaluated, palette.line(variant.name, len(evaluated[0].steps))))
    return BOTH if len(lines) > 1 else lines[0].name if lines else "", lines


def _caption(kind: str, x_label: str, lines: Sequence[Line], absent: Sequence[str], across: Mapping[str, float]) -> str:
    sentences = [f"{kind[:1].upper()}{kind[1:]}, by {x_label}."]
    several = max(len(line.curves) for line in lines) > 1
    sentences += ["Thick line: mean over a variant's seeds; thin lines: each seed."] if several else []
    sentences += [f"Grey in each panel: {lines[0].name}, the baseline."] if len(lines) > 1 and kind != BOTH else []
    sentences += [f"Without such a curve: {', '.join(absent)}."] if absent else []
    sentences += ["Dashed across: what n-gram models reach on the same text."] if across else []
    return " ".join(sentences)


def _unit(result: Comparison, kind: str) -> str:
    return result.unit if kind == VALIDATION and result.unit != "nats" else "nats per token"


def _draw(axes: Any, line: Line, over: str) -> None:
    for curve in line.curves if len(line.curves) > 1 else []:
        axes.plot(getattr(curve, over), curve.losses, color=line.look["color"], ls="-", lw=0.7, alpha=0.4)
    middle = mean_curve(line.curves)
    axes.plot(getattr(middle, over), middle.losses, label=in_lines(line.name), **line.look)


def _alt(result: Comparison, kind: str, x_label: str, lines: Mapping[str, float]) -> str:
    """What the figure shows, in words: the last loss of every variant, and the n-gram lines."""
    ends = [f"{each.name} {number(each.loss.mean)}" for each in result.variants if each.loss is not None]
    sentences = [
        f"{kind[0].upper()}{kind[1:]} against {x_label}.",
        f"Last validation loss, {result.unit}: {', '.join(ends)}." if ends else "",
        f"N-gram baselines: {losses(lines)}." if lines else "",
    ]
    return " ".join(filter(None, sentences))


def measured(
    draw: Draw,
    rows: list[dict[str, Any]],
    *,
    palette: Palette | None = None,
    lines: Mapping[str, float] | None = None,
    small: str = "",
    alt: str = "",
    caption: str = "",
) -> Drawing:
    """A measurement's figure in the look of all others.

    Args:
        draw: (rows, matplotlib Figure, palette) draws it.
        palette: looks of what is named in the rows; None: by the order in which it is drawn.
        lines: what n-gram models reach, where every axis is a validation loss of the same text in the same blocks.
        small: what the quick form makes smaller; written in the figure.
        alt: the values, for those who can't see the figure.
        caption: what is shown, and what lines and colours mean; empty: its titles.
    """
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(settings()):
        figure = Figure(figsize=MEASURED, layout="constrained")
        draw(rows, figure, palette or Palette())
        titles = [each.get_suptitle() for each in (figure, *figure.subfigs)]
        titles += [axes.get_title() for axes in figure.axes]
        tidy(figure)
        draw_lines([axes for axes in figure.axes if axes.get_label() == LOSS], lines or {})
        _write_small(figure, small)
        pairs = [(each.get_ylabel() or figure.get_supylabel(), each.get_xlabel()) for each in figure.axes]
        axes_ = [f"{y_label} against {x_label}" for y_label, x_label in pairs if x_label and y_label]
    sentences = [_sentence(text) for text in dict.fromkeys([alt, *titles, *axes_, small]) if text]
    return Drawing(
        figure=figure,
        caption=caption or " ".join(_sentence(text) for text in dict.fromkeys(titles) if text),
        label=" ".join(sentences),
    )


def _write_small(figure: Any, small: str) -> None:
    """Below everything else."""
    if small:
        room = 0.2 / figure.get_figheight()
        figure.set_figheight(figure.get_figheight() + 0.2)
        figure.get_layout_engine().set(rect=(0, room, 1, 1 - room))
        figure.text(0.995, 0.03 / figure.get_figheight(), small, ha="right", va="bottom", fontsize=8, color=INK)


def _sentence(text: str) -> str:
    """As a sentence of a description."""
    line = " ".join(text.replace("$", "").split())
    return f"{line[:1].upper()}{line[1:]}{'' if line.endswith('.') or not line else '.'}"
