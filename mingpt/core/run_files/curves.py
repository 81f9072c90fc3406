"""A loss along one run: how it is smoothed, where it comes down to a value, and the mean of several such."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A loss along one run: equally long lists of steps, seconds of training, training FLOPs, and nats.

    `flops` is [] where they are not known, and of an n-gram model, which is not trained by gradients.
    """

    seed: int
    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    flops: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def loss_at(self, spent: float, over: str) -> float | None:
        """The loss after so much was spent, by a straight line between neighbours; None before the first or after the
        last point.

        Args:
            over: what was spent, `seconds` or `flops`.
        """
        points: list[float] = getattr(self, over)
        if not points or not points[0] <= spent <= points[-1]:
            return None
        after = next(place for place, point in enumerate(points) if point >= spent)
        if points[after] == spent or after == 0:
            return self.losses[after]
        share = (spent - points[after - 1]) / (points[after] - points[after - 1])
        return self.losses[after - 1] + share * (self.losses[after] - self.losses[after - 1])


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean over runs at the steps that all of them have; its seed is the first's."""
    common = sorted(set.intersection(*({*curve.steps} for curve in curves)))
    places = [{step: place for place, step in enumerate(curve.steps)} for curve in curves]

    def mean(values: Sequence[Sequence[float]], step: int) -> float:
        return math.fsum(each[place[step]] for each, place in zip(values, places, strict=True)) / len(values)

    return Curve(
        seed=curves[0].seed,
        steps=common,
        seconds=[mean([curve.seconds for curve in curves], step) for step in common],
        flops=[mean([curve.flops for curve in curves], step) for step in common if all(each.flops for each in curves)],
        losses=[mean([curve.losses for curve in curves], step) for step in common],
    )


def moving_average(keep: float = 0.9) -> Callable[[float], float]:
    """A function of one value after the other: their running average so far, which starts at the first."""
    average: float | None = None

    def after(value: float) -> float:
        nonlocal average
        average = value if average is None else keep * average + (1 - keep) * value
        return average

    return after


def reaches(steps: Sequence[float], losses: Sequence[float], target: float) -> float | None:
    """The step at which a curve first comes down to `target`, straight lines between its points; None: never."""
    for place, (step, loss) in enumerate(zip(steps, losses, strict=True)):
        if loss <= target:
            if place == 0:
                return float(step)
            before, above = steps[place - 1], losses[place - 1]
            return before + (step - before) * (above - target) / (above - loss)
    return None
