"""The content of a run folder, read from its files alone, without PyTorch.

config.yaml        settings, flattened to `group.key`
environment.json   versions, machine, checksums of text and vocabulary, and the model's size where it is known
metrics.jsonl      one object a step, of which those are kept that are drawn
samples.jsonl      text generated along the way
baselines.json     n-gram losses of the text
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Len
from typing_extensions import TypedDict

from mingpt.core.errors import CheckpointError
from mingpt.core.paths import did_you_mean_folder, shown
from mingpt.core.run_files.curves import Curve
from mingpt.core.run_files.reading import (
    Losses,
    Record,
    Settings,
    each_line,
    evaluated_loss,
    flat,
    read_json,
    read_lines,
    read_losses,
    read_settings,
)
from mingpt.core.run_files.thinning import SMOOTHED, thinned
from mingpt.core.safe_parsing import Count, Finite, Many, Named, Number

TIMING = "timing.jsonl"
OWN_FILES = ("config.yaml", "environment.json", "metrics.jsonl", "samples.jsonl", "baselines.json", TIMING)
HOME = Path("out")  # where runs go that no other place is given

STARTS_FROM = "model.pretrained_folder"
FIRST_STAGE = "first stage: "  # before a setting of the run whose weights a run began with


class _Model(TypedDict, total=False):
    parameters: Count | None
    flops_per_token: Finite | None
    reads: Many[str]


class Environment(TypedDict, total=False):
    """What is used of environment.json."""

    model: _Model
    defaults: dict[str, Any]
    text: str | None
    text_sha256: str | None
    vocabulary_sha256: str | None
    prompts: Many[str]
    device: str
    device_name: str
    threads: Count


class Step(TypedDict):
    """A line of metrics.jsonl, whose other values are numbers."""

    step: Count


class TrainedStep(Step):
    """The same, of training by gradients or of n-gram counts."""

    train_loss: Number


class Sample(Step):
    """A line of samples.jsonl."""

    prompt: str
    text: str


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run folder's content; its `metrics` are `thinned`."""

    folder: Path
    settings: dict[str, Any]
    environment: Record
    metrics: list[Record]
    samples: list[Record]
    baselines: dict[str, float]

    @property
    def seed(self) -> int:
        return int(self.settings.get("system.seed", 0))

    @property
    def last(self) -> Record:
        return self.metrics[-1]

    @property
    def has_cpu_seconds(self) -> bool:
        """Whether the run is timed by CPU seconds of its process, which other processes lengthen little."""
        return str(self.environment.get("device", "")).startswith("cpu") and "cpu_seconds" in self.last

    def compute(self, line: Record) -> float:
        """Seconds of training up to a record: CPU seconds, where the run has them; else those inside training steps."""
        return float(line.get("cpu_seconds" if self.has_cpu_seconds else "seconds", 0.0))

    def training_flops(self, line: Record) -> float | None:
        """FLOPs of training up to a record: 3 times those of a forward pass, per token, times tokens.

        A backward pass takes twice a forward one (Kaplan et al. 2020, section 2.1; Hoffmann et al. 2022, appendix F).
        None of an n-gram model, and where FLOPs per token or tokens are not on record.
        """
        forward, tokens = (self.environment.get("model") or {}).get("flops_per_token"), line.get("tokens")
        return None if self.count_based or not forward or tokens is None else 3.0 * forward * tokens

    @property
    def count_based(self) -> bool:
        """Whether it is an n-gram model, fitted in one step: no learning rate is on record."""
        return bool(self.metrics) and self.last["step"] == 1 and "lr" not in self.last

    @property
    def trouble(self) -> str | None:
        """Why this run can't be compared; None where it can."""
        if not self.metrics:
            return "it has made no step"
        loss, steps = self.last.get("val_loss"), self.settings.get("trainer.max_iters", 0)
        if loss is None and self.last["step"] < steps:
            return f"it is unfinished, at step {self.last['step']:,} of {steps:,}"
        if loss is not None and not math.isfinite(loss):
            return f"its validation loss is {loss}"
        return None

    def validation(self, key: str = "val_loss", scale: float = 1.0) -> Curve:
        """Validation loss (or `bits_per_byte`) of every evaluation: over part of the validation set before the end."""
        found = [(line, evaluated_loss(line, key)) for line in self.metrics]
        return self._curve([(line, loss * scale) for line, loss in found if loss is not None and math.isfinite(loss)])

    def training(self) -> Curve:
        """Training loss, smoothed, at some 100 to 200 points; the last step is always one."""
        return self._curve([(line, line[SMOOTHED]) for line in self.metrics if SMOOTHED in line])

    def last_samples(self) -> list[dict[str, str]]:
        """Return prompts and texts of the last samples."""
        last = max((line.get("step", 0) for line in self.samples), default=0)
        return [
            {"prompt": str(line["prompt"]), "text": str(line["text"])} for line in self.samples if line["step"] == last
        ]

    def _curve(self, points: list[tuple[Record, float]]) -> Curve:
        flops = [self.training_flops(line) for line, _ in points]
        return Curve(
            seed=self.seed,
            steps=[line["step"] for line, _ in points],
            seconds=[self.compute(line) for line, _ in points],
            flops=[each for each in flops if each is not None] if None not in flops else [],
            losses=[loss for _, loss in points],
        )


class Stage(TypedDict):
    """A published run, in the file of its experiment; values of `metrics` are of type Named[Number], too."""

    settings: Settings
    environment: Environment
    baselines: Losses
    metrics: Annotated[Many[Step], Len(1)]
    samples: Many[Sample]


def run_of(stage: Record, folder: Path) -> RunRecord:
    """The run that a published record, of type Stage, holds; `folder` is the name that messages give it."""
    return RunRecord(
        folder=folder,
        settings=own_settings(flat(stage["settings"]), stage["environment"]),
        environment=stage["environment"],
        metrics=thinned(stage["metrics"]),
        samples=stage["samples"],
        baselines=stage["baselines"],
    )


def newest_first(home: Path = HOME) -> list[Path]:
    """Every run folder under `home`, the one that was last started first.

    Raises:
        CheckpointError: there is none.
    """
    runs = [path.parent for path in home.glob("*/config.yaml")]
    if not runs:
        training = "`chargpt train` or `python chargpt.py`"
        raise CheckpointError(f"no run under {home}/: train one by {training}, or name the folder of one")
    return sorted(runs, key=lambda run: (run / "config.yaml").stat().st_mtime_ns, reverse=True)


def newest_run(home: Path = HOME) -> Path:
    """The run folder under `home` that was last started.

    Raises:
        CheckpointError: there is none.
    """
    return newest_first(home)[0]


def is_run(folder: Path) -> bool:
    """Whether there is a run in it."""
    return (folder / "config.yaml").is_file()


def check_run(folder: Path) -> None:
    """Check that there is a run in `folder`.

    Raises:
        CheckpointError: there is none.
    """
    if not is_run(folder):
        raise CheckpointError(f"{shown(folder)}: no run here (it has no config.yaml){did_you_mean_folder(folder)}")


def read_run(folder: Path) -> RunRecord:
    """What the run in `folder` left.

    Raises:
        CheckpointError: no run there, or a damaged file.
    """
    check_run(folder)
    return RunRecord(
        folder=folder,
        settings=_found_again(settings_of(folder), folder),
        environment=read_json(folder / "environment.json", Environment),
        metrics=thinned(each_line(folder / "metrics.jsonl", Named[Number], Step)),
        samples=read_lines(folder / "samples.jsonl", Sample),
        baselines=read_losses(folder / "baselines.json"),
    )


def settings_of(folder: Path) -> dict[str, Any]:
    """Return a run's settings by key, `{"system.seed": 3407, ...}`: those that its family has.

    config.yaml once had those of all families, and environment.json a list of the family's own.

    Raises:
        CheckpointError: as `read_settings`.
    """
    return own_settings(read_settings(folder), read_json(folder / "environment.json", Environment))


def own_settings(settings: Mapping[str, Any], environment: Record) -> dict[str, Any]:
    """Those of the settings that the run's family has."""
    known = (environment.get("model") or {}).get("reads")
    return {
        key: value
        for key, value in settings.items()
        if known is None or not key.startswith(("model.", "trainer.")) or key in (*known, STARTS_FROM)
    }


def _found_again(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Settings whose first stage is named from here: a published run names it from its own folder."""
    start = settings.get(STARTS_FROM)
    if start and not is_run(Path(start)) and is_run(folder / start):
        return {**settings, STARTS_FROM: str(folder / start)}
    return settings
