"""matplotlib's figures, as objects: no backend is chosen, whatever MPLBACKEND names, and pyplot is never imported."""

import functools
import io
import os
import sys
from typing import Any

from mingpt.report.palette import settings


def require_matplotlib() -> None:
    """Import matplotlib, which fails where MPLBACKEND names a backend that isn't installed.

    A process that a notebook starts inherits `module://matplotlib_inline.backend_inline`, say.  Where the name can be
    imported it stays what the caller's own plots take.

    Raises:
        ModuleNotFoundError: it isn't installed.
    """
    try:
        import matplotlib
    except ValueError:
        named = os.environ.pop("MPLBACKEND", None)
        if named is None:
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            del sys.modules[name]  # the halves that the failure left
        try:
            import matplotlib  # noqa: F401
        finally:
            os.environ["MPLBACKEND"] = named


def figure_settings() -> Any:
    """Return a context in which matplotlib draws by this package's settings; the caller's are back after it."""
    require_matplotlib()
    from matplotlib import rc_context

    return rc_context(settings())


def new_figure(**how: Any) -> Any:
    """Return a matplotlib Figure that a notebook shows as a picture.

    Args:
        how: arguments of matplotlib's Figure.
    """
    return _figure_class()(**how)


@functools.cache
def _figure_class() -> Any:
    require_matplotlib()
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):  # one made without pyplot is shown as text where pyplot wasn't imported
        """A Figure with a style of its own."""

        def _repr_png_(self) -> bytes:
            drawing = io.BytesIO()
            with figure_settings():
                self.savefig(drawing, format="png")
            return drawing.getvalue()

    return NotebookFigure
