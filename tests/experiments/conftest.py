"""Experiments that end in a blink: two steps on 600 characters, trained in this process where that will do."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any
from unittest import mock

import pytest

from mingpt.core.errors import MingptError
from mingpt.core.log_output import messages
from mingpt.experiments import summarize
from mingpt.experiments.base import Experiment, Form, Trial
from mingpt.experiments.catalogue import EXPERIMENTS
from mingpt.experiments.runner import ExperimentOptions, carry_out
from mingpt.report import page
from mingpt.runs import run
from mingpt.runs.config import Config

TINY: dict[str, Any] = {
    "data.block_size": 8,
    "data.val_fraction": 0.1,
    "model.n_layer": 1,
    "model.n_embd": 8,
    "model.n_query_head": 2,
    "model.rope": True,
    "trainer.max_iters": 2,
    "trainer.batch_size": 2,
    "trainer.optimizer": "adamw",
    "trainer.matrix_learning_rate": 0.02,
    "trainer.device": "cpu",
    "trainer.eval_every": 0,
    "trainer.sample_every": 0,
    "sample.tokens": 3,
    "trainer.save_every": 1,
}


@pytest.fixture(autouse=True, scope="module")
def no_slow_frills() -> Iterator[None]:
    """Leaves out what costs most of a tiny run and decides nothing."""
    with (
        mock.patch("mingpt.runs.summary.peak_matmul_flops", return_value=1e9),
        mock.patch("mingpt.report.loss_plot.draw"),
        mock.patch("os.fsync"),
        mock.patch("mingpt.experiments.executor.AGAIN_S", 0.05),
        mock.patch("mingpt.experiments.experiment_record.AGAIN_S", 0.05),
    ):
        yield


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 characters: the last 60 of them, which are held out, have an X that the others have not."""
    draw = random.Random(3)
    content = "".join(draw.choice("abcdefg ,\n") for _ in range(540)) + "X" * 60
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(content, encoding="utf-8")
    return path


@pytest.fixture
def experiment() -> Callable[..., Experiment]:
    """`experiment(variants=...)`: one of two variants with two seeds, with changes."""

    def make(**changes: Any) -> Experiment:
        variants = {"RoPE": [{"model.rope": True}], "learned": [{"model.rope": False}]}
        told = {
            "name": "tiny",
            "question": "Which?",
            "hypothesis": "Neither.",
            "variants": variants,
            "common": TINY,
            "seeds": 2,
        }
        return Experiment(**{**told, **changes})

    return make


class Trainer:
    """Trains in this process, and remembers what."""

    def __init__(self) -> None:
        self.trained: list[Config] = []
        self.before: Callable[[Config], None] = lambda config: None

    def __call__(self, config: Config, log: Path, stop: Event) -> int:
        self.trained.append(config)
        try:
            self.before(config)
            run.train(config)
        except MingptError as error:
            log.write_text(f"error: {error}\n", encoding="utf-8")
            return error.exit_code
        return 0

    @property
    def seen(self) -> list[str]:
        """The last two parts of each run's folder, in the order in which they were trained."""
        return ["/".join(Path(config.system.work_dir or "").parts[-2:]) for config in self.trained]


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """Settings of a run that takes a moment."""
    return TINY


@pytest.fixture
def here() -> Trainer:
    return Trainer()


@pytest.fixture
def tiny_flags(text_file: Path) -> list[str]:
    """TINY, as a person types it."""
    return [f"--{key}={value}" for key, value in TINY.items() if key != "model.rope"] + [f"--data.path={text_file}"]


@pytest.fixture
def small_form() -> Callable[[str], Experiment]:
    """`small_form("rnn")`: a registered experiment's quick form, its own variants one layer of 8 wide, three steps."""

    def make(name: str) -> Experiment:
        found = EXPERIMENTS[name]
        assert found.quick.variants is not None
        variants = {
            variant: [{key: 8 if key == "model.n_embd" else value for key, value in stage.items()} for stage in stages]
            for variant, stages in found.quick.variants.items()
        }
        small = {"model.n_layer": 1, "model.n_embd": 8, "data.block_size": 12, "trainer.max_iters": 3}
        small |= {"trainer.batch_size": 2, "trainer.warmup_iters": 0, "trainer.eval_every": 1, "trainer.save_every": 3}
        settings = {**found.quick.settings, **small, "trainer.device": "cpu"}
        quick = Form(settings=settings, variants=variants, seeds=1, learning_rates=(1e-3,), characters=1_000_000)
        return replace(found, quick=quick)

    return make


@pytest.fixture
def carried_out(text_file: Path, here: Trainer) -> Callable[[Experiment, Path], str]:
    """`carried_out(experiment, folder)`: all of its quick form; returns the page, made again from the files alone."""

    def carry(experiment: Experiment, folder: Path) -> str:
        outcome = carry_out(
            experiment,
            ExperimentOptions(folder=folder, command="test", data=str(text_file), form="quick"),
            summarize=lambda *told: summarize.summarize(*told, show=lambda result, tables: None),
            launch=here,
        )
        assert outcome.failed == {}
        assert {path.stem for path in (folder / "figures").iterdir()} == {m.name for m in experiment.measurements}
        return page.write([folder], folder / "again.html").read_text(encoding="utf-8")

    return carry


class Told:
    """What was said and summarized."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.summarized: list[Trial] = []

    def summarize(self, experiment: Experiment, folder: Path, trials: Any) -> None:
        self.summarized = list(trials)


@pytest.fixture
def go(text_file: Path, tmp_path: Path, here: Any) -> Callable[..., Any]:
    """`go(experiment, seeds=3)`: carried out in this process; returns (outcome, what was told)."""

    def carry(experiment: Experiment, launch: Any = None, **changes: Any) -> Any:
        options = ExperimentOptions(
            **{"folder": tmp_path / "exp", "command": "test", "data": str(text_file), **changes}
        )
        told = Told()
        with messages(told.lines.append, "mingpt.experiments", "mingpt.data"):
            outcome = carry_out(experiment, options, summarize=told.summarize, launch=launch or here)
        return outcome, told

    return carry
