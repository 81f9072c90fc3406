"""What an experiment is: data.  It says what is asked, what is expected, and which runs would answer.

An **arm** is one of the things compared: settings, in stages that are trained one after the other, each from the
weights of the one before.  A **cell** is an arm with a seed.  A **measurement** gives numbers that are no run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from mingpt.core.registry import Registry
from mingpt.core.safe_parsing import Fields
from mingpt.models.model_config import EVERYONE, RULES, Rules
from mingpt.report.figures import Draw
from mingpt.runs.config import Config
from mingpt.training.trainer_config import READ_BY_COUNTING

Settings = Mapping[str, Any]  # `{"model.window": 16}`
Stages = Sequence[Settings]
Row = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """An arm with a seed: its stages' configurations, their run folders, and sha256 of what each reads."""

    arm: str
    seed: int
    configs: tuple[Config, ...]
    folders: tuple[Path, ...]
    inputs: tuple[Mapping[str, str], ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        """Where it lies below an experiment's cells/, and how messages call it."""
        return f"{self.arm} seed {self.seed}"

    @property
    def tokens(self) -> int:
        """Of all its steps: what its time is guessed from."""
        return sum(steps_of(c) * c.trainer.batch_size * c.data.block_size for c in self.configs)


class Sizes(NamedTuple, Generic[T]):
    """How much of something: in a quick form, which must be over in minutes, and in the full one."""

    quick: T
    full: T


@dataclass(frozen=True)
class Lab:
    """What a measurement may use: the experiment's folder, its finished cells, whether to be quick, someone to tell."""

    folder: Path
    cells: Sequence[Cell]
    quick: bool

    def pick(self, sizes: Sizes[T]) -> T:
        """The one of this form."""
        return sizes.quick if self.quick else sizes.full


def _arm(row: Row) -> str | None:
    return row.get("arm")


@dataclass(frozen=True)
class Measurement:
    """Numbers that are no run.

    Attributes:
        name: of its rows in measurements.jsonl and of its figure.
        take: gives the rows.
        draw: (rows, matplotlib Figure, palette) draws them, from the rows alone; None: no picture.
        caption: of the picture: what is shown, and what lines, colours and shades mean.
        variant: what of a row has a look of its own in all pictures of its experiment; None: nothing.
        finding: what the rows say, in one sentence; None: the numbers alone are given.
        brief: the same for a table, with few numbers or none; None: nothing of it stands there.
        of_runs: whether it looks at the experiment's own runs, so that these are what a quick form makes smaller.
        smaller: what else a quick form makes smaller of it, for people; empty: nothing.
        row: what `draw` and `finding` read of a row, as `misfit` has it: what a stranger's rows must hold.
        beside_counts: whether its y axis is a held-out loss of the text in blocks as trained on, so that the n-gram
            lines, which are one, may stand beside it.
    """

    name: str
    take: Callable[[Lab], list[Row]]
    draw: Draw | None = None
    finding: Callable[[list[Row]], str] | None = None
    brief: Callable[[list[Row]], str] | None = None
    of_runs: bool = False
    smaller: str = ""
    row: Fields = field(default_factory=dict)
    beside_counts: bool = False
    caption: str = ""
    variant: Callable[[Row], str | None] = _arm


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A question and what would answer it.

    Attributes:
        name: as the command line has it.
        question: in one sentence.
        hypothesis: what is expected, said before anything ran.
        arms: the stages of each.
        common: what all arms share, every setting spelled out, since defaults move; of it an arm takes what its family
            of models reads, so that unlike families may stand side by side.
        seeds: how many cells an arm has.
        learning_rates: each arm that has a learning rate takes the best of these; None: what `common` says.
        quick: what is other where it must be over in minutes.
        quick_arms: the arms then; None: the same.
        quick_seeds: how many cells an arm then has.
        quick_characters: what of the text is then read; None: all.
        measurements: numbers beside the runs.
    """

    name: str
    question: str
    hypothesis: str
    arms: Mapping[str, Stages] = field(default_factory=dict)
    common: Settings = field(default_factory=dict)
    seeds: int = 5
    learning_rates: tuple[float, ...] | None = None
    quick: Settings = field(default_factory=dict)
    quick_arms: Mapping[str, Stages] | None = None
    quick_seeds: int = 3
    quick_characters: int | None = 1_000_000
    measurements: tuple[Measurement, ...] = ()

    def stages(self, quick: bool) -> dict[str, list[dict[str, Any]]]:
        """Every arm's settings in full: common, then what quick changes, as far as its family reads them; then the
        arm's own, all of them, so that one that is not read is refused."""
        arms = self.quick_arms if quick and self.quick_arms is not None else self.arms
        shared = {**self.common, **(self.quick if quick else {})}
        return {arm: [_in_full(shared, stage) for stage in stages] for arm, stages in arms.items()}


def _in_full(shared: Settings, own: Settings) -> dict[str, Any]:
    family = RULES[{**DEFAULTS, **shared, **own}["model.type"]]
    return {**{key: value for key, value in shared.items() if read_by(family, key)}, **own}


def read_by(family: type[Rules], key: str) -> bool:
    """Whether a run of this family reads the setting; True for what is none, so that it is refused where it is used."""
    group, _, name = key.partition(".")
    by_gradients = not family.fits_by_counting
    reads = {
        "model": name in family.reads | EVERYONE or (name == "pretrained_folder" and by_gradients),
        "trainer": name in READ_BY_COUNTING or by_gradients,
    }
    return key not in DEFAULTS or reads.get(group, True)


def steps_of(config: Config) -> int:
    """Steps of a whole run: one where it learns by counting."""
    return 1 if RULES[config.model.type].fits_by_counting else config.trainer.max_iters


def settings_of(config: Config) -> dict[str, Any]:
    """Settings that make an arm, without those that its family would not read."""
    family = RULES[config.model.type]
    return {key: value for key, value in config.flat().items() if _counts(key) and read_by(family, key)}


def _counts(key: str) -> bool:
    return key not in NO_PART and not key.startswith("wandb.")


DEFAULTS = Config().flat()
NO_PART = ("system.seed", "system.work_dir", "model.pretrained_folder", "trainer.resume", "trainer.resume_changed")


EXPERIMENTS: Registry[Experiment] = Registry("experiment")


def register(experiment: Experiment) -> Experiment:
    """Make it known by its name."""
    return EXPERIMENTS.add(experiment.name)(experiment)
