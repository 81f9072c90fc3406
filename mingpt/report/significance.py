"""Significance tests of the differences between variants: paired t-tests over seeds, corrected by Holm's method.

    better, worse   p of the paired t-test, after Holm's correction over all tests of the comparison, is below 0.05
    equivalent      else, where the 95 % interval of the difference lies inside the margin: +-0.05 nats, or
                    the experiment's own.  Stricter than two one-sided tests at 5 % (Schuirmann 1987), which ask that
                    of the 90 % interval; not corrected
    inconclusive    neither: no significant difference.  The minimum detectable effect (power 0.8) says how large a
                    difference these seeds would have shown
    not tested      fewer than three shared seeds, or two variants that no seed changes

Differences are variant minus baseline: positive where the variant's loss is higher.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from mingpt.core.statistics import (
    LEVEL,
    MARGIN,
    Difference,
    Losses,
    difference,
    holm,
    inside_margin,
    minimum_detectable_effect,
)

FEWEST = 3  # seeds that a test needs
NOT_TESTED = "not tested"


@dataclass(frozen=True, kw_only=True)
class SignificanceTest:
    """A variant against a baseline.

    Attributes:
        outcome: better, worse (the variant's loss is lower, higher), equivalent, inconclusive or not tested.
        equivalent: the 95 % interval lies inside the margin, whatever the outcome.
        p: two-sided, after Holm's correction; None where it is not tested.
        difference: None with fewer than two shared seeds.
    """

    baseline: str
    variant: str
    outcome: str
    equivalent: bool
    p: float | None
    difference: Difference | None


def significance_tests(
    losses: Mapping[str, Losses],
    pairs: Collection[tuple[str, str]],
    deterministic: Collection[str] = (),
    margin: float = MARGIN,
) -> list[SignificanceTest]:
    """Test each pair of variants.

    Args:
        losses: final validation losses by the variant's name, seed -> loss.
        pairs: (baseline, variant), all of which Holm's correction is over.
        deterministic: variants that no seed changes; two such are not tested, since nothing varies.
        margin: half the width, in nats, of the range inside which two variants are equivalent.
    """
    found = [difference(losses[variant], losses[baseline]) for baseline, variant in pairs]
    tested = [
        each is not None and len(each.seeds) >= FEWEST and not {*pair} <= {*deterministic}
        for each, pair in zip(found, pairs, strict=True)
    ]
    corrected = iter(holm([each.p for each, test in zip(found, tested, strict=True) if each is not None and test]))
    level = LEVEL / max(sum(tested), 1)
    return [
        _tested(pair, each, next(corrected), level, margin) if test and each is not None else _not_tested(pair, each)
        for pair, each, test in zip(pairs, found, tested, strict=True)
    ]


def _tested(pair: tuple[str, str], found: Difference, p: float, level: float, margin: float) -> SignificanceTest:
    found = replace(found, mde=minimum_detectable_effect(found.spread, len(found.seeds), level=level))
    equivalent = inside_margin(found, margin)
    significant = "better" if found.mean < 0 else "worse"
    outcome = significant if p < LEVEL else "equivalent" if equivalent else "inconclusive"
    return SignificanceTest(
        baseline=pair[0], variant=pair[1], outcome=outcome, equivalent=equivalent, p=p, difference=found
    )


def _not_tested(pair: tuple[str, str], found: Difference | None) -> SignificanceTest:
    return SignificanceTest(
        baseline=pair[0], variant=pair[1], outcome=NOT_TESTED, equivalent=False, p=None, difference=found
    )
