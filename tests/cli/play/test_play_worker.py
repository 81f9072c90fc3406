"""The worker advances requests in turn, stops those whose client has gone or is slow, and bounds their number."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from mingpt.cli.play.worker import AHEAD, MOST_JOBS, BusyError, Worker


def with_worker(test: Callable[[Worker], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        worker = Worker()
        try:
            return await asyncio.wait_for(test(worker), 30)
        finally:
            worker.close()

    return asyncio.run(inside())


async def settled(worker: Worker, jobs: int) -> None:
    while worker.busy != jobs:
        await asyncio.sleep(0.005)


def test_requests_are_advanced_in_turn() -> None:
    trace: list[str] = []

    def steps(name: str) -> Iterator[str]:
        for number in range(4):
            trace.append(name)
            yield f"{name}{number}"

    async def test(worker: Worker) -> list[list[str]]:
        jobs = [worker.submit(lambda name=name: steps(name)) for name in "ab"]
        return await asyncio.gather(*(collected(job) for job in jobs))

    async def collected(job: Any) -> list[str]:
        return [item async for item in job]

    assert with_worker(test) == [[f"{name}{n}" for n in range(4)] for name in "ab"]
    first_end = min(len(trace) - 1 - trace[::-1].index(name) for name in "ab")
    assert {*trace[:first_end]} == {"a", "b"}, "one ran to its end before the other had a turn"


def test_job_that_is_cancelled_is_closed_and_gone() -> None:
    closed: list[bool] = []

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    async def test(worker: Worker) -> None:
        job = worker.submit(endless)
        await anext(job)
        job.cancel()
        await settled(worker, 0)

    with_worker(test)
    assert closed == [True]


def test_job_waits_for_a_slow_client_and_others_go_on() -> None:
    made: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            made.append(0)
            yield 0

    async def test(worker: Worker) -> None:
        slow = worker.submit(endless)
        while len(made) < AHEAD:
            await asyncio.sleep(0.005)
        assert await worker.submit(lambda: iter(range(5))).last() == 4
        await asyncio.sleep(0.05)
        assert len(made) == AHEAD
        for _ in range(10):
            await anext(slow)
        while len(made) < AHEAD + 10:
            await asyncio.sleep(0.005)

    with_worker(test)


def test_error_reaches_the_client_and_the_worker_goes_on() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("as expected")

    async def test(worker: Worker) -> None:
        job = worker.submit(failing)
        assert await anext(job) == 1
        for _ in range(2):
            with pytest.raises(ValueError, match="as expected"):
                await anext(job)
        assert await worker.submit(lambda: iter([3])).last() == 3

    with_worker(test)


def test_too_many_requests_are_rejected() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 0

    async def test(worker: Worker) -> None:
        jobs = [worker.submit(endless) for _ in range(MOST_JOBS)]
        with pytest.raises(BusyError):
            worker.submit(endless)
        for job in jobs:
            job.cancel()
        await settled(worker, 0)

    with_worker(test)
