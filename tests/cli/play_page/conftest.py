"""Runs of every family below one root, the server that shows them, and a browser that looks at it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import Page, chromium, missing, served

from mingpt.runs import run
from mingpt.runs.trained_run import Run

TEXT = (
    "ROMEO:\nBut soft, what light through yonder window breaks?\nJULIET:\nWhat's in a name? Ay me, to be or not.\n" * 8
)
COMMON = ("--data.block_size=32", "--trainer.max_iters=12", "--sample.tokens=5", "--wandb.mode=disabled")
SMALL = ("--model.n_layer=2", "--model.n_embd=16")
RUNS = {
    "gpt": (*SMALL, "--model.n_query_head=4", "--model.n_kv_head=2", "--model.window=6", "--model.window_pattern=fw"),
    "plain": (*SMALL, "--model.n_query_head=2"),
    "lstm": (*SMALL, "--model.type=rnn", "--model.cell=lstm"),
    "elman": (*SMALL, "--model.type=rnn", "--model.cell=elman"),
    "ngram": ("--model.type=ngram", "--model.order=4"),
    "masked": (*SMALL, "--model.type=birnn", "--model.objective=masked"),
    "full": (*SMALL, "--model.type=birnn", "--model.reading=full"),
}


@pytest.fixture(scope="session")
def soft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text that has every character of the prepared views."""
    path = tmp_path_factory.mktemp("soft") / "soft.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def played(chargpt: Any, soft: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a small run of every family."""
    root = tmp_path_factory.mktemp("played")
    for name, words in RUNS.items():
        common = COMMON if name != "ngram" else tuple(word for word in COMMON if "max_iters" not in word)
        ended = chargpt(*words, *common, f"--data.path={soft}", f"--system.work_dir={root / name}")
        assert (ended.code, ended.err) == (0, "")
    return root


@pytest.fixture(scope="session")
def loaded(played: Path) -> dict[str, Run]:
    """The same runs, loaded here."""
    return {name: run.load(played / name, device="cpu") for name in RUNS}


@pytest.fixture(scope="session")
def server(played: Path) -> Iterator[str]:
    if lacking := missing():
        pytest.skip(lacking)
    with served(played, "--train=True", "--device=cpu") as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if lacking := missing():
        pytest.skip(lacking)
    driver = chromium()
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, server: str) -> Iterator[Page]:
    """The page, which has complained of nothing at the end."""
    found = Page(browser, server)
    browser.get_log("browser")  # of the test before
    yield found
    assert found.problems() == []
