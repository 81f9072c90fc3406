"""Numbers in sentences agree with their nouns, and an estimate is never nought."""

import pytest

from mingpt.report.formatting import counted, expected, flops, millions


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 threads"), (1, "1 thread"), (2, "2 threads"), (1024, "1,024 threads")]
)
def test_noun_agrees_with_its_number(number: int, said: str) -> None:
    assert counted(number, "thread") == said


@pytest.mark.parametrize(
    ("seconds", "memory", "said"),
    [
        (0.004, 200_000, "less than 1 s and about 1 MB"),
        (0.99, 12e6, "less than 1 s and about 12 MB"),
        (89.4, 0.1e9, "about 1 min 29 s and 0.1 GB"),
        (4000, 12.34e9, "about 1 h 6 min and 12.3 GB"),
    ],
)
def test_small_estimate_is_not_rounded_to_nothing(seconds: float, memory: float, said: str) -> None:
    assert expected(seconds, memory) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(4_921_344e6, "4.92 TFLOP"), (430e9, "430 GFLOP"), (999.6e9, "1000 GFLOP"), (2e21, "2000 EFLOP"), (7, "7 FLOP")],
)
def test_flops_have_a_unit_and_three_digits(value: float, said: str) -> None:
    assert flops(value) == said


@pytest.mark.parametrize(("value", "said"), [(1_742_000, "1.7"), (12_345, "0.012"), (420, "0.00042")])
def test_small_cost_is_not_rounded_to_nothing(value: float, said: str) -> None:
    assert millions(value) == said
