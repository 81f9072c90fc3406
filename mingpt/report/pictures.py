"""The pictures of a page: those that are drawn for it, and those that lie in an experiment's folder."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import unescape
from pathlib import Path

from mingpt.core.run_files.reading import readable
from mingpt.core.safe_parsing import read_svg
from mingpt.report import difference_plot, figures
from mingpt.report.compare import Comparison
from mingpt.report.drawing import Drawing
from mingpt.report.palette import Palette

OWN_CURVES = "loss-by-step"  # an experiment's figure of this name replaces the page's own
VIEWS = ("steps", "seconds", "flops")  # what a loss is drawn against
VARIANTS_FIGURE = "validation-loss-by-"  # so begin the names of the figures of losses along training
DIFFERENCE = "difference-from-baseline"  # the figure that answers what a comparison asks


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture: a drawing, or the source of an image.

    Attributes:
        name: name of its file, without the ending.
        caption: a sentence or two, to stand below it.
        label: what it shows, for those who can't see it.
        drawing: a figure of ours, embedded in the page or written as a file; None: an image.
    """

    name: str
    caption: str
    label: str = ""
    source: str = ""
    drawing: Drawing | None = field(default=None, compare=False)

    @cached_property
    def svg(self) -> str:
        """The drawing as an element of a page; "" without one.  Made when it is asked for, since it takes a second."""
        return self.drawing.svg() if self.drawing else ""


def loss_figures(
    result: Comparison, small: str = "", views: Sequence[str] = VIEWS, palette: Palette | None = None
) -> list[Figure]:
    """Loss against steps, seconds and FLOPs; the last two only where these can be compared."""
    comparable = {"steps": True, "seconds": result.seconds is not None, "flops": result.flops is not None}
    found = []
    for over in [each for each in VIEWS if each in views and comparable[each]]:
        drawn = figures.loss_curves(result, over=over, small=small, palette=palette)
        found += [_figure(f"{VARIANTS_FIGURE}{over}", drawn)] if drawn else []
    return found


def own_figures(
    result: Comparison, small: str = "", views: Sequence[str] = VIEWS, palette: Palette | None = None
) -> list[Figure]:
    """All figures of a comparison: the differences from the baseline, where there are any, and the losses."""
    drawn = difference_plot.differences(result, small=small, palette=palette)
    return [*([_figure(DIFFERENCE, drawn)] if drawn else []), *loss_figures(result, small, views, palette)]


def is_own(name: str) -> bool:
    """Whether figures of this name are drawn of the comparison, and not of a measurement."""
    return name == DIFFERENCE or name.startswith(VARIANTS_FIGURE)


def _figure(name: str, drawn: Drawing) -> Figure:
    return Figure(name=name, caption=drawn.caption, label=drawn.label, drawing=drawn)


def pictures(folder: Path) -> list[Path]:
    """An experiment's figures, by name."""
    return sorted((folder / "figures").glob("*.svg"))


def picture(path: Path, folder: Path) -> Figure:
    """A picture in an experiment's `folder`, as an image; its name for who can't see it is the one inside.

    Raises:
        CheckpointError: no SVG, too large, or a link, which could lead to a private file.
    """
    content = readable(path, lambda path: read_svg(path, folder))
    written, name = content.decode("utf-8", errors="replace"), path.stem.replace("-", " ")
    title, described = (re.search(rf"<{tag}>(.*?)</{tag}>", written, re.DOTALL) for tag in ("title", "desc"))
    texts = [unescape(found[1]) for found in (title, described) if found]
    named = f"{name[:1].upper()}{name[1:]}"  # for those of before there were captions
    source = f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"
    return Figure(
        name=path.stem, caption=texts[0] if len(texts) > 1 else named, label=texts[-1] if texts else name, source=source
    )
