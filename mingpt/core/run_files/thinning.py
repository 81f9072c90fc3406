"""What is kept of a run's records while they are read: as much as a picture shows, however many steps there are."""

import math
from collections.abc import Iterable

from mingpt.core.run_files.curves import moving_average
from mingpt.core.run_files.reading import Record

OF_A_STEP = ("step", "tokens", "seconds", "cpu_seconds")
EVALUATED = ("val_loss", "val_loss_part", "bits_per_byte", "bits_per_byte_part", "pseudo_nats", "pseudo_nats_part")
SMOOTHED = "train_loss_smoothed"  # stands in for the training loss in records that are kept
KEPT = (*OF_A_STEP, *EVALUATED, SMOOTHED)
POINTS = 200  # of a training curve at most, and half as many at least, but for shorter runs
EVALUATIONS = 10_000  # evaluations; a run has about a hundred


class EvenlySpaced:
    """Of a sequence of any length at most `most` records by their place: each, or every second, fourth, eighth, ..."""

    def __init__(self, most: int) -> None:
        self.most, self.apart, self.count = most, 1, 0
        self.kept: dict[int, Record] = {}

    def add(self, place: int, record: Record) -> None:
        if self.count % self.apart == 0:
            self.kept[place] = record
        self.count += 1
        if len(self.kept) > self.most:
            self.kept = dict([*self.kept.items()][::2])
            self.apart *= 2


def thinned(records: Iterable[Record]) -> list[Record]:
    """Records that are drawn: where there was an evaluation, and between these the training loss, smoothed over all.

    Of the last, everything is kept, as it shows how a run ended.  What was thinned before, for publishing, stays as it
    is, since its losses are smoothed already.
    """
    evaluations, curve, last = EvenlySpaced(EVALUATIONS), EvenlySpaced(POINTS), dict[int, Record]()
    average = moving_average()
    for place, record in enumerate(records):
        kept = {key: record[key] for key in KEPT if key in record}
        if SMOOTHED in record or any(key in record for key in EVALUATED):
            evaluations.add(place, kept)
        last = {place: record}
        if SMOOTHED not in record and math.isfinite(loss := record.get("train_loss", math.nan)):
            smooth = average(loss)
            curve.add(place, {**kept, SMOOTHED: smooth})
            last = {place: {**record, SMOOTHED: smooth}}
    return [record for _, record in sorted({**evaluations.kept, **curve.kept, **last}.items())]
