"""One thread in which all models compute, a step of one request after a step of another.

A request is a generator.  The worker advances each in turn, so that a long text does not keep a short one waiting; it
stops one whose client has gone, and one that is too far ahead of its client.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from mingpt.core.errors import MingptError

MOST_JOBS = 64  # at the same time
AHEAD = 64  # items of a request that its client has not taken yet

T = TypeVar("T")


class BusyError(MingptError):
    """Too many requests at the same time."""


class Job(Generic[T]):
    """A request in the worker; an asynchronous iterator over what its generator yields.

    Args:
        make: begins the generator, in the worker's thread.
        worker: advances it.
    """

    def __init__(self, make: Callable[[], Iterator[T]], worker: "Worker") -> None:
        self._make, self._worker = make, worker
        self._steps: Iterator[T] | None = None
        self._loop, self._items = asyncio.get_running_loop(), asyncio.Queue[tuple[str, Any]]()
        self.untaken, self.cancelled = 0, False

    def __aiter__(self) -> "Job[T]":
        return self

    async def __anext__(self) -> T:
        kind, value = await self._items.get()
        self._worker.taken(self)
        if kind == "item":
            return value
        self._items.put_nowait((kind, value))  # as often as one asks
        if kind == "error":
            raise value
        raise StopAsyncIteration

    async def last(self) -> T:
        """Return the last item."""
        found: list[T] = []
        async for item in self:
            found = [item]
        return found[0]

    def cancel(self) -> None:
        """End the job; nothing of one that has ended."""
        self._worker.cancel(self)

    def advance(self) -> bool:
        """Make one step, in the worker's thread; return whether there are more."""
        try:
            if self._steps is None and not self.cancelled:
                self._steps = iter(self._make())
            if self.cancelled:
                getattr(self._steps, "close", lambda: None)()
                return False
            assert self._steps is not None
            self._send("item", next(self._steps))
            return True
        except StopIteration:
            self._send("end", None)
        except Exception as error:
            self._send("error", error)
        return False

    def _send(self, kind: str, value: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is closed: the server ends
            self._loop.call_soon_threadsafe(self._items.put_nowait, (kind, value))


class Worker:
    """The thread."""

    def __init__(self) -> None:
        self._jobs: deque[Job[Any]] = deque()
        self._changed, self._ended = threading.Condition(), False
        self._thread = threading.Thread(target=self._work, name="models", daemon=True)
        self._thread.start()

    def submit(self, make: Callable[[], Iterator[T]]) -> Job[T]:
        """Return the job whose generator `make` begins; it has the next turn.

        Raises:
            BusyError: there are too many.
        """
        job = Job(make, self)
        with self._changed:
            if len(self._jobs) >= MOST_JOBS:
                raise BusyError(f"more than {MOST_JOBS} requests at the same time; wait for one to end")
            self._jobs.appendleft(job)
            self._changed.notify()
        return job

    @property
    def busy(self) -> int:
        """How many jobs there are."""
        return len(self._jobs)

    def taken(self, job: Job[Any]) -> None:
        """Note that the client of `job` took an item."""
        with self._changed:
            job.untaken -= 1
            self._changed.notify()

    def cancel(self, job: Job[Any]) -> None:
        """End `job` before its next step."""
        with self._changed:
            job.cancelled = True
            self._changed.notify()

    def close(self) -> None:
        """End the thread after the step that it is at."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(timeout=10)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            more = job.advance()
            with self._changed:
                job.untaken += 1
                self._jobs.remove(job)
                if more:
                    self._jobs.append(job)

    def _next(self) -> Job[Any] | None:
        """The first job that may go on; waits for one.  None: the end."""
        with self._changed:
            while not self._ended:
                for job in self._jobs:
                    if job.cancelled or job.untaken < AHEAD:
                        return job
                self._changed.wait()
        return None
