"""The price list: every variant at every length, of the model as its trials have it."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from mingpt.core.safe_parsing import fault
from mingpt.experiments.base import Experiment, Lab, Row
from mingpt.experiments.measurements.price_list import LENGTHS, price_list
from mingpt.experiments.trials import Text, trials_of
from mingpt.report.palette import Palette

VARIANTS = {"plain": {}, "window 8": {"model.window": 8}, "one key head": {"model.n_kv_head": 1}}


@pytest.fixture(scope="module")
def rows(tiny: dict[str, Any], text_file: Path) -> list[Row]:
    """Of a layer 8 wide with 2 heads, trained at block 8; nothing is trained before."""
    variants = {name: [settings] for name, settings in VARIANTS.items()}
    experiment = Experiment(name="t", question="?", hypothesis="", variants=variants, common=tiny)
    trials = trials_of(experiment, Path(), Text(str(text_file), "0", 600), [1, 2], "standard", {})
    return price_list.take(Lab(Path(), trials, "quick"))


def made(median: float, **more: Any) -> Row:
    times = {"median": median, "q1": median, "q3": median}
    return {"arm": "a", "step_ms": times, "token_us": times, "cache_bytes": 12_345, "peak_bytes": None, **more}


def test_every_variant_has_a_price_at_every_length_once(rows: list[Row]) -> None:
    assert [(row["length"], row["arm"]) for row in rows] == [(n, name) for n in LENGTHS.quick for name in VARIANTS]
    assert not any(fault(row, price_list.row) for row in rows)
    assert all(0 < row[key]["q1"] <= row[key]["median"] for row in rows for key in ("step_ms", "token_us"))


def test_cache_is_counted_to_the_byte(rows: list[Row]) -> None:
    """Keys and values of one layer, float32: 2 heads of 4, or one, of every position or of the window's."""
    both, found = 2 * 4 * 4, {(row["arm"], row["length"]): row["cache_bytes"] for row in rows}
    for length in LENGTHS.quick:
        assert found["plain", length] == 2 * both * length
        assert found["one key head", length] == both * length
        assert found["window 8", length] == 2 * both * 8


def test_memory_is_of_a_step_of_this_length(rows: list[Row]) -> None:
    """Twice the text takes twice the memory without a window, as the kernel keeps no matrix of scores: the short first
    step would not show it, and neither would the optimizer's state."""
    peaks = {(row["arm"], row["length"]): row["peak_bytes"] for row in rows}
    for name in ("plain", "one key head"):
        assert 1.7 < peaks[name, 512] / peaks[name, 256] < 2.3, peaks


def test_table_is_at_three_lengths_and_relative_to_the_first_variant() -> None:
    lengths = (1024, 2048, 4096, 8192, 16384)
    rows = [
        made(ms * length, arm=name, length=length, threads=2, device="cpu")
        for length in lengths
        for name, ms in (("a", 2.0), ("b", 0.5))
    ]
    table = price_list.table(rows)
    assert [(row["length"], row["variant"]) for row in table] == [(n, name) for n in lengths[::2] for name in "ab"]
    assert [row["step time / baseline's"] for row in table] == [1.0, 0.25] * 3
    assert table[0]["training step, ms"] == 2048
    assert table[0]["cache of a text, MB"] == 0.0123
    assert table[0]["memory of a step, MB"] is None  # of a device that does not report it


@pytest.mark.parametrize(
    ("threads", "device", "said"),
    [(1, "cpu", "on 1 CPU thread, decoding on 1"), (2, "cpu", "on 2 CPU threads, decoding on 1")],
)
def test_figure_has_a_line_of_each_variant_and_the_threads(threads: int, device: str, said: str) -> None:
    rows = [
        made(float(length), arm=name, length=length, peak_bytes=length, threads=threads, device=device)
        for length in (256, 512)
        for name in VARIANTS
    ]
    figure = Figure()
    price_list.draw(rows, figure, Palette())  # type: ignore[misc]
    assert [len(axes.lines) for axes in figure.axes] == [len(VARIANTS)] * 4
    assert figure.get_suptitle().endswith(said)
