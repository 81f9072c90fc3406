"""A page that is served over HTTP from a folder of tiny runs, and a client that knows its token."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
import pytest

from mingpt.cli.play import catalogue, ports
from mingpt.cli.play.server import Play
from mingpt.cli.play.serving import Page

TINY = (
    *("--model.n_layer=2", "--model.n_embd=16", "--data.block_size=8", "--trainer.max_iters=3"),
    *("--sample.tokens=5", "--wandb.mode=disabled"),
)
RUNS: Mapping[str, tuple[str, ...]] = {
    "gpt": (*TINY, "--model.n_query_head=4", "--model.n_kv_head=2", "--model.window=5"),
    "lstm": (*TINY, "--model.type=rnn", "--model.cell=lstm"),
    "masked": (*TINY, "--model.type=birnn", "--model.objective=masked"),
    "sees": (*TINY, "--model.type=birnn"),
    "more/ngram": ("--model.type=ngram", "--wandb.mode=disabled"),
}
EVENT = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Answer:
    """Status, headers and content of an answer."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def error(self) -> str:
        assert self.status >= 400, self.content
        return self.json["error"]

    @property
    def square(self) -> Any:
        """The float32 matrix that it holds, of as many rows as its first header says."""
        rows, columns = map(int, self.headers["x-shape"].split(","))
        return np.frombuffer(self.content, "<f4").reshape(rows, columns)

    @property
    def events(self) -> list[EVENT]:
        return [parsed(block) for block in self.content.decode().split("\n\n") if block]


def parsed(block: str) -> EVENT:
    """One server-sent event."""
    name, data = block.split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@dataclass(frozen=True)
class Client:
    """Asks a page as the browser does."""

    page: Page
    play: Play
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def token(self) -> str:
        return parse_qs(urlsplit(self.page.url).query)["token"][0]

    @property
    def port(self) -> int:
        port = urlsplit(self.page.base).port
        assert port
        return port

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Any = None) -> Answer:
        """One request with these headers alone; the others are those of the protocol."""
        with contextlib.closing(self.connection()) as connection:
            connection.request(method, path, body, headers or {})
            found = connection.getresponse()
            return Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())

    def get(self, path: str, **query: str) -> Answer:
        return self.ask("GET", f"/api/{path}?{urlencode(query)}", None, {"X-Token": self.token})

    def post(self, path: str, **body: Any) -> Answer:
        return self.ask("POST", f"/api/{path}", json.dumps(body).encode(), {"X-Token": self.token})

    @contextlib.contextmanager
    def stream(self, method: str, path: str, body: Any = None) -> Iterator[Iterator[EVENT]]:
        """Events as they come; the connection is closed at the end, whether they have ended or not."""
        with contextlib.closing(self.connection()) as connection:
            content = None if body is None else json.dumps(body).encode()
            connection.request(method, f"/api/{path}", content, {"X-Token": self.token})
            found = connection.getresponse()
            assert found.status == 200, found.read()
            yield (parsed(name.decode() + next(found).decode().strip()) for name in found if name.strip())


@contextlib.contextmanager
def served(root: Path, *chosen: Path, train: bool = False, host: str = "127.0.0.1") -> Iterator[Client]:
    """Serve `root` in a thread."""
    play = Play(catalogue.opened(str(root), list(map(str, chosen))), train=train)
    page = Page(play, ports.listening(host, 0), host)
    thread = threading.Thread(target=page.serve)
    thread.start()
    try:
        while not page.server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Client(page, play)
    finally:
        page.stop()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def root(request: Any, chargpt: Any, text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs of several families, by their names in RUNS; of the quick suite alone a GPT; read only."""
    home = tmp_path_factory.mktemp("play") / "out"
    quick = not any(item.get_closest_marker("full") for item in request.session.items if "client" in item.fixturenames)
    for name, words in [*RUNS.items()][: 1 if quick else None]:
        ended = chargpt(*words, f"--data.path={text_file}", f"--system.work_dir={home / name}")
        assert (ended.code, ended.err) == (0, "")
    return home


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[Client]:
    """A page on `root` that only reads."""
    with served(root) as found:
        yield found


@pytest.fixture(scope="session")
def serve() -> Callable[..., contextlib.AbstractContextManager[Client]]:
    """`with serve(root, train=True) as client`."""
    return served


@pytest.fixture(scope="session")
def families() -> Mapping[str, tuple[str, ...]]:
    """The runs of `root`."""
    return RUNS
