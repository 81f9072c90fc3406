"""The view Train in a browser: a form starts an ordinary run, which goes on without the page and can be resumed."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import Page, missing, served

from mingpt.core.atomic_io import holder
from mingpt.runs import run_dir

pytestmark = pytest.mark.full

HOSTILE = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">\u202eabc\u200b"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of its own, so that runs that are started here are in no other test's table."""
    return tmp_path_factory.mktemp("workshop")


@pytest.fixture(scope="module")
def workshop_server(workshop: Path) -> Iterator[str]:
    if lacking := missing():
        pytest.skip(lacking)
    with served(workshop, "--train=True", "--device=cpu") as address:
        yield address


@pytest.fixture
def trainer(browser: Any, workshop_server: str) -> Iterator[Page]:
    """The page above that root, which has complained of nothing at the end."""
    browser.get_log("browser")
    page = Page(browser, workshop_server)
    yield page
    assert page.problems() == []


def set_values(page: Page, values: dict[str, Any]) -> None:
    """Type settings into the form, each found by its search."""
    for name, value in values.items():
        page.fill(".formsearch input[type=search]", name)
        field = page.until(lambda name=name: page.driver.find_elements("id", f"field-{name}"))[0]
        page.until(field.is_displayed)
        field.send_keys(str(value))
    page.fill(".formsearch input[type=search]", " ")


def started(page: Page, text_file: Path, **more: Any) -> str:
    """Start a run of the form and return its name."""
    page.open("train")
    page.until(lambda: page.all(".setting"))
    values = {
        "model.n_layer": 1,
        "model.n_embd": 16,
        "data.block_size": 16,
        "data.path": text_file,
        "trainer.save_every": 20,
        **{name.replace("__", "."): value for name, value in more.items()},
    }
    set_values(page, values)
    before = page.texts(".follow h2")
    page.click(".starter .primary")
    page.until(lambda: page.texts(".follow h2") != before or page.problems())
    return page.text(".follow h2")


def status(page: Page) -> str:
    return page.text(".follow .state")


def test_form_sends_only_what_was_changed(trainer: Page, workshop: Path, text_file: Path) -> None:
    name = started(trainer, text_file, trainer__max_iters=30)
    command = trainer.text(".starter .command")
    assert set(re.findall(r"--([\w.]+)=", command)) == {
        "model.n_layer",
        "model.n_embd",
        "data.block_size",
        "data.path",
        "trainer.save_every",
        "trainer.max_iters",
    }
    trainer.until(lambda: status(trainer) == "finished", 120)
    config = run_dir.read_config(workshop / name)
    assert (config.model.n_layer, config.trainer.max_iters, config.data.block_size) == (1, 30, 16)
    assert trainer.text(".facts dd").startswith("30 / 30")
    assert trainer.all(".samples pre")
    assert trainer.all(".plot canvas")


def test_wrong_setting_is_the_commands_one_line_and_marks_its_field(trainer: Page) -> None:
    trainer.open("train")
    trainer.until(lambda: trainer.all(".setting"))
    set_values(trainer, {"model.n_layer": 0})
    trainer.click(".starter .primary")
    trainer.until(lambda: "model.n_layer" in trainer.text(".starter .status.wrong"))
    assert "must be at least 1" in trainer.text(".starter .status.wrong")
    assert trainer.all(".setting.wrong")
    trainer.driver.get_log("browser")
    trainer.driver.get("about:blank")


def test_killed_training_shows_as_stopped_and_resumes_from_the_page(
    trainer: Page, workshop: Path, text_file: Path
) -> None:
    name = started(trainer, text_file, trainer__max_iters=3000, trainer__eval_every=0)
    trainer.until(lambda: status(trainer) == "running", 60)
    trainer.until(lambda: any((workshop / name / "checkpoints").glob("*")), 60)
    process = holder(workshop / name)
    assert process is not None
    os.kill(int(process), signal.SIGKILL)
    trainer.until(lambda: status(trainer) == "stopped")
    trainer.click(".follow .primary")
    trainer.until(lambda: status(trainer) == "running", 60)
    trainer.click(".follow .stop")
    trainer.until(lambda: status(trainer) == "stopped", 60)
    assert holder(workshop / name) is None


def test_text_of_a_sample_stays_text(page: Page, played: Path, loaded: dict[str, Any]) -> None:
    samples = played / "elman" / "samples.jsonl"
    before = samples.read_text(encoding="utf-8")
    try:
        line = {"step": 12, "prompt": "", "text": HOSTILE}
        samples.write_text(before + f"{json.dumps(line)}\n", encoding="utf-8")
        page.open("train?run=elman")
        page.until(lambda: any("<script>" in text for text in page.texts(".samples pre")))
        assert page.all(".samples script, .samples img") == []
        assert "taken" not in page.driver.title
        shown = next(text for text in page.texts(".samples pre") if "<script>" in text)
        assert "⟨U+202E⟩abc⟨U+200B⟩" in shown
    finally:
        samples.write_text(before, encoding="utf-8")


def test_read_only_server_says_how_to_train(played: Path, loaded: dict[str, Any], browser: Any) -> None:
    with served(played, "--device=cpu") as address:
        page = Page(browser, address)
        page.open("train?run=plain")
        assert "--train=True" in page.text(".starter")
        page.until(lambda: status(page) == "finished")
        assert not page.one(".follow .stop").is_displayed()
        assert not page.one(".follow .primary").is_displayed()
        assert page.problems() == []
        page.driver.get("about:blank")
