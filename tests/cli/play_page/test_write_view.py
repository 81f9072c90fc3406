"""The view Write in a browser: the text is the model's own, as are its alternatives; branches; two runs; gaps."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from browsing import KEYS, Page

from mingpt.inference.generate import Sampling, probabilities
from mingpt.runs.trained_run import Run

PROMPT = "ROMEO:"


def opened(*runs: str, **settings: Any) -> str:
    """The address of the view with these runs and settings."""
    words = [
        *(f"run={name}" for name in runs),
        f"prompt={PROMPT}",
        *(f"{key}={value}" for key, value in settings.items()),
    ]
    return f"write?{'&'.join(words)}"


def own_distribution(run: Run, ids: list[int]) -> torch.Tensor:
    """The (v,) next-token distribution of the model itself after `ids`."""
    with torch.inference_mode():
        return probabilities(run.model(torch.tensor([ids])).logits[:, -1], Sampling(temperature=1))[0]


def test_page_writes_what_the_run_generates(page: Page, loaded: dict[str, Run]) -> None:
    page.open(opened("gpt", seed=5, temperature=0.9, max_new_tokens=20))
    assert page.write() == [loaded["gpt"].generate(PROMPT, 20, seed=5, temperature=0.9)]


@pytest.mark.full
@pytest.mark.parametrize("name", ["lstm", "ngram", "plain"])
def test_streamed_text_equals_generate_with_every_setting(page: Page, loaded: dict[str, Run], name: str) -> None:
    settings = {"seed": 11, "temperature": 1.2, "top_k": 9, "top_p": 0.9, "min_p": 0.02}
    page.open(opened(name, **settings, max_new_tokens=60))
    assert page.write() == [loaded[name].generate(PROMPT, 60, **settings)]


@pytest.mark.full
@pytest.mark.parametrize("at", [0, 7, 19])
def test_ten_alternatives_are_the_models_own_likeliest(page: Page, loaded: dict[str, Run], at: int) -> None:
    run = loaded["plain"]
    page.open(opened("plain", seed=2, max_new_tokens=20))
    [text] = page.write()
    p = own_distribution(run, run.tokenizer.encode(text[: len(PROMPT) + at]).tolist())
    page.click(".tok:not(.given)", at)
    rows = page.all(".alternative")
    shown = [int(row.get_attribute("data-id") or -1) for row in rows][:10]
    assert sorted(p[shown].tolist(), reverse=True) == pytest.approx(p.topk(10).values.tolist(), rel=1e-4)
    values = [float(text.rstrip(" %").lstrip("<")) / 100 for text in page.texts(".alternative .value")][:10]
    assert values == pytest.approx(p[shown].tolist(), abs=6e-4)
    assert all(a >= b for a, b in pairwise(values))


@pytest.mark.full
def test_branch_keeps_its_prefix_and_can_be_undone(page: Page) -> None:
    page.open(opened("plain", seed=3, max_new_tokens=40))
    [before] = page.write()
    page.click(".tok:not(.given)", 10)
    other = next(row for row in page.all(".alternative") if "drawn" not in str(row.get_attribute("aria-label")))
    chosen = str(other.find_element("css selector", "code").get_property("textContent"))
    other.click()
    page.until(lambda: len(page.text(".tokens")) == len(before) and page.text(".tokens") != before)
    after = page.text(".tokens")
    kept = len(PROMPT) + 10
    assert after[:kept] == before[:kept]
    assert after[kept] == chosen.replace("␣", " ").replace("↵", "\n")
    page.click(".under .quiet")
    assert page.text(".tokens") == before


@pytest.mark.full
def test_bars_follow_a_slider_and_nothing_is_drawn(page: Page, loaded: dict[str, Run]) -> None:
    run = loaded["plain"]
    page.open(opened("plain"))
    ids = run.tokenizer.encode(PROMPT).tolist()
    likeliest = run.tokenizer.decode([int(own_distribution(run, ids).argmax())])
    page.until(lambda: page.texts(".nextbar .value")[0] not in ("", "100.0 %"))
    slider = page.one("#setting-temperature")
    slider.send_keys(KEYS.HOME)
    page.until(lambda: page.texts(".nextbar .value")[0] == "100.0 %")
    assert page.text(".nextbar code").replace("␣", " ").replace("↵", "\n") == likeliest
    assert page.all(".column .tok") == []
    assert "temperature=0" in page.until(lambda: "temperature" in page.driver.current_url and page.driver.current_url)


@pytest.mark.full
def test_two_runs_write_from_one_seed_and_the_first_difference_is_marked(page: Page, loaded: dict[str, Run]) -> None:
    page.open(opened("gpt", "lstm", seed=4, max_new_tokens=50))
    texts = page.write(columns=2)
    assert texts == [loaded[name].generate(PROMPT, 50, seed=4) for name in ("gpt", "lstm")]
    first = next(at for at, (a, b) in enumerate(zip(*texts, strict=True)) if a != b)
    page.until(lambda: len(page.all(".tok.differs")) == 2)
    assert page.texts(".tok.differs") == [text[first] for text in texts]


@pytest.mark.full
def test_stop_ends_a_text_where_it_is(page: Page) -> None:
    page.open(opened("gpt", max_new_tokens=1000))
    page.driver.execute_script(
        "new MutationObserver(() => document.querySelectorAll('.tok').length > 20 && "
        "document.querySelector('.write .stop').click()).observe(document.querySelector('.tokens'), {childList: true})"
    )  # as a quick person
    page.click(".write .primary")
    page.until(lambda: "stopped" in page.text(".column .status"))
    assert 20 < len(page.text(".tokens")) < 1000


@pytest.mark.full
def test_alternatives_open_by_keyboard_and_escape_returns(page: Page) -> None:
    page.open(opened("gpt", max_new_tokens=12))
    page.write()
    page.driver.execute_script("document.querySelector('.tok[tabindex=\"0\"]').focus()")
    page.press(KEYS.ARROW_RIGHT, KEYS.ARROW_RIGHT, KEYS.ENTER)
    page.until(lambda: "alternative" in str(page.driver.switch_to.active_element.get_attribute("class")))
    page.press(KEYS.ESCAPE)
    assert page.driver.switch_to.active_element == page.all(".tok:not(.given)")[2]


@pytest.mark.full
def test_gaps_are_filled_as_by_the_run(page: Page, loaded: dict[str, Run]) -> None:
    page.open("write?run=masked&prompt=ROM_O:%0AAy m_")
    page.click(".write .primary")
    page.until(lambda: page.all(".tok.filled"))
    assert page.text(".tokens") == loaded["masked"].fill("ROM_O:\nAy m_")
    assert len(page.all(".tok.filled")) == 2


@pytest.mark.full
def test_a_model_that_is_not_autoregressive_says_why_it_does_not_write(page: Page) -> None:
    page.open("write?run=full")
    assert "isn't autoregressive" in page.text(".column .hint")
    assert "has seen what it should predict" in page.text(".column .hint")
    assert not page.one(".write .primary").is_enabled()


@pytest.mark.full
def test_two_tabs_write_at_the_same_time(page: Page, loaded: dict[str, Run]) -> None:
    page.open(opened("plain", max_new_tokens=1000, seed=1))
    page.click(".write .primary")
    page.until(lambda: len(page.all(".tok:not(.given)")) > 3)
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    try:
        page.open(opened("lstm", max_new_tokens=10, seed=1))
        assert page.write() == [loaded["lstm"].generate(PROMPT, 10, seed=1)]
    finally:
        page.driver.close()
        page.driver.switch_to.window(first)
    page.click(".write .stop")
    assert len(page.text(".tokens")) > 10
