"""The quick suite: a covering part of each product, and a line that says what is left out."""

from itertools import combinations, product
from pathlib import Path

import pytest

from tests.suites import covering

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[1]
PRODUCT = """
import pytest

@pytest.mark.parametrize("a", range(4))
@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 5), (2, 0)])
@pytest.mark.parametrize("d", ["x", "y", "z"])
@pytest.mark.thin
def test_three(a, b, c, d):
    print("THREE", a, b, d)

@pytest.mark.parametrize("a", range(4))
@pytest.mark.parametrize("d", ["x", "y", "z"])
@pytest.mark.thin
def test_two(a, d):
    print("TWO", a, d)

@pytest.mark.parametrize("a", range(7))
@pytest.mark.thin(3)
def test_one(a):
    print("ONE", a)

@pytest.mark.full
def test_full():
    print("FULL")

@pytest.mark.slow
def test_slow():
    print("SLOW")
"""


@pytest.mark.parametrize("sizes", [(3, 3, 3), (5, 2, 4, 3), (2, 2, 2, 2, 2)], ids=str)
def test_every_pair_of_values_is_in_a_covering_part_of_a_product(sizes: tuple[int, ...]) -> None:
    rows = list(product(*map(range, sizes)))
    kept = [rows[place] for place in covering(rows, 2)]
    for (i, many), (j, others) in combinations(enumerate(sizes), 2):
        assert {(row[i], row[j]) for row in kept} == set(product(range(many), range(others)))
    assert len(kept) < len(rows)


def test_pairs_that_no_case_has_are_not_missed() -> None:
    rows = [(0, 0, 0), (0, 1, 1), (1, 0, 1)]  # of a product with some cases left out
    assert covering(rows, 2) == [0, 1, 2]
    assert covering([(0, 0), (0, 1), (1, 1)], 1) == [0, 2]


@pytest.fixture
def ran(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    markers = ["slow", "full", "thin"]
    pytester.makeini("[pytest]\nmarkers =\n" + "".join(f"    {name}: a mark\n" for name in markers))
    pytester.makeconftest('pytest_plugins = ["tests.suites"]\n')
    pytester.makepyfile(PRODUCT)
    return pytester


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.full)])
def test_quick_suite_runs_a_part_and_says_what_it_left_out(ran: pytest.Pytester, workers: int) -> None:
    result = ran.runpytest_subprocess("-m", "not slow and not full", "-n", str(workers), "-p", "no:cacheprovider")
    result.assert_outcomes(passed=12 + 4 + 3)
    result.stdout.fnmatch_lines(
        [
            "left out: 37 cases marked full; run them with `python test_model.py --all`",
            "left out: 1 cases marked slow; run them with `python test_model.py -m slow`",
        ]
    )


@pytest.mark.full
def test_all_leaves_out_the_campaigns_alone(ran: pytest.Pytester) -> None:
    result = ran.runpytest_subprocess("-m", "not slow", "-n", "0", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=36 + 12 + 7 + 1)
    result.stdout.no_fnmatch_line("*--all*")


@pytest.mark.full
def test_what_a_word_leaves_out_is_not_left_out_by_the_suite(ran: pytest.Pytester) -> None:
    result = ran.runpytest_subprocess("-m", "not slow", "-k", "one", "-n", "0", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=7)
    result.stdout.no_fnmatch_line("*left out*")


@pytest.mark.full
def test_thin_with_a_number_keeps_cases_from_the_first_to_the_last(ran: pytest.Pytester) -> None:
    result = ran.runpytest_subprocess("-m", "not full", "-k", "one", "-s", "-n", "0", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["*ONE 0*", "*ONE 3*", "*ONE 6*"])
