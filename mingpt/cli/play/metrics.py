"""metrics.jsonl of a run while it grows: what is new is read, and a bounded part of it kept.  No torch."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mingpt.core.errors import CheckpointError
from mingpt.core.run_files.curves import moving_average
from mingpt.core.run_files.reading import Record, evaluated_loss
from mingpt.core.run_files.records import TrainedStep
from mingpt.core.run_files.thinning import SMOOTHED, EvenlySpaced
from mingpt.core.safe_parsing import LINE_BYTES, Named, Number, fault, parse_json, require_ordinary

POINTS = 400  # of a curve at most, and half as many at least
RECENT = 50  # steps whose time says how long the rest takes

Row = list[Any]  # [step, seconds, smoothed training loss, validation loss, pseudo-nats, or None]


class Metrics:
    """What a run has logged so far.

    Attributes:
        step, seconds: of the last line.
        val_loss: the last validation loss; None before any.
        pseudo: the last pseudo-nats of a masked language model; None before any.
        complete: whether the evaluation after the last step was made.
        tokens_per_second: of the last line.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "metrics.jsonl"
        self._forget(None)

    def _forget(self, identity: int | None) -> None:
        self._identity, self._offset, self._count = identity, 0, 0
        self._curve, self._evaluated = EvenlySpaced(POINTS), EvenlySpaced(POINTS)
        self._average, self._times = moving_average(), list[tuple[int, float]]()
        self._last: Record = {}
        self.step, self.seconds, self.tokens_per_second = 0, 0.0, 0.0
        self.val_loss: float | None = None
        self.pseudo: float | None = None
        self.complete = False

    def update(self) -> list[Row] | None:
        """Read what is new, and return its rows; None where the file was replaced, as by a resume.

        Raises:
            CheckpointError: a damaged line.
        """
        try:
            require_ordinary(self.path)
            facts = self.path.stat()
        except FileNotFoundError:
            return []
        except ValueError as reason:
            raise CheckpointError(f"{self.path}: {reason}") from None
        replaced = self._identity is not None and (facts.st_ino != self._identity or facts.st_size < self._offset)
        if replaced:
            self._forget(None)
        self._identity = facts.st_ino
        rows = [self._add(record) for record in self._new_records()]
        return None if replaced else rows

    def rows(self) -> list[Row]:
        """Return rows of all that was read, thinned."""
        return [row for _, row in sorted({**self._curve.kept, **self._evaluated.kept}.items())]  # type: ignore[misc]

    def seconds_left(self, steps: int) -> float | None:
        """Return how long the rest of `steps` takes, by the time of the last ones; None while that is unknown."""
        if len(self._times) < 2:
            return None
        (first, began), (last, now) = self._times[0], self._times[-1]
        return (now - began) / max(last - first, 1) * max(steps - last, 0)

    def _new_records(self) -> Iterator[Record]:
        """Complete lines from the offset on."""
        with open(self.path, "rb") as file:
            file.seek(self._offset)
            while line := file.readline(LINE_BYTES + 1):
                if not line.endswith(b"\n"):
                    if len(line) > LINE_BYTES:
                        raise CheckpointError(f"{self.path}: a line of more than {LINE_BYTES:,} bytes")
                    return
                self._offset += len(line)
                if line.strip():
                    yield self._parsed(line)

    def _parsed(self, line: bytes) -> Record:
        try:
            record = parse_json(line.decode("utf-8", errors="replace"))
        except ValueError as reason:
            raise CheckpointError(f"{self.path}: {reason}") from None
        if wrong := fault(record, Named[Number], TrainedStep):
            raise CheckpointError(f"{self.path}: {wrong}")
        return record

    def _add(self, record: Record) -> Row:
        loss = record["train_loss"]
        smooth = record.get(SMOOTHED, self._average(loss) if math.isfinite(loss) else None)
        loss_now, pseudo_now = evaluated_loss(record), evaluated_loss(record, "pseudo_nats")
        found = pseudo_now if loss_now is None else loss_now
        row: Row = [record["step"], record.get("seconds", 0.0), smooth, found]
        self._count += 1
        if found is not None:
            self.val_loss, self.pseudo = loss_now, pseudo_now
            self._evaluated.add(self._count, row)  # type: ignore[arg-type]
        self._curve.add(self._count, row)  # type: ignore[arg-type]
        self._times = [*self._times[1 - RECENT :], (record["step"], row[1])]
        self.step, self.seconds, self._last = record["step"], row[1], record
        self.tokens_per_second = record.get("tokens_per_second", 0.0)
        self.complete = "val_loss" in record or "pseudo_nats" in record
        return row
