"""A loss along one run, and the mean of several such."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A loss along one run: equally long lists of steps, seconds of training, and nats."""

    seed: int
    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def loss_at(self, seconds: float) -> float | None:
        """The loss after so many seconds, by a straight line between neighbours; None before the first or after the
        last point."""
        times = self.seconds
        if not times or not times[0] <= seconds <= times[-1]:
            return None
        after = next(place for place, time in enumerate(times) if time >= seconds)
        if times[after] == seconds or after == 0:
            return self.losses[after]
        share = (seconds - times[after - 1]) / (times[after] - times[after - 1])
        return self.losses[after - 1] + share * (self.losses[after] - self.losses[after - 1])


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean over runs at the steps that all of them have; its seed is the first's."""
    common = sorted(set.intersection(*({*curve.steps} for curve in curves)))
    places = [{step: place for place, step in enumerate(curve.steps)} for curve in curves]

    def mean(values: Sequence[Sequence[float]], step: int) -> float:
        return float(np.mean([each[place[step]] for each, place in zip(values, places, strict=True)]))

    return Curve(
        seed=curves[0].seed,
        steps=common,
        seconds=[mean([curve.seconds for curve in curves], step) for step in common],
        losses=[mean([curve.losses for curve in curves], step) for step in common],
    )
