"""Serves the page: in this thread until a signal comes, or in one of its own for a notebook."""

import asyncio
import contextlib
import socket
import threading
import webbrowser
from collections.abc import Iterator

import uvicorn

from mingpt.cli.play.ports import address
from mingpt.cli.play.security import is_loopback, new_token
from mingpt.cli.play.server import Play
from mingpt.core.signals import EXIT_CODES, stop_on_signals

CONNECTIONS = 200  # at the same time
LAST_SECONDS = 2  # that streams have to end in


class Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to its caller."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Page:
    """A page and its server, not yet begun.

    Attributes:
        url: the address with its token.
        once: what opens the page without it, once.
    """

    def __init__(self, play: Play, listens: socket.socket, host: str) -> None:
        self._listens, self.once = listens, new_token()
        token = new_token()
        self.base, self.loopback = address(host, listens), is_loopback(host)
        self.url = f"{self.base}?token={token}"
        app = play.app(token, host, once=self.once)
        self.server = Server(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                access_log=False,  # addresses have the token
                log_config=None,
                log_level="critical",
                server_header=False,
                proxy_headers=False,
                limit_concurrency=CONNECTIONS,
                timeout_graceful_shutdown=LAST_SECONDS,
            )
        )

    def serve(self) -> None:
        """Serve until `stop`."""
        asyncio.run(self.server.serve(sockets=[self._listens]))

    def stop(self) -> None:
        """End the server, from any thread."""
        self.server.should_exit = True

    def open(self) -> None:
        """Open the page in the browser, by an address that works once: others can see the words of a command."""
        threading.Thread(target=webbrowser.open, args=(f"{self.base}open?once={self.once}",), daemon=True).start()


def until_signal(page: Page) -> int:
    """Serve until Ctrl-C, SIGTERM or SIGHUP; return the exit code that tells of it."""
    came: list[str] = []

    def stop(name: str) -> None:
        came.append(name)
        page.stop()

    with stop_on_signals(stop):
        page.serve()
    return EXIT_CODES[came[0]] if came else 0
