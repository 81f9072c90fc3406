"""Runs into variants, variants into a comparison: the one result of which a table, a page or an experiment is made.

A **variant** is the runs whose settings differ in nothing but the seed (and in what can't change a loss: folders,
cadences, the W&B logger).  Its name states the settings that the other variants don't have.  A **comparison** is made
at equal steps, of the loss after each variant's last step; at equal seconds, of the loss at the longest training time
that all reached; and at equal FLOPs, of the loss at the most training FLOPs that all reached.

Losses are nats per token; nats per byte where the vocabularies differ.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from mingpt.core.run_files.curves import Curve, mean_curve, reaches
from mingpt.core.run_files.reading import Record
from mingpt.core.run_files.records import RunRecord
from mingpt.core.statistics import MARGIN, Estimate, Losses, estimate
from mingpt.report.significance import NOT_TESTED, SignificanceTest, significance_tests
from mingpt.report.variants import (
    Group,
    by_settings,
    different_starts,
    differing,
    grouped,
    notes,
    notes_on_flops,
    notes_on_time,
    read_named,
    read_runs,
    require_different_seeds,
    require_one_text,
    shown_of,
    usable,
)

Runs = Iterable[str | Path | RunRecord]
FEWEST_POINTS = 3  # of a validation curve that steps are read from


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Runs that differ in their seeds alone.  Lists are in the order of `seeds`.

    Attributes:
        settings: those that differ between variants; None of a setting that this one doesn't have.
        losses: validation loss after the last step of each run; None where it has none.
        loss, loss_at_seconds, loss_at_flops: mean and interval over the seeds that have one.
        last: the last line of each run's metrics.jsonl.
        flops_per_token: FLOPs of one forward pass, per token.
        training_flops: FLOPs of training, mean over the runs; None of an n-gram model, or where they are not on record.
        seconds: training time, mean and interval.
        curves: validation loss along each run.
        training: smoothed training loss along each run.
        samples: text generated after the last step of the first run.
        deterministic: an n-gram model, whose loss is equal for every seed: there is no interval.
        steps_to_baseline: at which its mean validation curve reaches the baseline's last loss; None: it doesn't, or
            there are too few evaluations.
    """

    name: str
    settings: dict[str, Any]
    runs: list[str]
    seeds: list[int]
    losses: list[float | None]
    loss: Estimate | None
    losses_at_seconds: list[float | None]
    loss_at_seconds: Estimate | None
    losses_at_flops: list[float | None]
    loss_at_flops: Estimate | None
    last: list[Record]
    parameters: int | None
    flops_per_token: float | None
    training_flops: float | None
    seconds: Estimate
    curves: list[Curve]
    training: list[Curve]
    samples: list[dict[str, str]]
    deterministic: bool = False
    steps_to_baseline: float | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Variants, and the significance tests of their differences.

    Attributes:
        unit: unit of every loss.
        baseline: name of the first variant with a validation loss; of the first, where none has one.
        every_pair: True if all pairs were tested, False if each variant was tested against the baseline.
        tests: after each variant's last step.
        seconds: the longest training time that all variants reached; None where times can't be compared.
        clock: CPU, where times are CPU seconds of the process; empty: they are seconds inside training steps.
        tests_at_seconds: at that time; [] where no pair can be tested there.
        flops: the most training FLOPs that all variants reached, n-gram models apart; None where they are not known.
        tests_at_flops: at those FLOPs; [] where no pair can be tested there.
        differing: setting -> its value in each variant, in their order; None of a variant that doesn't have it.
        common: the other settings, each with the value that it has wherever there is one.
        baselines: n-gram losses of the text.
        left_out: (run, why) of what was given and not used.
        margin: variants are equivalent where the interval of their difference lies inside +-margin, in the unit.
        notes: what limits the comparison.
        environment: where the runs were made; what differs between them is a text of all values, `a, b`.
    """

    unit: str
    variants: list[Variant]
    baseline: str
    every_pair: bool
    tests: list[SignificanceTest]
    seconds: float | None
    clock: str
    tests_at_seconds: list[SignificanceTest]
    flops: float | None
    tests_at_flops: list[SignificanceTest]
    differing: dict[str, list[Any]]
    common: dict[str, Any]
    baselines: dict[str, float]
    left_out: list[tuple[str, str]]
    margin: float = MARGIN
    notes: list[str] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for json.dumps."""
        return asdict(self)


LOSSES: tuple[Callable[[Variant], Sequence[float | None]], ...] = (  # after the last step; at equal seconds, FLOPs
    lambda variant: variant.losses,
    lambda variant: variant.losses_at_seconds,
    lambda variant: variant.losses_at_flops,
)


def comparison(
    runs: Runs | Mapping[str, Runs],
    *,
    every_pair: bool = False,
    keep_going: bool = False,
    margin: float = MARGIN,
) -> Comparison:
    """Compare the runs in these folders.

    Args:
        runs: run folders, or what is read of them; or these of each variant by its name, where the caller knows the
            variants.
        every_pair: test all pairs of variants; else each against the baseline.
        keep_going: leave unfinished runs out and list them; else they are rejected.
        margin: of equivalence, as Comparison has it.

    Raises:
        UsageError: no run, an unfinished one, or two of the same settings and seed.
        DataError: runs on different texts, or with different validation sets.
        CheckpointError: a damaged run folder.
    """
    used, left_out, groups = _into_groups(runs, keep_going)
    per_byte = len({run.environment.get("vocabulary_sha256") for run in used}) > 1
    key, scale = ("bits_per_byte", math.log(2)) if per_byte else ("val_loss", 1.0)
    seconds = None if notes_on_time(used) else _reached_by_all(used)
    flops = None if notes_on_flops(used) else _flops_reached_by_all(used)
    settings = shown_of(differing([group.settings for group in groups]))
    variants = [_variant(group, list(settings), key, scale, seconds, flops) for group in groups]
    baseline = next((each for each in variants if each.loss), variants[0])
    pairs = _pairs(variants, baseline, every_pair)
    fixed = [each.name for each in variants if each.deterministic]
    tests, at_seconds, at_flops = (
        significance_tests({each.name: _losses(each, losses(each)) for each in variants}, pairs, fixed, margin)
        for losses in LOSSES
    )
    if not different_starts(used):
        variants = [replace(each, steps_to_baseline=_steps_to_loss(each, baseline)) for each in variants]
    return Comparison(
        unit="nats per byte" if per_byte else "nats",
        variants=variants,
        baseline=baseline.name,
        every_pair=every_pair,
        tests=tests,
        seconds=seconds,
        clock="CPU" if all(run.has_cpu_seconds for run in used) else "",
        tests_at_seconds=_if_any_tested(at_seconds),
        flops=flops,
        tests_at_flops=_if_any_tested(at_flops),
        differing=settings,
        common={key: value for group in groups for key, value in group.settings.items() if key not in settings},
        baselines=used[0].baselines if len({str(run.baselines) for run in used}) == 1 and not per_byte else {},
        left_out=left_out,
        margin=margin,
        notes=[
            *notes(used, per_byte),
            *dict.fromkeys([*notes_on_time(used), *notes_on_flops(used)]),
            *(f"{name} is an n-gram model: its loss is equal for every seed, so it has no interval" for name in fixed),
        ],
        environment=_merged([run.environment for run in used]),
    )


def _merged(values: Sequence[Any]) -> Any:
    """One value for several: of objects each name's, of other values the one that all are, or a text of all."""
    if all(isinstance(value, Mapping) for value in values):
        names = dict.fromkeys(name for value in values for name in value)
        return {name: _merged([value[name] for value in values if name in value]) for name in names}
    different = [value for place, value in enumerate(values) if value not in values[:place]]
    return different[0] if len(different) == 1 else ", ".join(map(str, different))


def _if_any_tested(tests: list[SignificanceTest]) -> list[SignificanceTest]:
    return tests if any(test.outcome != NOT_TESTED for test in tests) else []


def _pairs(variants: Sequence[Variant], baseline: Variant, every_pair: bool) -> list[tuple[str, str]]:
    names = [baseline.name, *(each.name for each in variants if each is not baseline)]
    return list(combinations(names, 2)) if every_pair else [(names[0], other) for other in names[1:]]


def _into_groups(
    runs: Runs | Mapping[str, Runs], keep_going: bool
) -> tuple[list[RunRecord], list[tuple[str, str]], list[Group]]:
    """The runs that can be compared; the others, each with a reason; and the groups of the former."""
    named = read_named(runs) if isinstance(runs, Mapping) else None
    records = [r for each in named.values() for r in each] if named else read_runs(runs)
    used, left_out = usable(records, keep_going)
    require_one_text(used)
    groups = grouped(named, used) if named else by_settings(used)
    require_different_seeds(groups)
    return used, left_out, groups


def _reached_by_all(runs: Sequence[RunRecord]) -> float:
    """Seconds of training that all reached; n-gram models apart, which more time would not change."""
    by_gradients = [run for run in runs if not run.count_based]
    return min(run.compute(run.last) for run in by_gradients or runs)


def _flops_reached_by_all(runs: Sequence[RunRecord]) -> float | None:
    """Training FLOPs that all reached, n-gram models apart, which have none; None where there are only these."""
    spent = [run.training_flops(run.last) for run in runs]
    return min((each for each in spent if each is not None), default=None)


def _at(seconds: float | None, run: RunRecord, curve: Curve, last: float | None) -> float | None:
    """The loss after so many seconds; that of a fitted n-gram model stays as it is."""
    if seconds is None:
        return None
    ended = run.count_based and run.compute(run.last) <= seconds
    return last if ended else curve.loss_at(seconds, "seconds")


def _variant(
    group: Group, differing: Iterable[str], key: str, scale: float, seconds: float | None, flops: float | None
) -> Variant:
    runs = sorted(group.runs, key=lambda run: run.seed)
    model = runs[0].environment.get("model") or {}
    curves = [run.validation(key, scale) for run in runs]
    losses = [scaled(run.last.get(key), scale) for run in runs]
    timed = [_at(seconds, run, curve, loss) for run, curve, loss in zip(runs, curves, losses, strict=True)]
    at_flops = [None if flops is None else curve.loss_at(flops, "flops") for curve in curves]
    spent = [each for run in runs if (each := run.training_flops(run.last)) is not None]
    fixed = all(run.count_based for run in runs) and len({*losses}) == 1
    return Variant(
        name=group.name,
        settings={name: group.settings.get(name) for name in differing},
        runs=[str(run.folder) for run in runs],
        seeds=[run.seed for run in runs],
        losses=losses,
        loss=_estimate(losses, fixed),
        losses_at_seconds=timed,
        loss_at_seconds=_estimate(timed, fixed),
        losses_at_flops=at_flops,
        loss_at_flops=_estimate(at_flops, fixed),
        last=[run.last for run in runs],
        parameters=model.get("parameters"),
        flops_per_token=model.get("flops_per_token"),
        training_flops=sum(spent) / len(spent) if spent else None,
        seconds=estimate([run.last.get("seconds", 0.0) for run in runs]),
        curves=curves,
        training=[run.training() for run in runs],
        samples=runs[0].last_samples(),
        deterministic=fixed,
    )


def scaled(loss: float | None, scale: float) -> float | None:
    """A loss in another unit; None of None and of what is not finite."""
    return None if loss is None or not math.isfinite(loss) else loss * scale


def _estimate(losses: Iterable[float | None], fixed: bool) -> Estimate | None:
    there = [loss for loss in losses if loss is not None]
    if fixed and there:
        return Estimate(mean=there[0], low=None, high=None, n=len(there))
    return estimate(there) if there else None


def _losses(variant: Variant, losses: Sequence[float | None]) -> Losses:
    return dict(zip(variant.seeds, losses, strict=True))


def _steps_to_loss(variant: Variant, baseline: Variant) -> float | None:
    """The step at which a variant's mean validation curve reaches the baseline's last loss, over the shared seeds."""
    shared = {*variant.seeds} & {*baseline.seeds}
    if variant is baseline or not shared:
        return None
    ours, theirs = (
        mean_curve([curve for seed, curve in zip(each.seeds, each.curves, strict=True) if seed in shared])
        for each in (variant, baseline)
    )
    if min(len(ours.steps), len(theirs.steps)) < FEWEST_POINTS:
        return None
    return reaches(ours.steps, ours.losses, theirs.losses[-1])
