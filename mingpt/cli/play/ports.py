"""Where the page is served: a socket that listens, and its address."""

import errno
import socket

from mingpt.core.errors import UsageError

USUAL, TRIED = 8642, 50  # the usual port, and how many from there on are tried
BACKLOG = 128


def listening(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens at `host`.

    Args:
        port: 0: any that is free; None: the usual one, or the next that is free.

    Raises:
        UsageError: there is no such address here, or no free port.
    """
    for number in [port] if port is not None else range(USUAL, USUAL + TRIED):
        try:
            return _bound(host, number)
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno != errno.EADDRINUSE:
                what = f"port={number}" if error.errno == errno.EACCES else f"host={host}"
                raise UsageError(f"{what}: can't listen there: {error.strerror}") from None
    if port is not None:
        raise UsageError(f"port={port}: another program listens there; leave it out for the next that is free")
    raise UsageError(f"port: {USUAL} to {USUAL + TRIED - 1} are all taken; name another one, as --port=9000")


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(BACKLOG)
    except OSError:
        found.close()
        raise
    return found


def address(host: str, listens: socket.socket) -> str:
    """Return the address of the page, without its token."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{listens.getsockname()[1]}/"
