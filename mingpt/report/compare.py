"""Runs into arms, arms into a comparison: all that a table, a page or an experiment says, as data.

An **arm** is the runs whose settings differ in nothing but the seed (and in what can't change a loss: folders,
cadences, the mirror).  Its name says what its settings have that the other arms' don't.  A **comparison** holds two
views: equal steps, the loss after each arm's last step; and equal seconds, the loss at the longest training time that
all reached.

Losses are nats per token; nats per byte where the arms' vocabularies differ.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mingpt.core.run_files.curves import Curve, mean_curve, reaches
from mingpt.core.run_files.records import RunRecord
from mingpt.report.formatting import number
from mingpt.report.headline import headline
from mingpt.report.significance import Sooner, Verdict, called, judge
from mingpt.report.statistics import Estimate, Losses, estimate
from mingpt.report.variants import (
    Group,
    by_settings,
    differing_where_read,
    grouped,
    notes,
    notes_on_time,
    read_runs,
    refuse_other_texts,
    refuse_twins,
    unlike_starts,
    usable,
)

FEWEST_POINTS = 3  # of a held-out curve that steps are read from; else the training curve has to do


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Runs that differ in their seeds alone.  Lists are in the order of `seeds`.

    Attributes:
        settings: those that are not alike in all arms; None where it reads one not.
        losses: held-out loss after the last step; None where a run has none.
        loss, loss_at_seconds: mean and interval over the seeds that have one.
        flops_per_token: of one forward pass.
        steps, tokens: of the last step.
        seconds: of training.
        curves: held-out loss along each run.
        training: smoothed training loss along each run.
        samples: what the first run wrote last.
        pseudo_nats: of a model that fills gaps, per token hidden, in place of a loss; no loss.
        deterministic: it counts, and no seed changes its loss: there is no interval, and no two such are tested.
    """

    name: str
    settings: dict[str, Any]
    runs: list[str]
    seeds: list[int]
    losses: list[float | None]
    loss: Estimate | None
    bits_per_byte: float | None
    losses_at_seconds: list[float | None]
    loss_at_seconds: Estimate | None
    parameters: int | None
    flops_per_token: float | None
    steps: int
    tokens: int | None
    seconds: Estimate
    curves: list[Curve]
    training: list[Curve]
    samples: list[dict[str, str]]
    pseudo_nats: Estimate | None = None
    deterministic: bool = False


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Arms and what may be said of them.

    Attributes:
        headline: the verdict, in one sentence.
        unit: of every loss.
        every_pair: whether all pairs were judged, or each arm against the first.
        verdicts: after each arm's last step.
        seconds: the longest training time that all arms reached, in CPU seconds of the process on a CPU; None where
            times can't be compared.
        verdicts_at_seconds: at that time.
        differing: setting -> its value in each arm, in the arms' order; None also where an arm hasn't got it.
        baselines: n-gram losses of the text.
        left_out: (run, why) of what was given and not used.
        notes: what a reader must know beside the numbers.
    """

    headline: str
    unit: str
    arms: list[Arm]
    every_pair: bool
    verdicts: list[Verdict]
    seconds: float | None
    verdicts_at_seconds: list[Verdict]
    differing: dict[str, list[Any]]
    baselines: dict[str, float]
    left_out: list[tuple[str, str]]
    notes: list[str] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def told_at_seconds(self) -> list[Verdict]:
        """The verdicts at equal training time; [] where no pair has a result there."""
        return self.verdicts_at_seconds if any(v.kind != "none" for v in self.verdicts_at_seconds) else []

    def to_json(self) -> dict[str, Any]:
        """Plain values, for json.dumps."""
        return asdict(self)


def comparison(
    runs: Iterable[str | Path] | Mapping[str, Iterable[str | Path]],
    *,
    every_pair: bool = False,
    keep_going: bool = False,
) -> Comparison:
    """Compare the runs in these folders.

    Args:
        runs: run folders; or the folders of each arm by its name, where the caller knows what an arm is.
        every_pair: judge all pairs of arms; else each against the first.
        keep_going: leave unfinished runs out and say so; else they are refused.

    Raises:
        UsageError: no run, an unfinished one, or two of the same settings and seed.
        DataError: runs on different texts, or judged on different parts of one.
        CheckpointError: a damaged run folder.
    """
    used, left_out, groups = _into_groups(runs, keep_going)
    per_byte = len({run.environment.get("vocabulary_sha256") for run in used}) > 1
    key, scale = ("bits_per_byte", math.log(2)) if per_byte else ("val_loss", 1.0)
    seconds = None if notes_on_time(used) else _reached_by_all(used)
    unlike = differing_where_read(groups)
    arms = [_arm(group, list(unlike), key, scale, seconds) for group in groups]
    certain = [arm.name for arm in arms if arm.deterministic]
    unit = "nats per byte" if per_byte else "nats"
    verdicts = judge(
        {arm.name: _losses(arm, arm.losses) for arm in arms},
        every_pair=every_pair,
        unit=unit,
        sooner=None if unlike_starts(used) else partial(_sooner, {arm.name: arm for arm in arms}),
        certain=certain,
    )
    timed = {arm.name: _losses(arm, arm.losses_at_seconds) for arm in arms}
    return Comparison(
        headline=_headline(arms, verdicts, unit, used[0].baselines if not per_byte else {}),
        unit=unit,
        arms=arms,
        every_pair=every_pair,
        verdicts=verdicts,
        seconds=seconds,
        verdicts_at_seconds=(
            [] if seconds is None else judge(timed, every_pair=every_pair, unit=unit, certain=certain)
        ),
        differing=unlike,
        baselines={} if per_byte else used[0].baselines,
        left_out=left_out,
        notes=[*notes(used, per_byte), *notes_on_time(used), *_notes_on_counting(certain)],
        environment=used[0].environment,
    )


def _into_groups(
    runs: Iterable[str | Path] | Mapping[str, Iterable[str | Path]], keep_going: bool
) -> tuple[list[RunRecord], list[tuple[str, str]], list[Group]]:
    """The runs that can be compared; the others, with why; and the first as they make arms."""
    named = {name: read_runs(folders) for name, folders in runs.items()} if isinstance(runs, Mapping) else None
    records = [r for each in named.values() for r in each] if named else read_runs(runs)
    used, left_out = usable(records, keep_going)
    refuse_other_texts(used)
    groups = grouped(named, used) if named else by_settings(used)
    refuse_twins(groups)
    return used, left_out, groups


def _reached_by_all(runs: Sequence[RunRecord]) -> float:
    """Seconds; runs that counted don't shorten them, since more time would have changed nothing there."""
    by_gradients = [run for run in runs if not run.counted]
    return min(run.compute(run.last) for run in by_gradients or runs)


def _at(seconds: float | None, run: RunRecord, curve: Curve, last: float | None) -> float | None:
    """The loss after so many seconds; counting, once done, stays as it is."""
    if seconds is None:
        return None
    ended = run.counted and run.compute(run.last) <= seconds
    return last if ended else curve.loss_at(seconds)


def _arm(group: Group, differing: Iterable[str], key: str, scale: float, seconds: float | None) -> Arm:
    runs = sorted(group.runs, key=lambda run: run.seed)
    model, last = runs[0].environment.get("model") or {}, runs[0].last
    curves = [run.held_out(key, scale) for run in runs]
    losses = [scaled(run.last.get(key), scale) for run in runs]
    timed = [_at(seconds, run, curve, loss) for run, curve, loss in zip(runs, curves, losses, strict=True)]
    bits = [run.last["bits_per_byte"] for run in runs if run.last.get("bits_per_byte") is not None]
    alike = all(run.counted for run in runs) and len({*losses}) == 1
    return Arm(
        name=group.name,
        settings={name: group.settings.get(name) if runs[0].reads(name) else None for name in differing},
        runs=[str(run.folder) for run in runs],
        seeds=[run.seed for run in runs],
        losses=losses,
        loss=_estimate(losses, alike),
        bits_per_byte=float(np.mean(bits)) if bits else None,
        losses_at_seconds=timed,
        loss_at_seconds=_estimate(timed, alike),
        parameters=model.get("parameters"),
        flops_per_token=model.get("flops_per_token"),
        steps=last["step"],
        tokens=last.get("tokens"),
        seconds=estimate([run.compute(run.last) for run in runs]),
        curves=curves,
        training=[run.training() for run in runs],
        samples=runs[0].last_samples(),
        pseudo_nats=_estimate([scaled(run.last.get("pseudo_nats"), 1.0) for run in runs]),
        deterministic=alike,
    )


def scaled(loss: float | None, scale: float) -> float | None:
    """A loss in another unit; None stays None, and what is not finite is none."""
    return None if loss is None or not math.isfinite(loss) else loss * scale


def _estimate(losses: Iterable[float | None], alike: bool = False) -> Estimate | None:
    there = [loss for loss in losses if loss is not None]
    if alike and there:
        return Estimate(mean=there[0], low=None, high=None, n=len(there))
    return estimate(there) if there else None


def _notes_on_counting(certain: Sequence[str]) -> list[str]:
    return [f"{called(name)} counts: the same for every seed, so its loss has no interval" for name in certain]


def _losses(arm: Arm, losses: Sequence[float | None]) -> Losses:
    return dict(zip(arm.seeds, losses, strict=True))


def _sooner(arms: Mapping[str, Arm], better_name: str, other_name: str) -> Sooner | None:
    """Read from mean curves over the shared seeds: held-out where it was looked at often enough, else training."""
    better, other = arms[better_name], arms[other_name]
    if 1 in (better.steps, other.steps):  # counting has a single one: no step of training is like it
        return None
    shared = {*better.seeds} & {*other.seeds}

    def mean(arm: Arm, curves: Sequence[Curve]) -> Curve:
        return mean_curve([curve for seed, curve in zip(arm.seeds, curves, strict=True) if seed in shared])

    ours, theirs, name = mean(better, better.curves), mean(other, other.curves), "held-out curve"
    if len(ours.steps) < FEWEST_POINTS:
        ours, theirs, name = mean(better, better.training), mean(other, other.training), "smoothed training curve"
    if not theirs.steps:
        return None
    there = reaches(ours.steps, ours.losses, theirs.losses[-1])
    if there is None or there >= theirs.steps[-1]:
        return None
    return Sooner(steps=theirs.steps[-1] - there, curve=name)


def _headline(arms: Sequence[Arm], verdicts: Sequence[Verdict], unit: str, baselines: Mapping[str, float]) -> str:
    if verdicts or len(arms) > 1 or arms[0].loss is None:
        return headline({arm.name: arm.loss.mean if arm.loss else None for arm in arms}, verdicts, unit)
    loss = arms[0].loss.mean
    below = [name for name, line in baselines.items() if loss < line]
    beaten = f", below the {below[-1]} line" if below else ", above every n-gram line" if baselines else ""
    return f"held-out loss {number(loss)} {unit}{_over_seeds(arms[0])}{beaten}"


def _over_seeds(arm: Arm) -> str:
    assert arm.loss is not None
    if arm.deterministic:
        return " (counted: the same for every seed)"
    if arm.loss.low is None or arm.loss.high is None:
        return " (1 seed)"
    return f" (95 % interval {number(arm.loss.low)} to {number(arm.loss.high)}, {arm.loss.n} seeds)"
