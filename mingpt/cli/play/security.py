"""Who may ask, and what a browser may do with the answer: token, Host, Origin, Content-Security-Policy.

A page of another site that is open in the same browser can send requests to this machine.  It doesn't know the token;
its Origin gives it away; and where it makes its own name point here (DNS rebinding), the Host does.
"""

import ipaddress
import re
import secrets
import socket
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

API, FIGURE = "/api/", "/api/figure"
TOKEN = "x-token"
LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?")
POLICY = "; ".join(
    (
        "default-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "object-src 'none'",
        "frame-ancestors 'self' http://127.0.0.1:* http://localhost:*",  # a notebook of this machine
    )
)
PICTURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"  # of an SVG of its own
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def new_token() -> str:
    """Return 128 random bits, as text."""
    return secrets.token_hex(16)


class Names:
    """The names by which a server may be asked.

    A wildcard address is reached by any address of this machine, so any is taken then; another site can
    make a name of its own point here, but no address.

    Args:
        host: where the server listens.
    """

    def __init__(self, host: str) -> None:
        self._any_address = _is_address(host) and ipaddress.ip_address(host).is_unspecified
        own = {socket.gethostname().lower()} if self._any_address else {host.lower()}
        self._names = LOOPBACK | own

    def serve(self, host: str) -> bool:
        """Whether a Host header, `name` or `name:port`, is one of them; the port may be that of a tunnel."""
        found = HOST.fullmatch(host)
        if found is None:
            return False
        name = found["name"].strip("[]").lower()
        return name in self._names or (self._any_address and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


class Guard:
    """ASGI middleware that lets a request through if it may be made, and sets the headers of every answer."""

    def __init__(self, app: ASGIApp, *, token: str, names: Names) -> None:
        self._app, self._token, self._names = app, token, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"{scope['type']}: only http is served")

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        wrong = self._wrong(scope)
        app = self._app if wrong is None else _rejection(scope, wrong)
        await app(scope, receive, with_headers)

    def _wrong(self, scope: Scope) -> str | None:
        """Why a request may not be made; None: it may."""
        headers, path = Headers(scope=scope), scope["path"]
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._names.serve(hosts[0]):
            return "Host: not a name of this server; open the address that the terminal printed"
        if not all(_same_site(origin, hosts[0]) for origin in origins):
            return "Origin: a page of another site may not ask this server"
        given = self._given(headers, scope, path)
        if given is None and not path.startswith(API):
            return None  # the page and its files hold nothing of the user's
        if given is None or not secrets.compare_digest(given.encode(), self._token.encode()):
            return "token: missing or wrong; open the address that the terminal printed"
        return None

    @staticmethod
    def _given(headers: Headers, scope: Scope, path: str) -> str | None:
        """The token of a request: a header of every /api/ path; in the address of the page, and of pictures."""
        if path.startswith(API) and path != FIGURE:
            return headers.get(TOKEN)
        query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=100)
        return query.get("token", [None])[0]


def _same_site(origin: str, host: str) -> bool:
    return origin.lower() in {f"http://{host.lower()}", f"https://{host.lower()}"}


def _rejection(scope: Scope, wrong: str) -> ASGIApp:
    if scope["path"].startswith(API):
        return JSONResponse({"error": wrong}, status_code=403)
    return PlainTextResponse(f"{wrong}\n", status_code=403)
