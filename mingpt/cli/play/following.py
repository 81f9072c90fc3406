"""What a run logs, as events while it goes on: losses, n-gram baselines, samples, status.  No torch."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from mingpt.cli.play.catalogue import RUNNING, Catalogue
from mingpt.cli.play.metrics import Metrics
from mingpt.core.errors import CheckpointError
from mingpt.core.run_files.reading import read_lines, read_losses
from mingpt.core.run_files.records import Sample

POLL = 0.5  # seconds between two looks at a run's files
SILENT = 15.0  # seconds at most between two events, so that a client that has gone is noticed
AT_MOST = 400  # rows of one event
SAMPLES = 5  # the last ones, of what was there before
SAMPLES_BYTES = 64 << 20

Event = tuple[str, dict[str, Any]]


class Follower:
    """One page's view of a run; its methods read files, and are called in a thread."""

    def __init__(self, catalogue: Catalogue, folder: Path) -> None:
        self._catalogue, self._folder = catalogue, folder
        self._metrics = Metrics(folder)
        self._samples_seen, self._samples_changed, self._baselines = -1, 0, False
        self._begun, self._status = False, dict[str, Any]()

    def new(self) -> list[Event]:
        """Return what is new since the last call; at the first, everything, thinned.

        Raises:
            CheckpointError: a damaged file.
        """
        rows = self._metrics.update()
        first = rows is None or not self._begun
        shown = self._metrics.rows() if first else (rows or [])[-AT_MOST:]
        self._begun = True
        found: list[Event] = [("metrics", {"rows": shown, "replace": first})] if shown or first else []
        return [*found, *self._new_baselines(), *self._new_samples(), *self._new_status()]

    def _new_baselines(self) -> list[Event]:
        losses: dict[str, float] = {} if self._baselines else read_losses(self._folder / "baselines.json")
        self._baselines = self._baselines or bool(losses)
        return [("baselines", losses)] if losses else []

    def _new_samples(self) -> list[Event]:
        path = self._folder / "samples.jsonl"
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            return []
        if changed == self._samples_changed:
            return []
        self._samples_changed = changed
        lines = read_lines(path, Sample, limit=SAMPLES_BYTES)
        new = [line for line in lines if line["step"] > self._samples_seen][-SAMPLES:]
        self._samples_seen = max((line["step"] for line in lines), default=-1)
        return [("sample", {key: line[key] for key in ("step", "prompt", "text")}) for line in new]

    def _new_status(self) -> list[Event]:
        state = self._catalogue.progress(self._folder, self._metrics)
        running = state["status"] == RUNNING
        status: dict[str, Any] = {
            **{
                key: state[key]
                for key in ("status", "step", "max_iters", "val_loss", "pseudo", "error")
                if key in state
            },
            "tokens_per_second": self._metrics.tokens_per_second,
            "left_seconds": self._metrics.seconds_left(state["max_iters"]) if running else None,
        }
        if status == self._status:
            return []
        self._status = status
        return [self.status]

    @property
    def status(self) -> Event:
        """The last status, as an event."""
        return "status", self._status


async def follow(catalogue: Catalogue, name: str) -> AsyncIterator[Event]:
    """Yield events of a run until the client goes away.

    Raises:
        NoRunError: there is no such run.
        CheckpointError: a damaged file.
    """
    silent = 0.0
    follower = Follower(catalogue, await asyncio.to_thread(catalogue.folder, name))
    while True:
        try:
            found = await asyncio.to_thread(follower.new)
        except FileNotFoundError:
            raise CheckpointError(f"{name}: removed") from None
        silent = 0.0 if found else silent + POLL
        for event in found or ([follower.status] if silent >= SILENT else []):
            silent = 0.0
            yield event
        await asyncio.sleep(POLL)


def curve(catalogue: Catalogue, name: str) -> dict[str, Any]:
    """Return the losses of a run, thinned.

    Raises:
        NoRunError, CheckpointError: as `follow`.
    """
    metrics = Metrics(catalogue.folder(name))
    metrics.update()
    rows = metrics.rows()
    steps, seconds, train = ([row[at] for row in rows] for at in range(3))
    val = [[row[0], row[1], row[3]] for row in rows if row[3] is not None]
    return {"steps": steps, "seconds": seconds, "train": train, "val": val}
