"""Pictures of a comparison, as SVG text that stands in a page or in a file of its own.

A figure is drawn in INK and in the colours of ARMS; `svg` then makes these follow the reader's light or dark scheme,
and gives the picture a name for whoever can't see it.  It is 4.5 inches wide, so that a phone shows its letters large
enough.
"""

import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from mingpt.report.compare import Comparison
from mingpt.report.curves import Curve, mean_curve
from mingpt.report.loss_picture import labels
from mingpt.report.tidy import tidy
from mingpt.report.words import number

INK, PAPER = "#010203", "#fdfeff"  # stand for the reader's text and page
ARMS = ("#0072b2", "#c2570c", "#00805a", "#a8327d", "#7a6a00", "#5b4fc4", "#b3261e", "#4d6273")  # 4.5:1 on white
DARK = ("#5db8f5", "#f0954e", "#3fc79a", "#ea86c4", "#d3bd3b", "#a79df5", "#ff8a80", "#a4bac9")  # 7:1 on black
LINE, LINE_DARK = "#8a4416", "#e0a070"  # what counting reaches
ALIKE = {"#0b5cad": ARMS[0], "#9aa7b8": LINE, "#000000": INK}  # colours that measurements name, and what they become
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
WIDTH, HEIGHT, LEGEND_ROW = 4.5, 3.1, 0.19  # inches
MEASURED = (5.0, 3.6)  # inches, of a measurement's figure
LONGEST = 64  # characters of a name beside an axis
LINE_OF_LEGEND, LONGEST_IN_LEGEND = 46, 184  # characters that stand in a line of a legend, and of a name in lines


def new_figure(rows: int = 0) -> Any:
    """A matplotlib Figure of the usual size, with room for a legend of so many rows."""
    from matplotlib.figure import Figure  # 0.5 s, and only where a picture is drawn

    return Figure(figsize=(WIDTH, HEIGHT + LEGEND_ROW * rows), layout="constrained")


def svg(figure: Any, label: str, *, paper: bool = False) -> str:
    """The figure as one `<svg>` element that scales, follows the scheme, and is called `label`.

    Its ids are its own: several such pictures may stand in one page.

    Args:
        paper: with a ground of its own, for a file that may be shown on any.
    """
    from matplotlib import rc_context

    prefix = "f" + hashlib.sha256(label.encode()).hexdigest()[:8]
    content = io.StringIO()
    with rc_context({"svg.hashsalt": prefix, "svg.fonttype": "path"}):
        ground = {"facecolor": PAPER} if paper else {"transparent": True}
        for axes in figure.axes:
            axes.patch.set_visible(False)
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None}, **ground)
    drawn = content.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    view = re.search(r'viewBox="([^"]+)"', drawn)
    assert view
    body = re.sub(r"<metadata>.*?</metadata>", "", drawn[drawn.index(">") + 1 :], flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}-", body)
    body = re.sub(r'\bd="[^"]+"', _shorter, body)
    for colour, name in _variables().items():
        body = body.replace(colour, name)
    said = escape(label, {'"': "&quot;"})
    return (
        f'<svg class="mingpt-figure" xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{view[1]}" role="img" aria-label="{said}"><title>{escape(label)}</title>'
        f"<style>{_scheme()}</style>{body}"
    )


def _shorter(path: re.Match[str]) -> str:
    """A path's numbers to a hundredth of a point: half of the file."""
    return re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", path[0])


def _variables() -> dict[str, str]:
    names = {colour: f"var(--arm-{place})" for place, colour in enumerate(ARMS)}
    known = {INK: "var(--ink)", PAPER: "var(--paper)", LINE: "var(--line)", **names}
    return {**known, **{colour: known[like] for colour, like in ALIKE.items()}}


def _scheme() -> str:
    """Colours by the reader's scheme."""

    def rule(ink: str, paper: str, line: str, arms: Sequence[str]) -> str:
        variables = [("ink", ink), ("paper", paper), ("line", line), *((f"arm-{n}", c) for n, c in enumerate(arms))]
        return ".mingpt-figure{" + "".join(f"--{name}:{value};" for name, value in variables) + "}"

    dark = rule("#e4e6e9", "#15181c", LINE_DARK, DARK)
    light = rule("#1c1f23", "#ffffff", LINE, ARMS)
    return f"{light}@media (prefers-color-scheme:dark){{{dark}}}"


def style(place: int) -> dict[str, Any]:
    """Colour and dashes of arm number `place`: two cues, for who can't tell colours."""
    return {"color": ARMS[place % len(ARMS)], "ls": DASHES[(place // len(ARMS) + place) % len(DASHES)]}


def plain(name: str, longest: int = LONGEST) -> str:
    """A name as matplotlib can write it: no mathematics, no letters that its font lacks; the end of a line is ↵."""
    seen = name.replace("\n", "↵")
    written = (letter in "↵␣" or (letter.isprintable() and ord(letter) < 0x180) for letter in seen)
    known = "".join(letter if fine else "?" for letter, fine in zip(seen, written, strict=True))
    return (known if len(known) <= longest else known[: longest - 1] + "…").replace("$", r"\$")


def in_lines(name: str) -> str:
    """A name as a legend has room for it: of several lines where it is long, broken after commas and spaces."""
    lines = [""]
    for piece in re.findall(rf"[^, ]{{1,{LINE_OF_LEGEND}}}[, ]*|[, ]+", plain(name, LONGEST_IN_LEGEND)):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > LINE_OF_LEGEND:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip(" ") for line in lines)


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
    """Below the axes, a row an arm, or several of a long name."""
    if rows:
        found = figure.legend(loc="outside lower left", frameon=False, fontsize=9, labelcolor=INK, handlelength=3.4)
        found.set_in_layout(True)


def loss_curves(result: Comparison, *, over: str = "steps", small: str = "", paper: bool = False) -> str | None:
    """Loss against `steps` or `seconds` of training: the mean of each arm thick, each seed thin, n-gram lines named.

    Held-out loss where it was looked at along the way, else smoothed training loss, and the picture says which.
    None without a curve.

    Args:
        small: how the runs are smaller than they should be; said in the picture.
        paper: as for `svg`.
    """
    held_out = any(len(curve.steps) > 1 for arm in result.arms for curve in arm.curves)
    drawn = [(arm, arm.curves if held_out else arm.training) for arm in result.arms]
    drawn = [(arm, [curve for curve in found if curve.steps]) for arm, found in drawn]
    if not any(found for _, found in drawn):
        return None
    kind = "held-out loss" if held_out else "training loss, smoothed"
    names = [in_lines(arm.name if found else f"{arm.name}: no {kind}") for arm, found in drawn]
    rows = sum(name.count("\n") + 1 for name in names)
    figure = new_figure(rows)
    axes = figure.subplots()
    for place, (name, (_, found)) in enumerate(zip(names, drawn, strict=True)):
        if found:
            _draw(axes, place, name, found, over)
        else:
            axes.plot([], [], ls="none", label=name)  # said, and no line to look for
    lines = result.baselines if held_out else {}
    _baselines(axes, lines)
    finish(axes, xlabel=X_LABELS[over], ylabel=f"{kind}, {_unit(result, held_out)}")
    legend(figure, rows)
    _say_small(figure, small)
    return svg(figure, " ".join(filter(None, [_alt(result, kind, over, lines), _said(small)])), paper=paper)


X_LABELS = {"steps": "optimizer step", "seconds": "seconds of training"}


def _unit(result: Comparison, held_out: bool) -> str:
    return result.unit if held_out and result.unit != "nats" else "nats per token"


def _draw(axes: Any, place: int, name: str, found: Sequence[Curve], over: str) -> None:
    look = style(place)
    for curve in found if len(found) > 1 else []:
        axes.plot(getattr(curve, over), curve.losses, color=look["color"], lw=0.7, alpha=0.4)
    middle = mean_curve(found)
    marker = "o" if len(middle.steps) < 40 else None
    axes.plot(getattr(middle, over), middle.losses, lw=1.9, marker=marker, ms=2.8, label=name, **look)


def _baselines(axes: Any, lines: Mapping[str, float]) -> None:
    """The lines that counting reaches, as far as they lie near the curves."""
    low, high = axes.get_ylim()
    near = {name: loss for name, loss in lines.items() if low - 0.35 * (high - low) <= loss <= high}
    for loss in near.values():
        axes.axhline(loss, color=LINE, lw=0.8, ls=(0, (4, 3)), zorder=0)
    axes.set_ylim(min([low, *(loss - 0.02 * (high - low) for loss in near.values())]), high)
    low, high = axes.get_ylim()
    for height, text in labels(near, apart=0.055 * (high - low), low=low, high=high):
        axes.annotate(
            plain(text), (1.01, height), xycoords=("axes fraction", "data"), va="center", color=LINE, fontsize=9
        )


def _alt(result: Comparison, kind: str, over: str, lines: Mapping[str, float]) -> str:
    """What the picture shows, in words."""
    ends = [f"{arm.name} ends at {number(arm.loss.mean)}" for arm in result.arms if arm.loss is not None]
    counted = [f"{name} {loss:.2f}" for name, loss in lines.items()]
    said = [
        f"{kind[0].upper()}{kind[1:]} against {X_LABELS[over]}. {result.headline[0].upper()}{result.headline[1:]}.",
        f"In nats: {', '.join(ends)}." if ends else "",
        f"Counting alone reaches: {', '.join(counted)}." if counted else "",
    ]
    return " ".join(filter(None, said))


def bars(values: Mapping[str, tuple[float, float | None, float | None]], xlabel: str, label: str) -> str:
    """Means with their intervals, a row an arm: name -> (mean, low, high); None: no interval."""
    figure = new_figure()
    figure.set_figheight(1.0 + 0.32 * len(values))
    axes = figure.subplots()
    for place, (mean, low, high) in enumerate(values.values()):
        look = style(place)
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color=look["color"], lw=2.2, solid_capstyle="butt")
        axes.plot([mean], [place], "o", color=look["color"], ms=6)
    axes.set_yticks(range(len(values)), [plain(name) for name in values])
    axes.set_ylim(len(values) - 0.4, -0.6)
    finish(axes, xlabel=xlabel)
    return svg(figure, label)


def measured(
    draw: Callable[[list[dict[str, Any]], Any], None],
    rows: list[dict[str, Any]],
    *,
    lines: Mapping[str, float],
    small: str = "",
    finding: str = "",
) -> str:
    """A measurement's figure in the look of all others, on a ground of its own.

    Args:
        draw: (rows, matplotlib Figure) draws it.
        lines: what counting reaches, where every axis is a held-out loss of the same text in the same blocks.
        small: how it is smaller than it should be; said in the picture.
        finding: what it shows, said to who can't see it beside its titles.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_look()):
        figure = Figure(figsize=MEASURED, layout="constrained")
        draw(rows, figure)
        tidy(figure)
        for axes in figure.axes:
            if lines:
                _baselines(axes, lines)
        _say_small(figure, small)
        titles = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
        axes_ = [f"{axes.get_ylabel()} against {axes.get_xlabel()}" for axes in figure.axes if axes.get_xlabel()]
        said = [_said(text) for text in dict.fromkeys([finding, *titles, *axes_, small]) if text]
        return svg(figure, " ".join(said), paper=True)


def _look() -> Any:
    """matplotlib's settings under which a drawing that names no colours has ours."""
    from matplotlib.rcsetup import cycler

    dashes = [DASHES[place % len(DASHES)] for place in range(len(ARMS))]
    coloured = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    sizes = dict.fromkeys(("font.size", "axes.titlesize", "figure.titlesize"), 9.5)
    return {
        "axes.prop_cycle": cycler(color=list(ARMS), linestyle=dashes),
        "axes.facecolor": "none",
        "figure.facecolor": PAPER,
        "legend.fontsize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        **dict.fromkeys(coloured, INK),
        **sizes,
    }


def _say_small(figure: Any, small: str) -> None:
    """Below everything else."""
    if small:
        room = 0.2 / figure.get_figheight()
        figure.set_figheight(figure.get_figheight() + 0.2)
        figure.get_layout_engine().set(rect=(0, room, 1, 1 - room))
        figure.text(0.995, 0.03 / figure.get_figheight(), small, ha="right", va="bottom", fontsize=8, color=INK)


def _said(text: str) -> str:
    """As a sentence of a description."""
    line = " ".join(text.split())
    return f"{line[:1].upper()}{line[1:]}{'' if line.endswith('.') or not line else '.'}"
