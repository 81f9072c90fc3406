"""What a run folder says, read from its files alone: no torch, nothing loaded, nothing guessed.

config.yaml        settings, flattened to `group.key`
environment.json   versions, machine, checksums of text and vocabulary, and the model's size where it is told
metrics.jsonl      one object a step
samples.jsonl      text drawn along the way
baselines.json     n-gram losses of the text
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mingpt.errors import CheckpointError, UsageError
from mingpt.files import sha256
from mingpt.report.curve import smoothed
from mingpt.untrusted import JSON_BYTES, YAML_BYTES, parse_json, parse_yaml, read_at_most, require_ordinary

HOME = Path("out")  # where runs go that no other place is given
RECORD, SUMMARY, PAGE, MEASURED = "record.json", "summary.json", "report.html", "measurements.jsonl"  # of an experiment
THINNED = 100  # points that a training curve keeps
SMOOTHED = "train_loss_smoothed"  # in records that were thinned for publishing

STARTS_FROM = "model.pretrained_folder"
FIRST_STAGE = "first stage: "  # before a setting of the run whose weights a run began with

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A loss along one run: equally long lists of steps, seconds of training, and nats."""

    seed: int
    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def loss_at(self, seconds: float) -> float | None:
        """The loss after so many seconds, by a straight line between neighbours; None before the first or after the
        last point."""
        times = self.seconds
        if not times or not times[0] <= seconds <= times[-1]:
            return None
        after = next(place for place, time in enumerate(times) if time >= seconds)
        if times[after] == seconds or after == 0:
            return self.losses[after]
        share = (seconds - times[after - 1]) / (times[after] - times[after - 1])
        return self.losses[after - 1] + share * (self.losses[after] - self.losses[after - 1])


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run folder's content."""

    folder: Path
    settings: dict[str, Any]
    environment: Record
    metrics: list[Record]
    samples: list[Record]
    baselines: dict[str, float]

    @property
    def seed(self) -> int:
        return int(self.settings.get("system.seed", 0))

    def reads(self, key: str) -> bool:
        """Whether a run of its family reads this setting; True where its environment doesn't say."""
        known = (self.environment.get("model") or {}).get("reads")
        key = key.removeprefix(FIRST_STAGE)
        return known is None or not key.startswith(("model.", "trainer.")) or key in known

    @property
    def last(self) -> Record:
        return self.metrics[-1]

    @property
    def counted(self) -> bool:
        """Whether it learned all at once, by counting: no learning rate is on record."""
        return bool(self.metrics) and self.last["step"] == 1 and "lr" not in self.last

    @property
    def trouble(self) -> str | None:
        """Why this run can't be compared, in words; None where it can."""
        if not self.metrics:
            return "it has made no step"
        loss, steps = self.last.get("val_loss"), self.settings.get("trainer.max_iters", 0)
        if loss is None and self.last["step"] < steps:
            return f"it is unfinished, at step {self.last['step']:,} of {steps:,}"
        if loss is not None and not math.isfinite(loss):
            return f"its held-out loss is {loss}"
        return None

    def held_out(self, key: str = "val_loss", scale: float = 1.0) -> Curve:
        """Held-out loss (or `bits_per_byte`) where it was looked at: over a part of that text before the end."""
        looks = [(line, line.get(key, line.get(f"{key}_part"))) for line in self.metrics]
        return self._curve([(line, loss * scale) for line, loss in looks if loss is not None and math.isfinite(loss)])

    def training(self) -> Curve:
        """Training loss, smoothed, thinned to about 100 points; the last step is always one."""
        kept = [(line, line[SMOOTHED]) for line in self.metrics if SMOOTHED in line]
        return self._curve(kept or thinned(self.metrics))

    def last_samples(self) -> list[dict[str, str]]:
        """Prompt and text of what was drawn last."""
        last = max((line.get("step", 0) for line in self.samples), default=0)
        return [
            {"prompt": str(line["prompt"]), "text": str(line["text"])} for line in self.samples if line["step"] == last
        ]

    def _curve(self, points: list[tuple[Record, float]]) -> Curve:
        return Curve(
            seed=self.seed,
            steps=[line["step"] for line, _ in points],
            seconds=[line.get("seconds", 0.0) for line, _ in points],
            losses=[loss for _, loss in points],
        )


def thinned(metrics: Sequence[Record]) -> list[tuple[Record, float]]:
    """About 100 records with their training loss, smoothed over all of them; the last is always one."""
    lines = [line for line in metrics if math.isfinite(line.get("train_loss", math.nan))]
    if not lines:
        return []
    losses = smoothed([line["train_loss"] for line in lines])
    apart = -(-len(lines) // THINNED)
    return list(zip(lines, losses, strict=True))[::-1][::apart][::-1]


def newest_first(home: Path = HOME) -> list[Path]:
    """Every run folder under `home`, the one that was last started first.

    Raises:
        CheckpointError: there is none.
    """
    runs = [path.parent for path in home.glob("*/config.yaml")]
    if not runs:
        raise CheckpointError(f"no run under {home}/: train one with `chargpt`, or name its folder with --run=DIR")
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


def read_run(folder: Path) -> RunRecord:
    """What the run in `folder` left.

    Raises:
        UsageError: no run there.
        CheckpointError: a damaged file.
    """
    if not is_run(folder):
        raise UsageError(f"{folder}: no run here (it has no config.yaml)")
    environment, metrics = read_json(folder / "environment.json"), read_lines(folder / "metrics.jsonl")
    samples = read_lines(folder / "samples.jsonl")
    sound = {
        "environment.json": isinstance(environment.get("model") or {}, dict),
        "metrics.jsonl": all(isinstance(value, float | int | None) for line in metrics for value in line.values()),
        "samples.jsonl": all(
            isinstance(line.get("step"), int) and {"prompt", "text"} <= line.keys() for line in samples
        ),
    }
    for name in (name for name, holds in sound.items() if not holds):
        raise CheckpointError(f"{folder / name}: holds something else than a run writes there")
    return RunRecord(
        folder=folder,
        settings=_found_again(read_settings(folder), folder),
        environment=environment,
        metrics=[line for line in metrics if isinstance(line.get("step"), int)],
        samples=samples,
        baselines=read_losses(folder / "baselines.json"),
    )


def _found_again(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Settings whose first stage is named from here: a published run names it from its own folder."""
    start = settings.get(STARTS_FROM)
    if start and not is_run(Path(start)) and is_run(folder / start):
        return {**settings, STARTS_FROM: str(folder / start)}
    return settings


def baselines_of(folder: Path) -> dict[str, float]:
    """N-gram losses of an experiment's text, as its last stage cut it; {} without a run."""
    found = sorted(cell for cells in cells_of(folder, read_json(folder / RECORD)).values() for cell in cells)
    return read_losses(last_stage(found[0]) / "baselines.json") if found else {}


def cells_of(folder: Path, record: Mapping[str, Any]) -> dict[str, list[Path]]:
    """The cells that there are by their arm, in the record's order: of seeds 1 to its `seeds`; of all without."""
    arms, seeds = list(record.get("arms", {})), record.get("seeds")
    homes = sorted((folder / "cells").glob("*/"), key=lambda home: (_place(home.name, arms), home.name))
    wanted = None if seeds is None else {f"seed-{seed}" for seed in range(1, int(seeds) + 1)}
    return {
        arm_of(home.name, arms): [cell for cell in sorted(home.glob("seed-*")) if wanted is None or cell.name in wanted]
        for home in homes
    }


def arm_of(folder: str, arms: Sequence[str]) -> str:
    """The arm that lies in a folder of this name, which ends in a digest where the arm's own can't be a folder's."""
    return next((arm for arm in arms if folder == arm or folder.endswith(sha256(arm.encode())[:8])), folder)


def _place(folder: str, arms: Sequence[str]) -> int:
    return [*arms, arm_of(folder, arms)].index(arm_of(folder, arms))


def inside(run: str | Path, folder: Path) -> str:
    """The path `run` as seen from `folder`, where it lies in there; else as it is."""
    path = Path(run)
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def last_stage(cell: Path) -> Path:
    """Of an experiment's cell: the run that is compared."""
    return max(cell.glob("stage-*"), key=lambda stage: int(stage.name.partition("-")[2]), default=cell)


def smallness(record: Mapping[str, Any]) -> str:
    """`Quick form: 600 steps of a 2-layer model, 3 seeds`; nothing of a full experiment."""
    if not record.get("quick"):
        return ""
    arms = [arm for arm in record.get("arms", {}).values() if arm]
    steps = _range(sum(stage.get("trainer.max_iters") or 0 for stage in arm) for arm in arms)
    layers = _range(stage.get("model.n_layer") or 0 for arm in arms for stage in arm)
    told = f"{steps} steps of a {layers}-layer model, {record.get('seeds', '?')} seeds" if steps and layers else ""
    return f"Quick form: {told or 'small sizes, few repeats'}"


def _range(numbers: Iterable[int]) -> str:
    """`600`, `300 to 600`; of what is not 0."""
    there = sorted({number for number in numbers if number})
    return " to ".join(f"{number:,}" for number in dict.fromkeys([there[0], there[-1]])) if there else ""


def read_settings(folder: Path) -> dict[str, Any]:
    """config.yaml by key, `{"system.seed": 3407, ...}`.

    Raises:
        CheckpointError: it is damaged.
    """
    path = folder / "config.yaml"
    try:
        groups = parse_yaml(read_at_most(YAML_BYTES, path))
        return {f"{group}.{key}": value for group, values in groups.items() for key, value in values.items()}
    except (OSError, ValueError, AttributeError):
        raise CheckpointError(f"{path}: can't be read as a run's settings") from None


def read_lines(path: Path) -> list[Record]:
    """The objects of a .jsonl file; [] without one; a last line that a crash cut short is left out.

    Raises:
        CheckpointError: no ordinary file, or a line before the last is no record.
    """
    if not path.exists():
        return []
    try:
        require_ordinary(path)
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from None
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = parse_json(line)
            if not isinstance(record, dict):
                raise ValueError
            records.append(record)
        except ValueError:
            if number < len(lines):
                raise CheckpointError(f"{path}: line {number} is no record; mend or remove it") from None
    return records


def read_losses(path: Path) -> dict[str, float]:
    """A .json file of losses by their names; {} without the file.

    Raises:
        CheckpointError: it is damaged, or holds anything but numbers.
    """
    content = read_json(path)
    if not all(isinstance(value, float | int) for value in content.values()):
        raise CheckpointError(f"{path}: holds something that is no loss")
    return content


def read_json(path: Path) -> Record:
    """A .json file's object; {} without the file.

    Raises:
        CheckpointError: it is damaged.
    """
    if not path.exists():
        return {}
    try:
        content = parse_json(read_at_most(JSON_BYTES, path))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: can't be read: not a JSON object")
    return content
