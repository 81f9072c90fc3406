"""The view Compare in a browser: the table of runs, curves, the comparison and the experiments' records."""

from pathlib import Path
from typing import Any

import pytest
from browsing import KEYS, Page

from mingpt.runs.trained_run import Run

pytestmark = pytest.mark.full


def column(page: Page, at: int) -> list[str]:
    """The texts of one column of the table of runs."""
    return page.texts(f".compare [aria-label=Runs] tbody tr > :nth-child({at + 1})")


def test_table_has_every_run_and_sorts_by_a_column(page: Page, loaded: dict[str, Run]) -> None:
    page.open("compare")
    page.until(lambda: len(column(page, 1)) >= len(loaded))
    assert set(loaded) <= set(column(page, 1))
    losses = [float(text) for text in column(page, 4) if text != "–"]
    assert losses == sorted(losses)
    page.click("[data-key=parameters]")
    counts = [int(text.replace(",", "")) for text in column(page, 6) if text != "–"]
    assert counts == sorted(counts)
    page.press(KEYS.ENTER)  # the focus stays on the column's name
    counts = [int(text.replace(",", "")) for text in column(page, 6) if text != "–"]
    assert counts == sorted(counts, reverse=True)
    assert page.one("[data-key=parameters]").find_element("xpath", "..").get_attribute("aria-sort") == "descending"


def test_settings_that_differ_have_a_column(page: Page) -> None:
    page.open("compare")
    page.until(lambda: page.all(".compare thead th"))
    titles = page.texts(".compare [aria-label=Runs] thead th .sorter")
    assert {"cell", "window", "n_kv_head"} <= {title.strip("↑↓") for title in titles}
    assert not {"block_size", "path"} & {title.strip("↑↓") for title in titles}


def test_chosen_runs_have_a_curve_and_the_comparison_of_the_command(page: Page, played: Path, chargpt: Any) -> None:
    names = ["plain", "lstm", "elman"]
    page.open(f"compare?{'&'.join(f'run={name}' for name in names)}")
    page.until(lambda: page.all(".plot canvas"))
    page.until(lambda: len(page.texts("[aria-label=Comparison] tbody tr")) >= len(names))
    legend = page.texts(".plotlegend .key")
    assert [text.rstrip("0123456789.–") for text in legend] == names
    printed = chargpt("compare", *(str(played / name) for name in names)).out
    shown = " ".join(page.texts("[aria-label=Comparison] tbody"))
    for number in {word for word in printed.split() if word.count(".") == 1 and word.replace(".", "").isdigit()}:
        assert number in shown or number in " ".join(page.texts("[aria-label=Comparison]")), number
    page.click("[aria-label=Runs] input[value=ngram]")
    page.until(lambda: len(page.texts(".plotlegend .key")) == 4)
    assert "run=ngram" in page.driver.current_url


def test_loss_of_a_run_is_that_of_its_record(page: Page, loaded: dict[str, Run]) -> None:
    page.open("compare")
    page.until(lambda: len(column(page, 1)) >= len(loaded))
    by_name = dict(zip(column(page, 1), column(page, 4), strict=True))
    assert by_name["plain"] == f"{loaded['plain'].last_record()['val_loss']:.3f}"
    assert (by_name["masked"], by_name["full"]) == ("–", "–")  # neither has a validation loss
