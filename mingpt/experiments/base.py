"""What an experiment is: data.  It says what is asked, what is expected, and which runs would answer.

An **arm** is one of the things compared: settings, in stages that are trained one after the other, each from the
weights of the one before.  A **cell** is an arm with a seed.  A **measurement** gives numbers that are no run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from mingpt.core.registry import Registry
from mingpt.core.safe_parsing import Kind
from mingpt.data.text_files import DEFAULT_PATH
from mingpt.models.config import CONFIGS
from mingpt.report.figures import Draw
from mingpt.runs.config import Config, defaults

Settings = Mapping[str, Any]  # `{"model.window": 16}`
Stages = Sequence[Settings]
Row = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """A variant with a seed: its stages' configurations, their run folders, sha256 of what each reads; its own folder,
    which holds these, and its id, both None where no record of it is kept."""

    arm: str
    seed: int
    configs: tuple[Config, ...]
    folders: tuple[Path, ...]
    inputs: tuple[Mapping[str, str], ...] = field(default=(), compare=False)
    home: Path | None = field(default=None, compare=False)
    id: str | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Where it lies below an experiment's cells/, and how messages call it."""
        return f"{self.arm} seed {self.seed}"

    @property
    def tokens(self) -> int:
        """Of all its steps: what its time is guessed from."""
        return sum(c.trainer.max_iters * c.trainer.batch_size * c.data.block_size for c in self.configs)


QUICK, STANDARD, FULL = FORMS = ("quick", "standard", "full")


class Sizes(NamedTuple, Generic[T]):
    """How much of something, by the form of the experiment; None: in the standard form as much as in the full one."""

    quick: T
    full: T
    standard: T | None = None


@dataclass(frozen=True)
class Lab:
    """What a measurement may use: the experiment's folder, its finished trials, its form, someone to tell."""

    folder: Path
    cells: Sequence[Cell]
    form: str

    def pick(self, sizes: Sizes[T]) -> T:
        """The one of this form."""
        middle = sizes.full if sizes.standard is None else sizes.standard
        return {QUICK: sizes.quick, STANDARD: middle, FULL: sizes.full}[self.form]


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
        table: (rows) gives the rows of its table, each with the same columns, named as people read them.
        of_runs: whether it looks at the experiment's own runs, so that these are what a quick form makes smaller.
        of_model: whether it needs the trained model, so that it is taken at the end of each trial, of that one alone.
        first_seed: of a model's measurement: whether it is taken of each variant's first seed only.
        smaller: what else a quick form makes smaller of it, for people; empty: nothing.
        row: what `draw` and `table` use of a row, a TypedDict: what rows from elsewhere must hold.
        beside_counts: whether its y axis is a held-out loss of the text in blocks as trained on, so that the n-gram
            lines, which are one, may stand beside it.
    """

    name: str
    take: Callable[[Lab], list[Row]]
    draw: Draw | None = None
    table: Callable[[list[Row]], list[Row]] = list
    of_runs: bool = False
    of_model: bool = False
    first_seed: bool = False
    smaller: str = ""
    row: Kind = dict
    beside_counts: bool = False
    caption: str = ""
    variant: Callable[[Row], str | None] = _arm


@dataclass(frozen=True, kw_only=True)
class Form:
    """What one form of an experiment has instead of the experiment's own; None: the same.

    Attributes:
        settings: over those that all variants share.
        arms: the variants.
        seeds: trials per variant.
        learning_rates: to choose among; (): none, `settings` and variants have them.
        characters: what of the text is used, from its beginning; None: all.
        data: the text.
    """

    settings: Settings = field(default_factory=dict)
    arms: Mapping[str, Stages] | None = None
    seeds: int | None = None
    learning_rates: tuple[float, ...] | None = None
    characters: int | None = None
    data: str = DEFAULT_PATH


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
        quick: what differs where it must be over in minutes, to try out that all works; never an answer.
        standard: what differs in the form whose results are published, for two CPU cores.
        measurements: numbers beside the runs.
    """

    name: str
    question: str
    hypothesis: str
    arms: Mapping[str, Stages] = field(default_factory=dict)
    common: Settings = field(default_factory=dict)
    seeds: int = 5
    learning_rates: tuple[float, ...] | None = None
    quick: Form = field(default_factory=lambda: Form(seeds=3, characters=1_000_000))
    standard: Form = field(default_factory=Form)
    measurements: tuple[Measurement, ...] = ()

    def form(self, form: str) -> Form:
        """The form of this name: quick, standard or full."""
        return {QUICK: self.quick, STANDARD: self.standard, FULL: Form()}[form]

    def seeds_of(self, form: str) -> int:
        """Trials per variant."""
        return self.form(form).seeds or self.seeds

    def rates_of(self, form: str) -> tuple[float, ...]:
        """Learning rates that each variant chooses among; () where there is nothing to choose."""
        own = self.form(form).learning_rates
        return (self.learning_rates or ()) if own is None else own

    def stages(self, form: str) -> dict[str, list[dict[str, Any]]]:
        """Every variant's settings in full: common, then the form's, as far as its family uses them; then the
        variant's own, all of them, so that one that is not used is rejected."""
        own = self.form(form)
        arms = self.arms if own.arms is None else own.arms
        shared = {**self.common, **own.settings}
        return {arm: [_in_full(shared, stage) for stage in stages] for arm, stages in arms.items()}


def _in_full(shared: Settings, own: Settings) -> dict[str, Any]:
    family = {**DEFAULTS, **shared, **own}["model.type"]
    known = Config(model=CONFIGS[family]()).flat()
    return {**{key: value for key, value in shared.items() if key in known or key not in DEFAULTS}, **own}


def settings_of(config: Config) -> dict[str, Any]:
    """Return the settings that make a variant."""
    idle = CADENCES if config.model.count_based else ()  # its only step is the last
    return {key: value for key, value in config.flat().items() if _counts(key) and key not in idle}


def _counts(key: str) -> bool:
    return key not in NO_PART and not key.startswith("wandb.")


DEFAULTS = defaults()
CADENCES = ("trainer.eval_every", "trainer.sample_every", "trainer.save_every")
NO_PART = ("system.seed", "system.work_dir", "model.pretrained_folder", "trainer.resume", "trainer.resume_changed")


EXPERIMENTS: Registry[Experiment] = Registry("experiment")


def register(experiment: Experiment) -> Experiment:
    """Make it known by its name."""
    return EXPERIMENTS.add(experiment.name)(experiment)
