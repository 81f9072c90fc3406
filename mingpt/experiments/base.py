"""An experiment as data: its question, its hypothesis, and the runs that answer it.

A **variant** is one of the things compared: settings, in stages that are trained one after the other, each from the
weights of the one before.  A **trial** is a variant with a seed.  A **measurement** gives numbers that are no run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from typing_extensions import TypedDict

from mingpt.core.registry import Registry
from mingpt.core.run_files.records import STARTS_FROM
from mingpt.core.safe_parsing import Kind
from mingpt.core.setting_roles import EVALUATION, SEED, changes_no_result
from mingpt.core.statistics import MARGIN
from mingpt.data.text_files import DEFAULT_PATH
from mingpt.experiments.base_config import BASE
from mingpt.models.config import CONFIGS
from mingpt.report.figures import Draw
from mingpt.runs.config import Config, defaults

Settings = Mapping[str, Any]  # `{"model.window": 16}`
Stages = Sequence[Settings]
Row = dict[str, Any]


class VariantFields(TypedDict):
    arm: str  # the variant of a row, under the key that files have


T = TypeVar("T")


@dataclass(frozen=True)
class Trial:
    """A variant with a seed.

    Attributes:
        configs, folders: configuration and run folder of each stage.
        inputs: sha256 of each input of each stage, by its kind.
        home: the folder that holds those of the stages; id: what the trial's record is named by. Both None where no
            record is kept.
    """

    variant: str
    seed: int
    configs: tuple[Config, ...]
    folders: tuple[Path, ...]
    inputs: tuple[Mapping[str, str], ...] = field(default=(), compare=False)
    home: Path | None = field(default=None, compare=False)
    id: str | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Variant and seed, for messages."""
        return f"{self.variant} seed {self.seed}"

    def row(self, **values: Any) -> Row:
        """Return a row of a measurement of this trial."""
        return {"arm": self.variant, "seed": self.seed, **values}

    @property
    def tokens(self) -> int:
        """Tokens of all its steps, from which its time is estimated."""
        return sum(c.trainer.max_iters * c.trainer.batch_size * c.data.block_size for c in self.configs)


QUICK, STANDARD, FULL = FORMS = ("quick", "standard", "full")


class Sizes(NamedTuple, Generic[T]):
    """A size by the form of the experiment; standard None: as in the full form."""

    quick: T
    full: T
    standard: T | None = None


@dataclass(frozen=True)
class Lab:
    """What a measurement may use.

    Attributes:
        folder: the experiment's folder.
        trials: its finished trials.
        form: its form.
        kept: folder of what other experiments and checkouts use, too; None: `folder`.
    """

    folder: Path
    trials: Sequence[Trial]
    form: str
    kept: Path | None = None

    @property
    def tasks(self) -> Path:
        """The folder of what was found on tasks that measurements train models of their own on."""
        return (self.kept or self.folder) / "tasks"

    def pick(self, sizes: Sizes[T]) -> T:
        """Return the size of this form."""
        middle = sizes.full if sizes.standard is None else sizes.standard
        return {QUICK: sizes.quick, STANDARD: middle, FULL: sizes.full}[self.form]


def _variant(row: Row) -> str | None:
    return row.get("arm")


@dataclass(frozen=True)
class Measurement:
    """Numbers that are no run.

    Attributes:
        name: name of its rows in measurements.jsonl and of its figure.
        take: lab -> the rows.
        draw: (rows, matplotlib Figure, palette) -> draws them, from the rows alone; None: no picture.
        caption: caption of the picture: what is shown, and what lines, colours and shades mean.
        variant: row -> the name that has one look in all pictures of its experiment; None: none.
        table: rows -> the rows of its table, each with the same columns, named as people read them.
        of_runs: True if it uses the experiment's own runs, so that these are what a quick form makes smaller.
        of_model: True if it needs the trained model, so that it is taken at the end of each trial, of that one alone.
        first_seed: True if a measurement of a model is taken of each variant's first seed only.
        timed: True if it measures time or memory, so that it needs a machine that does nothing else.
        smaller: what else a quick form makes smaller of it, as text; empty: nothing.
        row: what `draw` and `table` use of a row, a TypedDict: what rows from elsewhere must hold.
        with_baselines: True if n-gram baselines are drawn across those of its axes that `draw` labels panels.LOSS: a
            validation loss in blocks as trained on.
    """

    name: str
    take: Callable[[Lab], list[Row]]
    draw: Draw | None = None
    table: Callable[[list[Row]], list[Row]] = list
    of_runs: bool = False
    of_model: bool = False
    first_seed: bool = False
    timed: bool = False
    smaller: str = ""
    row: Kind = dict
    with_baselines: bool = False
    caption: str = ""
    variant: Callable[[Row], str | None] = _variant


@dataclass(frozen=True, kw_only=True)
class Form:
    """What one form of an experiment has instead of the experiment's own; None: the same.

    Attributes:
        settings: settings that override those that all variants share.
        variants: the variants.
        seeds: trials per variant.
        learning_rates: learning rates to choose among; (): none, `settings` and variants have them.
        characters: number of characters of the text that are used, from its beginning; None: all.
        data: the text.
    """

    settings: Settings = field(default_factory=dict)
    variants: Mapping[str, Stages] | None = None
    seeds: int | None = None
    learning_rates: tuple[float, ...] | None = None
    characters: int | None = None
    data: str = DEFAULT_PATH


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A question and what would answer it.

    Attributes:
        name: name on the command line.
        question: the question, in one sentence.
        hypothesis: what is expected, written before anything ran.
        variants: stages of each variant, by its name.
        common: what differs from base_config.BASE in all variants; a variant takes the settings that its family of
            models has, so that different families can be compared.
        seeds: trials per variant.
        learning_rates: each variant that has a learning rate takes the best of these; None: what `common` says.
        quick: what differs in the form that takes minutes, to try that all works; never an answer.
        standard: what differs in the form whose results are published, for two CPU cores.
        margin: variants are equivalent where the interval of their difference lies inside +-margin, in nats.
        measurements: numbers in addition to the runs.
        figure: name of the measurement whose figure answers the question; None: that of the validation loss's
            differences from the first variant does.
    """

    name: str
    question: str
    hypothesis: str
    variants: Mapping[str, Stages] = field(default_factory=dict)
    common: Settings = field(default_factory=dict)
    seeds: int = 5
    learning_rates: tuple[float, ...] | None = None
    quick: Form = field(default_factory=lambda: Form(seeds=3, characters=1_000_000))
    standard: Form = field(default_factory=Form)
    margin: float = MARGIN
    measurements: tuple[Measurement, ...] = ()
    figure: str | None = None

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
        """Every variant's settings in full: BASE, common, the form's, as far as its family has them; then the variant's
        own, all of them, so that one that the family does not have is rejected."""
        shared = {**BASE, **self.common, **self.form(form).settings}
        found = self.variants_of(form)
        return {variant: [_in_full(shared, stage) for stage in stages] for variant, stages in found.items()}

    def variants_of(self, form: str) -> Mapping[str, Stages]:
        """Every variant's differences from what all share, a dictionary per stage."""
        own = self.form(form).variants
        return self.variants if own is None else own


def _in_full(shared: Settings, own: Settings) -> dict[str, Any]:
    family = {**shared, **own}["model.type"]
    known = Config(model=CONFIGS[family]()).flat()
    return {**{key: value for key, value in shared.items() if key in known or key not in DEFAULTS}, **own}


def settings_of(config: Config) -> dict[str, Any]:
    """Return the settings that make a variant."""
    none = (SEED, STARTS_FROM, *(EVALUATION[:1] if config.model.count_based else ()))  # its only step is the last
    return {key: value for key, value in config.flat().items() if key not in none and not changes_no_result(key)}


DEFAULTS = defaults()
EXPERIMENTS: Registry[Experiment] = Registry("experiment")


def register(experiment: Experiment) -> Experiment:
    """Register an experiment by its name, and return it."""
    return EXPERIMENTS.add(experiment.name)(experiment)
