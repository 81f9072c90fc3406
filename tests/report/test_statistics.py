"""Intervals and significance tests against values worked out by hand or by SciPy, and against chance itself."""

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mingpt.core.run_files.curves import reaches
from mingpt.core.statistics import Estimate, difference, estimate, holm, minimum_detectable_effect
from mingpt.report.formatting import chance, number
from mingpt.report.significance import SignificanceTest, significance_tests

A = {1: 1.60, 2: 1.62, 3: 1.61, 4: 1.63, 5: 1.59}
B = {1: 1.66, 2: 1.65, 3: 1.66, 4: 1.66, 5: 1.64}  # d = -.06 -.03 -.05 -.03 -.05: mean -.044, sd sqrt(.00018)


def shifted(by: float, noise: float = 0.0) -> dict[int, float]:
    """A, higher by `by`, every second seed `noise` up and the others down."""
    return {seed: loss + by + noise * (-1) ** seed for seed, loss in A.items()}


def judge(losses: dict[str, dict[int, float]], every_pair: bool = False, **more: Any) -> list[SignificanceTest]:
    """Every pair tested, or each variant against the first."""
    first, *others = losses
    pairs = list(combinations(losses, 2)) if every_pair else [(first, other) for other in others]
    return significance_tests(losses, pairs, **more)


def only(tests: list[SignificanceTest]) -> SignificanceTest:
    (test,) = tests
    return test


def test_interval_is_students() -> None:
    found = estimate([1.0, 2.0, 3.0])  # sd = 1; t(p, 2) = (2p - 1) / sqrt(2p (1 - p))
    assert found.mean == 2
    assert found.high == pytest.approx(2 + 0.95 / math.sqrt(2 * 0.975 * 0.025) / math.sqrt(3), abs=1e-12)
    assert found.low == pytest.approx(4 - found.high, abs=1e-12)


def test_one_seed_has_no_interval() -> None:
    assert estimate([1.5]) == Estimate(mean=1.5, low=None, high=None, n=1)


def test_difference_is_paired() -> None:
    found = difference(A, B)
    reference = stats.ttest_rel([*A.values()], [*B.values()])
    interval = reference.confidence_interval(0.95)
    assert found.mean == pytest.approx(-0.044, abs=1e-12)
    assert found.spread == pytest.approx(math.sqrt(0.00018), abs=1e-12)
    assert found.p == pytest.approx(reference.pvalue, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_pairs_are_made_by_seed() -> None:
    assert difference(A, dict(reversed(B.items()))) == difference(A, B)


@pytest.mark.parametrize("gone", [None, math.nan, math.inf])
def test_seed_without_a_loss_does_not_count(gone: float | None) -> None:
    found = difference({**A, 2: gone, 9: 1.0}, B)
    assert found.seeds == [1, 3, 4, 5]
    assert found == difference({k: v for k, v in A.items() if k != 2}, B)


def test_holm_is_below_bonferroni_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("n", [3, 5, 12])
def test_minimum_detectable_effect_is_shown_four_times_of_five(n: int) -> None:
    draws = np.random.default_rng(n).normal(minimum_detectable_effect(0.7, n), 0.7, (20_000, n))
    shown = (stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean()
    assert shown == pytest.approx(0.8, abs=0.015)


def test_minimum_detectable_effect_is_the_tables() -> None:
    assert minimum_detectable_effect(1.0, 34) == pytest.approx(
        0.4951, abs=5e-4
    )  # G*Power: d = 0.4951 for n = 34, two-sided


def test_interval_misses_the_truth_one_time_of_twenty() -> None:
    draws = np.random.default_rng(0).normal(0.3, 0.02, (4000, 4))
    held = [(e.low <= 0.3 <= e.high) for e in map(estimate, draws.tolist())]
    assert np.mean(held) == pytest.approx(0.95, abs=0.012)


@pytest.mark.full
def test_equal_variants_differ_significantly_at_most_one_time_of_twenty() -> None:
    draws = np.random.default_rng(1).normal(1.6, 0.1, (600, 4, 5))  # 4 variants of 5 seeds, 6 pairs
    wrong = 0
    for losses in draws.tolist():
        variants = {str(number): dict(enumerate(each)) for number, each in enumerate(losses)}
        wrong += any(v.outcome in ("better", "worse") for v in judge(variants, every_pair=True))
    assert wrong / len(draws) < 0.07


def test_difference_is_variant_minus_baseline() -> None:
    found = only(judge({"A": A, "B": B}))
    assert (found.baseline, found.variant, found.outcome) == ("A", "B", "worse")
    assert found.difference.mean == pytest.approx(0.044)
    assert found.p == pytest.approx(difference(A, B).p)
    assert only(judge({"B": B, "A": A})).outcome == "better"


def test_p_is_corrected_by_holm_over_all_tests() -> None:
    crowd = {"A": A, "B": shifted(-0.012, 0.01), **{f"C{n}": shifted(0.0, 0.1) for n in range(9)}}
    alone = only(judge({"A": A, "B": shifted(-0.02, 0.012)}))
    crowded = judge({**crowd, "B": shifted(-0.02, 0.012)})[0]
    assert alone.outcome == "better"
    assert crowded.outcome != "better"
    assert crowded.p == pytest.approx(10 * alone.p)


def test_small_significant_difference_is_also_equivalent() -> None:
    found = only(judge({"A": A, "B": shifted(0.01, 0.001)}))
    assert (found.outcome, found.equivalent) == ("worse", True)


def test_equivalence_needs_a_narrow_interval_not_a_large_p() -> None:
    wide, narrow = judge({"A": A, "B": shifted(0.0, 0.1), "C": shifted(0.0, 0.02)})
    assert (wide.outcome, wide.equivalent) == ("inconclusive", False)
    assert (narrow.outcome, narrow.equivalent) == ("equivalent", True)


def test_equivalence_needs_the_95_percent_interval_inside_the_margin() -> None:
    """The 90 % interval lies inside +-0.05 and the 95 % one does not: no equivalence by this project's rule."""
    noise = np.array([1.0, -1.0, 1.0, -1.0, 0.0])
    spread = 0.045 / (stats.t.ppf(0.95, 4) * noise.std(ddof=1) / math.sqrt(5))
    other = {seed: loss + spread * each for (seed, loss), each in zip(A.items(), noise, strict=True)}
    assert only(judge({"A": A, "B": other})).outcome == "inconclusive"


@pytest.mark.parametrize(("margin", "outcome"), [(0.05, "equivalent"), (0.02, "inconclusive")])
def test_equivalence_is_within_the_margin_that_is_asked_for(margin: float, outcome: str) -> None:
    found = only(judge({"A": A, "B": shifted(0.0, 0.02)}, margin=margin))
    assert (found.outcome, found.equivalent) == (outcome, outcome == "equivalent")


def test_minimum_detectable_effect_is_at_the_level_of_one_of_several_tests() -> None:
    first = judge({"A": A, "B": shifted(0.0, 0.1), "C": shifted(0.0, 0.1)})[0]
    spread = first.difference.spread
    assert first.difference.mde == pytest.approx(minimum_detectable_effect(spread, 5, level=0.025))
    alone = only(judge({"A": A, "B": shifted(0.0, 0.1)}))
    assert alone.difference.mde == pytest.approx(minimum_detectable_effect(alone.difference.spread, 5))
    assert first.difference.mde > alone.difference.mde


@pytest.mark.parametrize("other", [{}, {1: 1.7}, {1: 1.7, 2: 1.8, 8: 1.6}])
def test_fewer_than_three_shared_seeds_are_not_tested(other: dict[int, float]) -> None:
    found = only(judge({"A": A, "B": other}))
    assert (found.outcome, found.equivalent, found.p) == ("not tested", False, None)


def test_untested_pair_does_not_count_for_holm() -> None:
    assert judge({"A": A, "B": B, "C": {1: 1.0}})[0].p == only(judge({"A": A, "B": B})).p


def test_two_variants_that_no_seed_changes_are_not_tested() -> None:
    one, two = dict.fromkeys(range(5), 1.0), dict.fromkeys(range(5), 1.25)
    assert only(judge({"A": one, "B": two}, deterministic=("A", "B"))).outcome == "not tested"
    assert only(judge({"A": one, "B": two}, deterministic=("A",))).outcome == "worse"


def test_identical_losses_are_equivalent() -> None:
    found = only(judge({"A": A, "B": dict(A)}))
    assert (found.outcome, found.p, found.difference.low) == ("equivalent", 1.0, 0.0)


def test_equal_difference_in_every_seed_is_certain() -> None:
    one = dict.fromkeys(range(5), 1.0)
    found = only(judge({"A": one, "B": dict.fromkeys(range(5), 1.25)}))
    assert (found.outcome, found.p) == ("worse", 0.0)
    assert (found.difference.low, found.difference.high) == pytest.approx((0.25, 0.25))


def test_one_variant_has_no_tests() -> None:
    assert judge({"A": A}) == []


def test_curve_is_not_read_between_its_points() -> None:
    assert reaches([10, 20, 30], [3.0, 2.0, 1.5], 2.25) == 17.5
    assert reaches([10, 20, 30], [3.0, 2.0, 1.5], 3.5) == 10
    assert reaches([10, 20, 30], [3.0, 2.0, 1.5], 1.4) is None
    assert reaches([10, 20, 30, 40], [3.0, 2.0, 2.5, 1.5], 2.0) == 20


def test_small_numbers_are_not_written_as_nothing() -> None:
    assert [number(x) for x in (0.0412, 0.00423, -0.000051, 0.0, 2.0)] == [
        "0.041",
        "0.0042",
        "-0.000051",
        "0.000",
        "2.000",
    ]
    assert [chance(p) for p in (0.0004, 0.004, 0.0512, 0.7)] == ["< 0.001", "0.004", "0.051", "0.70"]
