"""The requests of the page: which there are, and how each is answered; errors are JSON of one line."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from mingpt.cli.play import bodies, comparing, following, looking, training, writing
from mingpt.cli.play.catalogue import Catalogue, NoRunError
from mingpt.cli.play.models import Models
from mingpt.cli.play.security import PICTURE_POLICY, Guard, Names
from mingpt.cli.play.worker import BusyError, Job, Worker
from mingpt.core.errors import MingptError, in_one_line
from mingpt.core.paths import shown
from mingpt.core.version import VERSION
from mingpt.models.config import CONFIGS
from mingpt.runs.trained_run import Run

STATIC = Path(__file__).parent / "static"
STATUS = {NoRunError: 404, BusyError: 503, training.NotAllowedError: 403}  # of errors, else 400

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


class Play:
    """What the requests share.

    Args:
        catalogue: the runs.
        train: whether the page may start, stop and resume training.
        device: where models compute.
    """

    def __init__(self, catalogue: Catalogue, *, train: bool = False, device: str = "cpu") -> None:
        self.catalogue, self.train = catalogue, train
        self.worker, self.models = Worker(), Models(device)
        self.next_tokens, self.attention_of = writing.NextTokens(), looking.Attention()
        self.experiments_of = comparing.Experiments(catalogue.root)
        self.training = training.Training(catalogue, train)

    def app(self, token: str, host: str, once: str | None = None) -> Starlette:
        """Return the application, whose address has `token`, for a server at `host`.

        Args:
            once: /open?once=... leads to the address with its token, the first time; None: there is no such path.
        """
        unused = {once} if once else set()

        async def opened(request: Request) -> Response:
            given = request.query_params.get("once")
            if given not in unused:
                return PlainTextResponse("this address was used; open the one that the terminal printed\n", 403)
            unused.clear()
            return RedirectResponse(f"/?token={token}", status_code=303)

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            yield
            self.close()

        guard = Middleware(Guard, token=token, names=Names(host))
        return Starlette(routes=[Route("/open", opened), *self._routes()], middleware=[guard], lifespan=lifespan)

    def close(self) -> None:
        """End the threads."""
        self.models.close()
        self.worker.close()

    def _routes(self) -> list[Route | Mount]:
        asked = {"state": self.state, "runs": self.runs, "run": self.run, "settings": self.settings}
        asked |= {"follow": self.follow, "curve": self.curve}
        asked |= {"experiments": self.experiments, "figure": self.figure}
        told = {"write": self.write, "next": self.next, "fill": self.fill, "compare": self.compare}
        told |= {"look": self.look, "attention": self.attention, "dependency": self.dependency, "hidden": self.hidden}
        told |= {"train": self.start, "stop": self.stop, "resume": self.resume}
        return [
            Route("/", _page),
            Mount("/static", StaticFiles(directory=STATIC, check_dir=False)),
            *(Route(f"/api/{name}", answered(handler), methods=["GET"]) for name, handler in asked.items()),
            *(Route(f"/api/{name}", answered(handler), methods=["POST"]) for name, handler in told.items()),
        ]

    async def loaded(self, name: str) -> Run:
        """Return the run `name` with its model."""
        return await self.models.of(await asyncio.to_thread(self.catalogue.folder, name))

    async def state(self, request: Request) -> Response:
        chosen = await asyncio.to_thread(self.catalogue.newest)
        facts = {"version": VERSION, "root": shown(self.catalogue.root), "train": self.train, "runs": chosen}
        return JSONResponse({**facts, "families": list(CONFIGS)})

    async def runs(self, request: Request) -> Response:
        return answer(await asyncio.to_thread(self.catalogue.list))

    async def run(self, request: Request) -> Response:
        name = request.query_params.get("name", "")
        loaded = await self.loaded(name)
        return answer({"name": name, **writing.facts(loaded), **looking.sizes(loaded)})

    async def write(self, request: Request) -> Response:
        body = await bodies.read(request, bodies.Write)
        run = await self.loaded(body["name"])
        return await events(self.worker.submit(lambda: writing.write(run, body)))

    async def next(self, request: Request) -> Response:
        body = await bodies.read(request, bodies.Write)
        run = await self.loaded(body["name"])
        return answer(await self.result(request, lambda: self.next_tokens.bars(run, body)))

    async def fill(self, request: Request) -> Response:
        body = await bodies.read(request, bodies.Fill)
        run = await self.loaded(body["name"])
        return answer(await self.result(request, lambda: writing.filled(run, body)))

    async def look(self, request: Request) -> Response:
        body = await bodies.read(request, bodies.Look)
        run = await self.loaded(body["name"])
        return answer(await self.result(request, lambda: looking.look(run, body["text"])))

    async def attention(self, request: Request) -> Response:
        body = await bodies.read(request, bodies.LookHead)
        run = await self.loaded(body["name"])
        where = body["text"], body["layer"], body["head"]
        return numbers(await self.result(request, lambda: self.attention_of.weights(run, *where)))

    async def dependency(self, request: Request) -> Response:
        body = await bodies.read(request, bodies.Look)
        run = await self.loaded(body["name"])
        return numbers(await self.result(request, lambda: looking.dependency(run, body["text"])))

    async def hidden(self, request: Request) -> Response:
        body = await bodies.read(request, bodies.LookLayer)
        run = await self.loaded(body["name"])
        return numbers(await self.result(request, lambda: looking.hidden(run, body["text"], body["layer"])))

    async def settings(self, request: Request) -> Response:
        return answer(await asyncio.to_thread(training.form, request.query_params.get("family", "gpt")))

    async def start(self, request: Request) -> Response:
        body = await bodies.read(request, bodies.Train)
        return answer({"name": await self.training.start(body["settings"])})

    async def stop(self, request: Request) -> Response:
        body = await bodies.read(request, bodies.Named)
        await asyncio.to_thread(self.training.stop, body["name"])
        return answer({"name": body["name"]})

    async def resume(self, request: Request) -> Response:
        body = await bodies.read(request, bodies.Named)
        return answer({"name": await self.training.resume(body["name"])})

    async def follow(self, request: Request) -> Response:
        return await events(following.follow(self.catalogue, request.query_params.get("name", "")))

    async def curve(self, request: Request) -> Response:
        name = request.query_params.get("name", "")
        return answer(await asyncio.to_thread(following.curve, self.catalogue, name))

    async def compare(self, request: Request) -> Response:
        body = await bodies.read(request, bodies.Several)
        return answer(await asyncio.to_thread(comparing.compared, self.catalogue, body["names"]))

    async def experiments(self, request: Request) -> Response:
        return answer(await asyncio.to_thread(self.experiments_of.list))

    async def figure(self, request: Request) -> Response:
        asked = (request.query_params.get(key, "") for key in ("name", "file"))
        svg = await asyncio.to_thread(self.experiments_of.figure, *asked)
        return Response(svg, media_type="image/svg+xml", headers={"content-security-policy": PICTURE_POLICY})

    async def result(self, request: Request, make: Callable[[], Iterator[T]]) -> T:
        """Return the last item of a job, which ends when the client goes away."""
        job = self.worker.submit(make)
        gone, last = asyncio.ensure_future(_gone(request)), asyncio.ensure_future(job.last())
        try:
            await asyncio.wait({gone, last}, return_when=asyncio.FIRST_COMPLETED)
            if not last.done():
                raise bodies.RequestError("the client has gone")
            return last.result()
        finally:
            job.cancel()
            gone.cancel()
            last.cancel()


async def _page(request: Request) -> Response:
    return FileResponse(STATIC / "index.html")


async def _gone(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def answer(content: Any) -> Response:
    """Return JSON; a number that is not finite is null."""
    return Response(encoded(content), media_type="application/json")


def encoded(content: Any) -> str:
    """Return `content` as JSON in one line; a number that is not finite is null."""
    try:
        return json.dumps(content, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(content), allow_nan=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and (value != value or abs(value) == float("inf")) else value


def answered(handler: Handler) -> Handler:
    """Return `handler` with its errors as JSON of one line."""

    async def safe(request: Request) -> Response:
        try:
            return await handler(request)
        except MingptError as error:
            status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 400)
            return JSONResponse({"error": in_one_line(error)}, status_code=status)
        except Exception as error:
            return JSONResponse({"error": f"{type(error).__name__}: {in_one_line(error)}"}, status_code=500)

    return safe


async def events(source: AsyncIterator[writing.Event]) -> Response:
    """Return events as they come; an error before the first is an answer of its own."""
    first = await anext(source)

    async def stream() -> AsyncIterator[str]:
        try:
            yield event(*first)
            async for each in source:
                yield event(*each)
        except MingptError as error:
            yield event("error", {"error": in_one_line(error)})
        except Exception as error:
            yield event("error", {"error": f"{type(error).__name__}: {in_one_line(error)}"})

    return Events(stream(), source)


class Events(StreamingResponse):
    """A stream whose job ends with the answer, also where the client has gone before it began."""

    def __init__(self, content: AsyncIterator[str], source: AsyncIterator[writing.Event]) -> None:
        super().__init__(content, media_type="text/event-stream")
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if isinstance(self._source, Job):
                self._source.cancel()


def numbers(matrix: looking.Square) -> Response:
    """Return a matrix as float32 numbers, row after row; x-shape is `rows,columns`."""
    shape = ",".join(map(str, matrix.shape))
    return Response(matrix.astype("<f4").tobytes(), media_type="application/octet-stream", headers={"x-shape": shape})


def event(name: str, data: Any) -> str:
    """Return one server-sent event."""
    return f"event: {name}\ndata: {encoded(data)}\n\n"
