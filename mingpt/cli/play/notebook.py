"""`mingpt.play(run)`: the page of `chargpt play` in a notebook, served by the notebook's own process."""

import threading
import time
from html import escape
from pathlib import Path
from typing import Any

from mingpt.cli.play import catalogue, ports
from mingpt.cli.play.server import Play
from mingpt.cli.play.serving import Page

HOST = "127.0.0.1"
STARTS_WITHIN = 10.0  # seconds


class PlayedPage:
    """A page that is being served; a notebook shows it as its result.

    Attributes:
        url: the address, for a browser of this machine.
    """

    def __init__(self, page: Page, height: int) -> None:
        self._page, self._height, self.url = page, height, page.url
        self._thread = threading.Thread(target=page.serve, name="play", daemon=True)
        self._thread.start()
        until = time.monotonic() + STARTS_WITHIN
        while not page.server.started and self._thread.is_alive() and time.monotonic() < until:
            time.sleep(0.01)

    def __repr__(self) -> str:
        return f"<chargpt play at {self.url}>"

    def _repr_html_(self) -> str:
        shape = f'width="100%" height="{self._height}" style="border:0"'
        return f'<iframe src="{escape(self.url)}" title="chargpt play" {shape}></iframe>'

    def close(self) -> None:
        """End the server."""
        self._page.stop()
        self._thread.join(STARTS_WITHIN)


def play(
    *runs: Any, root: str | Path | None = None, train: bool = False, port: int | None = None, height: int = 900
) -> PlayedPage:
    """Serve the page of `chargpt play` from this process, and show it in a notebook.

        mingpt.play(run)
        mingpt.play("out/a", "out/b")

    The browser has to run on this machine, or to reach its loopback address by a tunnel.

    Args:
        runs: at most two run folders or Runs; none: the newest below the root.
        root: the folder below which runs are shown; None: out/, or where `runs` lie.
        train: let the page start, stop and resume training.
        port: None: 8642, or the next that is free.
        height: of the frame, in pixels.

    Raises:
        CheckpointError: a folder without a run.
        UsageError: more than two runs, no such root, or no free port.
    """
    found = catalogue.opened(None if root is None else str(root), [str(getattr(run, "folder", run)) for run in runs])
    return PlayedPage(Page(Play(found, train=train), ports.listening(HOST, port), HOST), height)
