"""Attention patterns and which input moves which output, drawn as squares of positions.  From arrays alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mingpt.core.atomic_io import save_picture
from mingpt.report.fonts import drawable, plain
from mingpt.report.plotting import figure_settings, new_figure

TITLE = "how much each query (row) takes of each key (column)\ncolours follow the square root of the weight"
MARKED = (0, 0.01, 0.05, 0.1, 0.2, 0.5, 1)  # along the colour bar, whose scale is a square root
TICKS = 40  # tokens that still fit along a square
PANEL, LARGEST = 2.6, 28.0  # inches: of a square, and of a picture
FAINTEST = 1e-5  # total variation distance with the palest colour
SIDES = {
    True: "total variation distance when an earlier input, or its own, is replaced",
    False: "when a later input is replaced",
}
NAMES = str.maketrans({"\n": "\\n", " ": "\u2423", "\t": "\\t"})  # of what can't be seen


def figure(
    maps: Sequence[NDArray[np.floating[Any]]],
    tokens: Sequence[str],
    key_heads: int,
    windows: Sequence[int | None],
    *,
    first_layer: int = 0,
) -> Any:
    """Return a matplotlib Figure of one row of squares per layer.

    What no query may read is grey; a thin line marks where a window ends.

    Args:
        maps: (heads, queries, keys) weights of each layer, 0 to 1.
        tokens: what stands at each position.
        key_heads: consecutive heads that share keys and values stand together; this many such groups.
        windows: keys that a query of each layer sees, its own included; None: no window.
        first_layer: number of the first of `maps`.
    """
    with figure_settings():
        return _rows_of_squares(maps, tokens, key_heads, windows, first_layer)


def _rows_of_squares(
    maps: Sequence[NDArray[np.floating[Any]]],
    tokens: Sequence[str],
    key_heads: int,
    windows: Sequence[int | None],
    first_layer: int,
) -> Any:
    layers, heads = len(maps), len(maps[0])
    panel = min(PANEL, LARGEST / max(heads, layers))
    figure = new_figure(figsize=(panel * heads + 1.9, panel * layers + 1.2), dpi=110)
    width, height = figure.get_size_inches()
    edges = {"left": 0.8 / width, "right": 1 - 0.9 / width, "bottom": 0.4 / height, "top": 1 - 0.7 / height}
    groups = figure.add_gridspec(layers, key_heads, **edges, wspace=0.12, hspace=0.28)
    figure.suptitle(TITLE, fontsize=8)
    for row, weights in enumerate(maps):
        for group in range(key_heads):
            shared = heads // key_heads
            inner = groups[row, group].subgridspec(1, shared, wspace=0.06)
            for place in range(shared):
                head, axes = group * shared + place, figure.add_subplot(inner[place])
                image = _square(axes, weights[head], windows[row])
                _ticks(axes, tokens, rows=head == 0)
                axes.set_title(f"head {head}" + (f" (keys {group})" if shared > 1 else ""), fontsize=7, pad=3)
                if head == 0:
                    axes.set_ylabel(f"layer {first_layer + row}", fontsize=8)
    beside = figure.add_axes((1 - 0.75 / width, edges["bottom"], 0.12 / width, edges["top"] - edges["bottom"]))
    figure.colorbar(image, cax=beside, ticks=MARKED).set_label("attention weight (grey: none)", fontsize=7)
    beside.tick_params(labelsize=6)
    return figure


def draw_influence(moved: NDArray[np.floating[Any]], tokens: Sequence[str], finding: str, path: Path) -> Path:
    """Draw one square, rows outputs, columns inputs, into `path`, and return it.

    An output above the diagonal has moved with an input that comes later: that half is pink, and what is there red.
    Colours follow the logarithm, so that a hundred-thousandth is seen; what is exactly 0 has none.

    Args:
        moved: (t, t) numbers in [0, 1].
        tokens: what stands at each position.
        finding: the title.
    """
    with figure_settings():
        figure = new_figure(figsize=(7.6, 6.8), dpi=120, layout="constrained")
        axes = figure.subplots()
        for own, image in influence_square(axes, moved).items():
            if own or image.get_array().count():
                bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
                bar.set_label(SIDES[own], fontsize=8)
                bar.ax.tick_params(labelsize=7)
        _ticks(axes, tokens, rows=True)
        axes.set_xlabel("input that is replaced (grey, pink: not a bit of the output moves)", fontsize=9)
        axes.set_ylabel("output: the prediction made after reading this token", fontsize=9)
        axes.set_title(drawable(finding), fontsize=10)
        return save_picture(figure, path)


def influence_square(axes: Any, moved: NDArray[np.floating[Any]]) -> dict[bool, Any]:
    """Fill given axes with the square that `draw_influence` describes, without names along it.

    Args:
        axes: matplotlib's.
        moved: (t, t) numbers in [0, 1]: rows outputs, columns inputs.

    Returns:
        What a colour bar is made of: True: for inputs up to the output's own; False: for later ones.
    """
    from matplotlib.colors import ListedColormap, LogNorm

    size = len(moved)
    later = np.triu(np.ones((size, size), dtype=bool), 1)
    axes.set_facecolor("#e3e3e3")
    axes.imshow(np.ma.masked_array(later, ~later), cmap=ListedColormap(["#fbe9e7"]), interpolation="nearest")
    scale, drawn = LogNorm(FAINTEST, 1.0, clip=True), {}
    for own, half, colours in ((True, ~later, "Blues"), (False, later, "Reds")):
        shown = np.ma.masked_array(moved, ~half | (moved == 0))
        drawn[own] = axes.imshow(shown, cmap=_from_a_quarter(colours), norm=scale, interpolation="nearest")
    edge = np.arange(size + 1)
    axes.step(edge - 0.5, edge - 0.5, where="pre", color="#333333", lw=1.0)
    return drawn


def token_name(token: str) -> str:
    """The name of a token next to a square."""
    return plain(token.translate(NAMES))


def _from_a_quarter(name: str) -> Any:
    """A colour map without its palest quarter, which looks like nothing."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    return ListedColormap(matplotlib.colormaps[name](np.linspace(0.25, 1, 256)))


def _square(axes: Any, weights: NDArray[np.floating[Any]], window: int | None) -> Any:
    """One head's weights, in colours that mean the same in every square; returns what a colour bar is made of.

    The later a row, the more keys share its 1: by the weights themselves it would be as pale as what reads nothing.
    """
    from matplotlib.colors import PowerNorm

    size = len(weights)
    unseen = np.ma.masked_equal(weights, 0.0)
    axes.set_facecolor("#e3e3e3")
    image = axes.imshow(unseen, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    if window is not None and window < size:
        below = np.arange(window, size + 1)  # the first row that misses the first key, and so on
        axes.step(below - window - 0.5, below - 0.5, where="post", color="#b4642d", lw=0.8)
    return image


def _ticks(axes: Any, tokens: Sequence[str], *, rows: bool) -> None:
    names = [token_name(token) for token in tokens]
    if len(names) > TICKS:
        axes.tick_params(labelsize=6)
        if not rows:
            axes.set_yticks([])
        return
    upright = any(len(name) > 2 for name in names)
    axes.set_xticks(range(len(names)), names, fontsize=6, rotation=90 if upright else 0)
    axes.set_yticks(range(len(names)) if rows else [], names if rows else [], fontsize=6)
    axes.tick_params(length=0, pad=1)
