"""How every figure looks: fixed colours, and a line of its own for each variant, by its name.

A colour is concrete, for white paper; a browser in its dark scheme exchanges it for another (`dark_scheme`).  Colours
are not the only cue: dashes and markers differ, too, and lines grow thinner from variant to variant, so that one under
another still shows.
"""

from collections.abc import Iterable
from typing import Any

from mingpt.report.fonts import families

INK, PAPER = "#1c1f23", "#ffffff"
LINE = "#8a4416"  # what an n-gram model reaches
QUIET = "#5f6b78"  # what is drawn for comparison
COLOURS = (  # 4.5:1 and more on white
    *("#0072b2", "#c2570c", "#00805a", "#a8327d", "#7a6a00", "#5b4fc4"),
    *("#b3261e", "#4d6273", "#0b7285", "#6b4226", "#c2255c", "#2b2f77"),
)
_ON_DARK = (
    *("#5db8f5", "#f0954e", "#3fc79a", "#ea86c4", "#d3bd3b", "#a79df5"),
    *("#ff8a80", "#a4bac9", "#66d9e8", "#c9a58c", "#faa2c1", "#b4bbff"),
)
DARK = {  # of each colour, what stands for it on dark paper: 4.5:1 and more
    INK: "#e4e6e9",
    PAPER: "#15181c",
    LINE: "#e0a070",
    QUIET: "#98a4b3",
    **dict(zip(COLOURS, _ON_DARK, strict=True)),
}
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
THICKEST, THINNER, LARGEST, SMALLER = 2.6, 0.13, 6.2, 0.25  # points: of lines, of markers, and of each next one
MOST_MARKS = 12  # of a line


def style(place: int) -> dict[str, Any]:
    """matplotlib's colour, dashes and marker of variant number `place`: no two of the first 48 are equal."""
    round_, at = divmod(place, len(COLOURS))
    return {
        "color": COLOURS[at],
        "ls": DASHES[(at + round_) % len(DASHES)],
        "marker": MARKERS[(at + round_) % len(MARKERS)],
    }


class Palette:
    """The look of each variant by its name, the same in all figures that share the palette.

    A name that is new is given the next look that is free.

    Args:
        names: those that are given the first looks, in their order.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.places: dict[str, int] = {name: place for place, name in enumerate(dict.fromkeys(names))}

    def place(self, name: str) -> int:
        """The number of `name`, from 0."""
        return self.places.setdefault(name, len(self.places))

    def colour(self, name: str) -> str:
        """`#rrggbb`."""
        return COLOURS[self.place(name) % len(COLOURS)]

    def dots(self, name: str) -> dict[str, Any]:
        """Arguments of matplotlib's `plot` for points without a line."""
        look = style(self.place(name))
        return {"color": look["color"], "marker": look["marker"], "ls": "none", "mew": 0}

    def line(self, name: str, points: int = 1) -> dict[str, Any]:
        """Arguments of matplotlib's `plot` for a line through so many points, of which a dozen at most are marked.

        Solid lines lie below dashed ones, through whose gaps they show, and earlier ones below later, thinner ones.
        """
        place = self.place(name)
        at, apart = place % len(MARKERS), -(-points // MOST_MARKS)
        return {
            **style(place),
            "lw": THICKEST - THINNER * at,
            "ms": LARGEST - SMALLER * at,
            "mec": PAPER,
            "mew": 0.5,
            "markevery": (at * apart // len(MARKERS), apart),
            "zorder": 2.0 if style(place)["ls"] == "-" else 2.1,
        }


def settings(salt: str = "mingpt") -> Any:
    """matplotlib's settings under which a drawing that names no colours has ours: for `rc_context`.

    Args:
        salt: seed of the ids in an SVG, which are then the same each time.
    """
    from matplotlib.rcsetup import cycler

    coloured = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "patch.edgecolor")
    sizes = dict.fromkeys(("font.size", "axes.titlesize", "figure.titlesize"), 9.5)
    looks = [style(place) for place in range(len(COLOURS))]
    return {
        "font.family": families(),
        "axes.prop_cycle": cycler(color=list(COLOURS), linestyle=[look["ls"] for look in looks]),
        "axes.facecolor": "none",
        "figure.facecolor": PAPER,
        "legend.fontsize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "pdf.fonttype": 42,
        "svg.fonttype": "path",
        "svg.hashsalt": salt,
        **dict.fromkeys(coloured, INK),
        **sizes,
    }


def dark_scheme() -> str:
    """CSS that exchanges the colours of SVG elements where the reader's scheme is dark.

    matplotlib writes `style="fill: #0072b2"`, which any program reads; a rule by that text can still be stronger.  The
    rules name no ancestor, since such a selector does not match inside `<use>`, as which ticks and markers are drawn.
    """
    rules = [
        f'[style*="{kind}: {colour}"]{{{kind}:{dark}!important}}'
        for colour, dark in DARK.items()
        for kind in ("fill", "stroke")
    ]
    return f"@media (prefers-color-scheme:dark){{{''.join(rules)}}}"
