"""A test set: no run evaluates it while it trains, and `evaluate` does when it is asked to."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mingpt.core.errors import DataError, UsageError
from mingpt.core.run_files.reading import read_lines
from mingpt.core.run_files.records import read_run
from mingpt.data import prepare as preparing
from mingpt.data.data_config import DataConfig
from mingpt.inference.evaluate import validation_loss
from mingpt.report.variants import require_one_text
from mingpt.runs import run
from mingpt.runs.config import Config

SETS = {"data.val_fraction": 0.2, "data.test_fraction": 0.15}


@pytest.fixture
def text(text_file: Path, tmp_path: Path) -> Path:
    """A text of this test's own."""
    return Path(shutil.copy(text_file, tmp_path / "text.txt"))


@pytest.fixture
def trained(tiny: Callable[..., Config], tmp_path: Path) -> Callable[..., Any]:
    """trained("name", text, settings) -> a run in the folder `name`."""

    def make(name: str, path: Path, changes: dict[str, Any]) -> Any:
        return run.train(tiny(tmp_path / name, {"data.path": str(path), **changes}))

    return make


def losses(folder: Path) -> list[dict[str, Any]]:
    """The losses of each step that no clock decides."""
    lines = read_lines(folder / "metrics.jsonl")
    return [{k: v for k, v in line.items() if "loss" in k or k == "baselines"} for line in lines]


def test_training_does_not_depend_on_the_test_set(trained: Any, trace: Any, text: Path) -> None:
    """Of two texts that differ in their test sets alone, two runs are the same."""
    one = trained("one", text, SETS | {"trainer.eval_every": 4})
    content = text.read_text()
    start = int(len(content) * 0.85)
    text.write_text(content[:start] + content[:start:-1] + content[start])
    assert text.read_text() != content
    other = trained("other", text, SETS | {"trainer.eval_every": 4})
    assert trace(one.folder) == trace(other.folder)
    assert losses(one.folder) == losses(other.folder)
    assert "val_loss_part" in losses(one.folder)[3]
    assert one.baselines() == other.baselines() != {}
    assert one.prompts() == other.prompts()
    assert other.evaluate().nats == losses(one.folder)[-1]["val_loss"]
    with pytest.raises(DataError, match="no longer the text"):
        one.evaluate(split="test")


def test_test_set_is_the_end_of_the_text(trained: Any, text: Path) -> None:
    done, content = trained("run", text, SETS), text.read_text()
    first, second = int(len(content) * 0.65), int(len(content) * 0.85)
    for name, part in {"validation": content[first:second], "test": content[second:]}.items():
        own = validation_loss(done.model, done.tokenizer.encode(part), done.tokenizer)
        assert run.load(done.folder).evaluate(split=name) == own
    assert done.evaluate() == done.evaluate(split="validation") != done.evaluate(split="test")


def test_prepared_run_has_the_same_test_set(trained: Any, text: Path, tmp_path: Path) -> None:
    preparing.write(DataConfig(path=str(text), val_fraction=0.2, test_fraction=0.15), tmp_path / "prepared")
    done = [trained(f"{path.stem}-run", path, SETS) for path in (text, tmp_path / "prepared")]
    assert done[0].evaluate(split="test") == done[1].evaluate(split="test")


def test_run_without_a_test_set_has_none_to_score(trained: Any, text: Path) -> None:
    done, said = trained("run", text, {}), r"run has no test set; --data\.test_fraction=0\.1 trains a run that has one$"
    with pytest.raises(UsageError, match=rf"^split=test: .*{said}"):
        done.evaluate(split="test")


def test_fraction_can_not_change_on_the_way(trained: Any, text: Path) -> None:
    config = trained("run", text, SETS).config
    more = dataclasses.replace(config.trainer, max_iters=13, resume=True)
    other = dataclasses.replace(config.data, test_fraction=0.1)
    with pytest.raises(UsageError, match=r"data\.test_fraction was 0\.15, is 0\.1"):
        run.train(dataclasses.replace(config, trainer=more, data=other))


def test_runs_of_different_sets_are_not_compared(trained: Any, text: Path) -> None:
    done = [trained(str(n), text, {"data.test_fraction": n / 10}) for n in (0, 1)]
    with pytest.raises(DataError, match=r"data\.test_fraction=0\.1, but 0\.0 in .*: another validation set"):
        require_one_text([read_run(each.folder) for each in done])


def test_settings_of_the_sets_are_saved(trained: Any, text: Path) -> None:
    done = trained("run", text, SETS)
    assert run.load(done.folder).config.data == done.config.data
