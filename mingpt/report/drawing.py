"""A finished figure, as SVG text that stands in a page, or as a file: SVG, PNG or PDF.

Its colours are concrete, so that it looks the same in any program; in a browser it follows the reader's dark scheme.
"""

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from mingpt.core.atomic_io import write_atomic
from mingpt.core.errors import require
from mingpt.report.palette import PAPER, dark_scheme, settings

FORMATS = ("svg", "png", "pdf")
DPI = 200  # of a PNG


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure with its words.

    Attributes:
        figure: a matplotlib Figure, complete.
        caption: a sentence or two: what is shown, and what lines and colours mean.
        label: the same with what it shows, for those who can't see it.
    """

    figure: Any
    caption: str
    label: str

    def svg(self, *, paper: bool = False) -> str:
        """One `<svg>` element that scales; its ids are its own: several such pictures may stand in one page.

        Args:
            paper: draw an opaque background, for a file that may be shown on any.
        """
        from matplotlib import rc_context

        prefix = "f" + hashlib.sha256(self.label.encode()).hexdigest()[:8]
        content = io.StringIO()
        with rc_context(settings(prefix)):
            ground = {"facecolor": PAPER} if paper else {"transparent": True}
            for axes in self.figure.axes:
                axes.patch.set_visible(False)
            self.figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None}, **ground)
        return self._with_words(content.getvalue(), prefix)

    def _with_words(self, drawn: str, prefix: str) -> str:
        """matplotlib's SVG without metadata, with caption, label and dark scheme."""
        drawn = drawn[drawn.index("<svg") :]
        view = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawn)
        assert view
        body = re.sub(r"<metadata>.*?</metadata>", "", drawn[drawn.index(">") + 1 :], flags=re.DOTALL)
        for number, clip in enumerate(dict.fromkeys(re.findall(r'<clipPath id="(\w+)"', body))):
            body = body.replace(clip, f"clip-{number}")  # else a digest of bounds, which differ in their last bits
        body = re.sub(r'\bid="', f'id="{prefix}-', body)
        body = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}-", body)
        body = re.sub(r'\bd="[^"]+"', _shorter, body)
        label = escape(self.label, {'"': "&quot;"})
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {view[1]} {view[2]}" role="img" aria-label="{label}">'
            f"<title>{escape(self.caption)}</title><desc>{escape(self.label)}</desc>"
            f"<style>{dark_scheme()}</style>{body}"
        )

    def save(self, path: Path) -> Path:
        """Write it in the format that `path` ends in, on white ground, and return `path`."""
        if path.suffix == ".svg":
            write_atomic(path, self.svg(paper=True).encode())
            return path
        from matplotlib import rc_context

        content = io.BytesIO()
        undated = {"CreationDate": None, "Title": self.caption} if path.suffix == ".pdf" else {"Title": self.caption}
        with rc_context(settings()):
            how = {"format": path.suffix[1:], "dpi": DPI, "facecolor": PAPER, "metadata": undated}
            self.figure.savefig(content, **how)
        write_atomic(path, content.getvalue())
        return path


def require_format(name: str, path: Path) -> None:
    """Reject a file of a picture that is of another format, or in a folder that there isn't.

    Raises:
        UsageError: names the setting `name`.
    """
    endings = [f".{each}" for each in FORMATS]
    require(path.suffix in endings, name, path, f"must end in {', '.join(endings)}")
    require(path.parent.is_dir(), name, path, "must lie in a folder that there is")


def _shorter(path: re.Match[str]) -> str:
    """A path's numbers to a hundredth of a point: half of the file."""
    return re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", path[0])
