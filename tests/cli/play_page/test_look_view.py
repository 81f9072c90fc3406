"""The view Look in a browser: attention, dependencies, losses and hidden states are those that the run computes."""

import math
import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from browsing import KEYS, Page, served

from mingpt.runs.trained_run import Run

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[3]
TEXT = "ROMEO: What's in"
IDEAS = sorted(path.stem for path in ROOT.glob("docs/ideas/*.md") if path.stem != "README")


def flat(tensor: torch.Tensor) -> list[float]:
    return [float(value) for value in tensor.float().flatten()]


def looked(page: Page, *runs: str) -> None:
    """Open the view on TEXT and wait until every run has drawn its map of dependencies."""
    page.open(f"look?{'&'.join(f'run={name}' for name in runs)}&text={TEXT}")
    page.until(lambda: len(page.all(".card .map-dependency[data-ready]")) == len(runs))


@pytest.mark.parametrize(("layer", "head"), [(0, 0), (1, 3)])
def test_attention_is_the_runs_own_and_its_rows_sum_to_one(
    page: Page, loaded: dict[str, Run], layer: int, head: int
) -> None:
    looked(page, "gpt")
    found = page.floats("attention", name="gpt", text=TEXT, layer=layer, head=head)
    assert found == pytest.approx(flat(loaded["gpt"].attention(TEXT)[layer][0, head]), abs=1e-6)
    size = len(TEXT)
    assert [math.fsum(found[row * size : (row + 1) * size]) for row in range(size)] == pytest.approx([1] * size)


@pytest.mark.parametrize("name", ["gpt", "elman", "lstm", "ngram", "masked", "full"])
def test_map_of_every_family_is_that_of_the_causality_check(page: Page, loaded: dict[str, Run], name: str) -> None:
    looked(page, name)
    assert page.floats("dependency", name=name, text=TEXT) == pytest.approx(
        flat(loaded[name].dependency_map(TEXT)), abs=1e-6
    )


def test_map_reads_out_the_value_under_the_arrow_keys(page: Page, loaded: dict[str, Run]) -> None:
    looked(page, "ngram")
    value = float(loaded["ngram"].dependency_map(TEXT)[len(TEXT) - 1, len(TEXT) - 2])
    page.until(
        lambda: page.driver.execute_script("return document.querySelector('.map-dependency canvas').width > 300")
    )
    page.driver.execute_script("document.querySelector('.map-dependency canvas').focus()")

    def moved() -> Any:
        page.press(KEYS.ARROW_RIGHT, KEYS.END)
        return page.text(".map-dependency .readout")

    page.until(moved)
    for _ in TEXT:
        page.press(KEYS.ARROW_DOWN, KEYS.ARROW_RIGHT)
    page.press(KEYS.ARROW_LEFT)
    shown = re.search(r"by <?([\d.]+) %", page.text(".map-dependency .readout"))
    assert shown
    assert float(shown[1]) / 100 == pytest.approx(value, abs=6e-4)


def test_tokens_have_the_losses_of_the_model(page: Page, loaded: dict[str, Run]) -> None:
    looked(page, "plain")
    run = loaded["plain"]
    ids = torch.from_numpy(run.tokenizer.encode(TEXT).astype("int64"))
    with torch.inference_mode():
        p = run.model(ids[None]).logits[0].double().softmax(-1)
    own = [float(p[at, ids[at + 1]]) for at in range(len(ids) - 1)]
    told = [re.search(r"([\d.]+) %$", str(span.get_attribute("aria-label"))) for span in page.all(".card .tok")[1:]]
    assert [float(found[1]) / 100 for found in told if found] == pytest.approx(own, abs=6e-4)
    mean = -math.fsum(map(math.log, own)) / len(own)
    assert page.text(".card .status").startswith(f"{mean:.3f} nats")


def test_loss_of_a_masked_run_is_called_pseudo_and_who_sees_the_answer_has_none(
    page: Page, loaded: dict[str, Run]
) -> None:
    looked(page, "masked", "full")
    said = page.texts(".card .status")
    assert "pseudo-nats" in said[0]
    assert said[1].startswith("no loss")
    assert page.all(".card:nth-child(2) .tok:not(.given)") == []


def test_runs_of_four_families_stand_next_to_each_other(page: Page) -> None:
    looked(page, "gpt", "elman", "lstm", "ngram")
    assert page.texts(".card h2") == ["gpt", "elman", "lstm", "ngram"]
    page.until(lambda: len(page.all(".card .map-hidden")) == 2)  # the recurrent ones
    assert len(page.all(".heads")) == 1


def test_grouped_heads_stand_together_and_windows_are_named(page: Page) -> None:
    looked(page, "gpt")
    assert len(page.all(".headrow")) == 2
    assert len(page.all(".group.shared")) == 4  # of two layers, each with two key/value heads
    assert [len(row.find_elements("css selector", ".head")) for row in page.all(".group")] == [2] * 4
    assert page.texts(".headname") == ["layer 1", "layer 2window 6"]


def test_hidden_state_is_a_row_per_token_and_a_column_per_unit(page: Page) -> None:
    looked(page, "lstm")
    found = page.floats("hidden", name="lstm", text=TEXT, layer=0)
    assert len(found) == len(TEXT) * 16
    assert all(map(math.isfinite, found))
    assert len(set(found)) > len(TEXT)


@pytest.mark.parametrize("idea", IDEAS)
def test_every_idea_has_a_prepared_view_that_says_what_to_look_for(page: Page, idea: str) -> None:
    page.open(f"look?idea={idea}")
    page.until(lambda: page.all(".told li"))
    assert f"docs/ideas/{idea}.md" in page.text(".told")
    assert "play" in (ROOT / "docs" / "ideas" / f"{idea}.md").read_text(encoding="utf-8")
    page.until(lambda: page.all(".card .map-dependency"))


def test_pointing_at_a_token_points_at_it_in_every_run(page: Page) -> None:
    looked(page, "plain", "lstm")
    page.until(
        lambda: len(list(chain(*(card.find_elements("css selector", ".tok") for card in page.all(".card"))))) > 30
    )
    page.click(".card .tok", 4)
    page.until(lambda: len(page.all(".tok.pointed")) == 2)
    assert page.texts(".tok.pointed") == [TEXT[4]] * 2


def test_text_of_more_than_a_block_is_rejected_in_one_line(page: Page) -> None:
    page.open(f"look?run=plain&text={'ROMEO ' * 20}")
    page.until(lambda: "must be 1 to 32 tokens" in page.text("#notice"))
    page.driver.get_log("browser")  # the answer 400 is no fault of the page
    page.fill("#looktext", TEXT)
    page.until(lambda: not page.one("#notice").is_displayed())


def test_run_that_cannot_spell_a_prepared_text_gets_one_of_its_own(
    browser: Any, chargpt: Any, text_file: Path, tmp_path: Path
) -> None:
    words = ("--model.n_layer=1", "--model.n_embd=16", "--data.block_size=8", "--trainer.max_iters=3")
    ended = chargpt(
        *words, f"--data.path={text_file}", "--wandb.mode=disabled", f"--system.work_dir={tmp_path / 'own'}"
    )
    assert (ended.code, ended.err) == (0, "")
    with served(tmp_path, "--device=cpu") as address:
        page = Page(browser, address)
        page.open("look?idea=attention")
        page.until(lambda: page.all(".card .map-dependency"))
        assert 2 <= len(page.text(".card .tokens")) <= 8
        assert page.one("#looktext").get_property("value") == page.text(".card .tokens")
        browser.get_log("browser")  # the first answer was 400
        browser.get("about:blank")
