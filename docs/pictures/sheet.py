"""What every picture is drawn on: a white sheet measured in inches from its top left corner, saved as SVG.

The same numbers give the same bytes: no date, fixed ids, letters as outlines, coordinates to a hundredth of a point.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path as File
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, PathPatch
from matplotlib.path import Path
from numpy.typing import ArrayLike

INK, SOFT, PALE, PAPER = "#1f2933", "#65717d", "#e8ebee", "#ffffff"
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#c2570c", "#00805a", "#a8327d"
LEVELS = 16  # shades of a colour
Point = tuple[float, float]


def shade(value: float, colour: str = BLUE, below: str = ORANGE) -> str:
    """White at 0, `colour` at 1, `below` at -1."""
    strength = round(min(abs(value), 1.0) * LEVELS) / LEVELS
    target = colour if value >= 0 else below
    parts = (int(target[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(255 + (part - 255) * strength):02x}" for part in parts)


class Sheet:
    """A page of `width` x `height` inches; y grows downwards."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), facecolor=PAPER)
        self.page: Any = self.figure.add_axes((0, 0, 1, 1))
        self.page.set(xlim=(0, width), ylim=(height, 0))
        self.page.axis("off")

    def text(self, x: float, y: float, text: str, *, size: float = 10, colour: str = INK, **how: Any) -> None:
        """Text around (x, y), or beginning or ending there with ha='left' or 'right'."""
        how = {"ha": "center", "va": "center", **how}
        self.page.text(x, y, text, fontsize=size, color=colour, linespacing=1.35, **how)

    def title(self, x: float, y: float, text: str, **how: Any) -> None:
        self.text(x, y, text, size=10.5, weight="bold", **how)

    def box(self, x: float, y: float, text: str = "", *, w: float = 0.5, h: float = 0.36, **how: Any) -> None:
        """A rounded box around (x, y); `fill`, `edge`, `ink`, `size` change how it looks."""
        fill, edge, ink, size = (
            how.get(k, d) for k, d in (("fill", PALE), ("edge", SOFT), ("ink", INK), ("size", 10.5))
        )
        shape = "round,pad=0,rounding_size=0.06"
        self.page.add_patch(
            FancyBboxPatch((x - w / 2, y - h / 2), w, h, boxstyle=shape, fc=fill, ec=edge, lw=how.get("lw", 1.0))
        )
        if text:
            self.text(x, y, text, size=size, colour=ink)

    def disc(self, x: float, y: float, radius: float, text: str = "", **how: Any) -> None:
        fill, edge, ink = (how.get(k, d) for k, d in (("fill", PALE), ("edge", SOFT), ("ink", INK)))
        self.page.add_patch(Circle((x, y), radius, fc=fill, ec=edge, lw=how.get("lw", 1.0)))
        if text:
            self.text(x, y, text, size=how.get("size", 10), colour=ink)

    def arrow(self, start: Point, end: Point, colour: str = SOFT, **how: Any) -> None:
        """`bend` curves it, `lw` is its width, `style` another head (or '-' for none)."""
        self.page.add_patch(
            FancyArrowPatch(
                start,
                end,
                arrowstyle=how.get("style", "-|>,head_length=4,head_width=2.2"),
                connectionstyle=f"arc3,rad={how.get('bend', 0)}",
                shrinkA=0,
                shrinkB=0,
                color=colour,
                lw=how.get("lw", 1.3),
                linestyle=how.get("dash", "-"),
            )
        )

    def line(self, points: Sequence[Point], colour: str = SOFT, lw: float = 1.0, **how: Any) -> None:
        xs, ys = zip(*points, strict=True)
        self.page.plot(xs, ys, color=colour, lw=lw, solid_capstyle="round", **how)

    def area(self, corners: Sequence[Point], fill: str, edge: str = "none", lw: float = 1.0) -> None:
        self.page.add_patch(PathPatch(Path([*corners, corners[0]], closed=True), fc=fill, ec=edge, lw=lw))

    def cells(
        self, x: float, y: float, colours: Sequence[Sequence[str | None]], size: float, *, gap: str = PAPER
    ) -> None:
        """A matrix of coloured squares with its top left corner at (x, y); None leaves a place empty."""
        found: dict[str, list[Point]] = {}
        for row, line in enumerate(colours):
            for column, colour in enumerate(line):
                if colour is not None:
                    found.setdefault(colour, []).append((x + column * size, y + row * size))
        for colour, corners in found.items():
            squares = [Path([(a, b), (a + size, b), (a + size, b + size), (a, b + size), (a, b)]) for a, b in corners]
            self.page.add_patch(PathPatch(Path.make_compound_path(*squares), fc=colour, ec=gap, lw=0.8))

    def matrix(self, x: float, y: float, values: ArrayLike, size: float, *, most: float = 1.0, **how: Any) -> None:
        """A matrix shaded by value; `digits` prints the numbers, `shown` (a mask) leaves out others as grey."""
        values = np.asarray(values, dtype=float)
        shown = np.asarray(how.get("shown", np.ones(values.shape)), dtype=bool)
        colour, digits = how.get("colour", BLUE), how.get("digits")
        self.cells(
            x,
            y,
            [
                [shade(v / most, colour) if s else PALE for v, s in zip(*row, strict=True)]
                for row in zip(values, shown, strict=True)
            ],
            size,
        )
        for (row, column), value in np.ndenumerate(values):
            if digits is not None and shown[row, column]:
                ink = PAPER if abs(value) / most > 0.6 else INK
                where = (x + (column + 0.5) * size, y + (row + 0.5) * size)
                self.text(
                    *where, f"{round(float(value), digits) + 0.0:.{digits}f}", size=how.get("font", 7.5), colour=ink
                )

    def along(self, x: float, y: float, texts: Sequence[str], cell: float, *, down: bool = False, **how: Any) -> None:
        """Draw labels next to a matrix at (x, y): above its columns, or down its left side."""
        for number, text in enumerate(texts):
            step = (number + 0.5) * cell
            where = (x - 0.12, y + step) if down else (x + step, y - 0.11)
            self.text(*where, text, **{"size": 8.5, "colour": SOFT, **how})

    def axes(self, x: float, y: float, size: float, across: str, down: str, *, distance: float = 0.14) -> None:
        """Names along a square matrix with its top left corner at (x, y): below its columns, and left of its rows."""
        self.text(x + size / 2, y + size + 0.13, across, size=8.5, colour=SOFT)
        self.text(x - distance, y + size / 2, down, size=8.5, colour=SOFT, rotation=90)

    def colours(self, x: float, y: float, legend: Sequence[tuple[str, str]]) -> None:
        """Squares of colours in a row from x on, each with what it means after it."""
        for colour, text in legend:
            self.cells(x, y - 0.07, [[colour]], 0.14)
            self.text(x + 0.2, y, text, size=8.5, colour=SOFT, ha="left")
            x += 0.42 + 0.068 * len(text)

    def plot(self, x: float, y: float, w: float, h: float) -> Any:
        """Axes with their top left corner at (x, y), for curves."""
        axes = self.figure.add_axes((x / self.width, 1 - (y + h) / self.height, w / self.width, h / self.height))
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(SOFT)
        axes.tick_params(colors=SOFT, labelsize=8, length=2.5)
        return axes

    def save(self, path: File) -> None:
        """Write the sheet to `path`."""
        content = io.StringIO()
        with rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "path", "mathtext.fontset": "dejavusans"}):
            self.figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
        path.write_text(_compact(content.getvalue()), encoding="utf-8", newline="\n")


NUMBER = r"(-?[\d.]+)"
LETTERS = r"<defs>\n(?:<path [^>]*>\n)*</defs>\n"
SQUARE = re.compile(rf"M{NUMBER} {NUMBER}L{NUMBER} \2L\3 {NUMBER}L\1 \4(?:L\1 \2|z)")
FONTS = {"DejaVuSans-Bold-": "b", "DejaVuSans-Oblique-": "i", "DejaVuSansMono-": "m", "DejaVuSans-": "r"}


def _compact(drawn: str) -> str:
    """The same picture in half the bytes: nothing is clipped, no id is asked for, a hundredth of a point is enough."""
    drawn = re.sub(r"<metadata>.*?</metadata>\s*|<!--.*?-->|<!DOCTYPE.*?>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'<defs>\s*<clipPath.*?</defs>| clip-path="[^"]*"', "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'(<g) id="(?:patch|text|line2d|figure|axes|matplotlib|xtick|ytick)[^"]*"', r"\1", drawn)
    drawn = re.sub(r'\bd="[^"]*"', lambda found: _path(found[0]), drawn)
    drawn = re.sub(r'translate\([^)]*\)|\b[xy]="[^"]*"', lambda found: _rounded(found[0]), drawn)
    for font, short in FONTS.items():
        drawn = drawn.replace(font, short)
    drawn = drawn.replace("; stroke-linejoin: miter", "")
    drawn = re.sub(r'(<use [^>]*)transform="translate\(([\d.]+) 0\)"', r'\1x="\2"', drawn)
    drawn = drawn.replace("xlink:href", "href").replace('style="fill: #1f2933" ', "")
    drawn = re.sub(r'style="fill: (#\w+); stroke: #ffffff; stroke-width: 0.8"', r'class="c" fill="\1"', drawn)
    drawn = drawn.replace(
        "stroke-linecap: butt}", "stroke-linecap: butt} svg{fill: #1f2933} .c{stroke: #fff; stroke-width: 0.8}"
    )
    drawn = re.sub(r"[ \n]*\n[ \n]*", "\n", drawn)
    drawn = re.sub(r"<g>\n(<path [^>]*/>\n)</g>\n", r"\1", drawn)
    return re.sub(rf"<g>\n(<g [^>]*>\n(?:{LETTERS}|<use[^>]*>\n)*</g>\n)</g>\n", r"\1", drawn)


def _path(path: str) -> str:
    path = re.sub(r"\s*([MLQCz])\s*", r"\1", _rounded(path)).replace(' "', '"').replace('\n"', '"')
    return _relative(path) if "Q" in path and "." not in path else SQUARE.sub(_square, path)


def _relative(path: str) -> str:
    """An outline of a letter, in integers, each point relative to the last point of the step before."""
    steps, at = [], (0, 0)
    for kind, numbers in re.findall(r"([MLQz])([-\d ]*)", path):
        values = [int(number) for number in numbers.split()]
        if kind in "LQ":
            moved = [value - at[i % 2] for i, value in enumerate(values)]
            steps.append(kind.lower() + " ".join(map(str, moved)).replace(" -", "-"))
        else:
            steps.append(kind + numbers.strip())
        at = (values[-2], values[-1]) if values else at
    return f'd="{"".join(steps)}"'


def _square(found: re.Match[str]) -> str:
    left, top, right, bottom = (float(number) for number in found.groups())
    return f"M{found[1]} {found[2]}h{_short(right - left)}v{_short(bottom - top)}h{_short(left - right)}z"


def _rounded(text: str) -> str:
    return re.sub(r"-?\d+\.\d+", lambda number: _short(float(number[0])), text)


def _short(number: float) -> str:
    return f"{round(number, 2) + 0.0:.2f}".rstrip("0").rstrip(".")
