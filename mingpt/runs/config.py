"""The whole configuration of a training run, as data: checked before any text is read, saved whole with the run.

Each group lives in a module of its own that does not need PyTorch, so that a wrong setting is told of at once.  Values
come from the defaults, then from a `--preset`, then from `--config` files, then flags.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mingpt.core.config_cli import Flags, Implied, Placed, blaming, to_yaml
from mingpt.core.errors import UsageError, require
from mingpt.core.paths import absolute, path_of
from mingpt.core.system_config import DEVICES, SystemConfig
from mingpt.data import text_files
from mingpt.data.data_config import FILE_NAME, TOKENIZERS, DataConfig, SampleConfig
from mingpt.data.prepared_folder import is_prepared, settings_of
from mingpt.distributed.torchrun_env import STRATEGIES, DistConfig
from mingpt.models.attention import config as attention
from mingpt.models.model_config import INITS, MLPS, NORMS, RULES, ModelConfig
from mingpt.models.recurrent.config import CELLS, OBJECTIVES, READINGS, READOUTS
from mingpt.runs import text_origin
from mingpt.runs.wandb_log import WANDB_MODES, WandbConfig
from mingpt.training.trainer_config import COMPILE, OPTIMIZERS, SCHEDULES, TrainerConfig, refuse_carrying, refuse_unread

PRESETS = {path.stem: path for path in sorted((Path(__file__).parent / "presets").glob("*.yaml"))}
DERIVED = ("model.block_size", "model.vocab_size")  # a model's, but the text's and data.block_size's to say
OFFERED = (
    *(RULES, attention.SCORES, attention.MASKS, attention.POSITIONS, NORMS, MLPS, INITS),
    *(CELLS, READOUTS, READINGS, OBJECTIVES),
    *(OPTIMIZERS, SCHEDULES, TOKENIZERS, STRATEGIES),
)
FREE_ON_RESUME = {
    *("system.work_dir", "trainer.resume", "trainer.resume_changed"),
    "data.path",  # a text is what its sha256 says, wherever it lies
    "dist.strategy",
    *("trainer.eval_every", "trainer.eval_tokens", "trainer.sample_every", "trainer.save_every"),
    *(f"wandb.{field.name}" for field in dataclasses.fields(WandbConfig)),
    *(f"sample.{field.name}" for field in dataclasses.fields(SampleConfig)),
}


@dataclass(frozen=True, kw_only=True)
class ModelSettings(ModelConfig):
    """Settings of a model, and where its weights start.

    Attributes:
        pretrained_folder: a run folder whose newest weights to start from, with a fresh optimizer; null: none
    """

    pretrained_folder: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        RULES[self.type].check(self)
        require(self.pretrained_folder != "", "model.pretrained_folder", "''", "must name a run folder, or be null")
        if RULES[self.type].fits_by_counting:
            rule = "is not read by {}, which counts the text that it is given and no other"
            folder, by = self.pretrained_folder, ("model.type", self.type)
            require(folder is None, "model.pretrained_folder", folder, rule, by)


@dataclass(frozen=True, kw_only=True, repr=False)
class Config:
    """Every setting of a training run."""

    system: SystemConfig = field(default_factory=SystemConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelSettings = field(default_factory=ModelSettings)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    dist: DistConfig = field(default_factory=DistConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)

    def __post_init__(self) -> None:
        if self.data.stateful:
            refuse_carrying(self.model, self.trainer.compile)
        if RULES[self.model.type].fits_by_counting:
            refuse_unread(self.trainer, self.model.type)

    def flat(self) -> dict[str, Any]:
        """Every setting by its key, `{"system.seed": 3407, ...}`."""
        nested = dataclasses.asdict(self)
        pairs = ((f"{group}.{name}", value) for group, values in nested.items() for name, value in values.items())
        return {key: list(value) if isinstance(value, tuple) else value for key, value in pairs if key not in DERIVED}

    def of_model(self, model: ModelConfig) -> "Config":
        """These settings with the vocabulary and the block size of `model`, which a text and the group data decide."""
        return dataclasses.replace(
            self, model=dataclasses.replace(self.model, vocab_size=model.vocab_size, block_size=model.block_size)
        )

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{key}={value!r}' for key, value in self.not_default().items())})"

    def not_default(self) -> dict[str, Any]:
        """Those of `flat` that are not the defaults."""
        usual = Config().flat()
        return {key: value for key, value in self.flat().items() if value != usual[key]}

    def to_yaml(self) -> str:
        """What `--config` takes back."""
        return to_yaml(self.flat())

    def changes_from(self, other: "Config") -> dict[str, tuple[Any, Any]]:
        """Settings that are not as in `other` and may not change while a run goes on: key -> (there, here)."""
        theirs, free = other.flat(), FREE_ON_RESUME
        if self.trainer.schedule == other.trainer.schedule == "constant":
            free = free | {"trainer.max_iters"}
        return {k: (theirs[k], value) for k, value in self.flat().items() if value != theirs[k] and k not in free}


def choices() -> dict[str, Sequence[str]]:
    """The names that a setting takes, of each that takes names."""
    return {
        **{offered.setting: list(offered) for offered in OFFERED},
        attention.KERNELS.setting: (attention.AUTO, *attention.KERNELS),
        "trainer.device": DEVICES,
        "trainer.compile": COMPILE,
        "wandb.mode": WANDB_MODES,
    }


def resolved(config: Config) -> Config:
    """The same with every path absolute: relative ones are held against the current folder, `~` is the home.

    Raises:
        UsageError: the current folder was removed.
    """
    data, start, place = config.data, config.model.pretrained_folder, config.system.work_dir
    tokenizer = absolute(data.tokenizer) if data.tokenizer.endswith(FILE_NAME) else data.tokenizer
    return dataclasses.replace(
        config,
        system=dataclasses.replace(config.system, work_dir=place and absolute(place)),
        data=dataclasses.replace(data, path=text_files.absolute(data.path), tokenizer=tokenizer),
        model=dataclasses.replace(config.model, pretrained_folder=start and absolute(start)),
    )


@functools.cache
def flags() -> Flags:
    """Return what `chargpt train` understands, made once: that takes as long as checking a command line does."""
    groups = {group.name: group.default_factory for group in dataclasses.fields(Config)}
    return Flags(
        "chargpt train",
        "Train a language model on a text, by characters or other tokens. Every setting has a default that works.",
        groups,  # type: ignore[arg-type]
        hidden=DERIVED,
        choices=choices(),
        presets=PRESETS,
    )


def parse(argv: Sequence[str], *, same_text: bool = True) -> Config:
    """The configuration that `argv` asks for.

    Args:
        same_text: of a run's config.yaml, check that its text has not changed since.

    Raises:
        UsageError: names setting, value and rule.
        DataError: data.path names a prepared folder that is damaged, or a run's text that is gone or has changed.
    """
    return _parsed(argv, _of_prepared, text_origin.placed if same_text else text_origin.placed_unchecked)


def _parsed(argv: Sequence[str], implied: Implied, placed: Placed) -> Config:
    try:
        return Config(**flags().parse(argv, implied, placed))
    except UsageError as error:
        raise blaming(error, argv) from None


def _of_prepared(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a folder that `chargpt prepare` made decides, where data.path names one."""
    path = given.get("data.path")
    if not isinstance(path, str) or not is_prepared(path):
        return {}
    decided = {f"data.{name}": value for name, value in settings_of(path_of(path)).items()}
    fits = given.get("data.tokenizer") in (None, decided["data.tokenizer"])
    return decided if fits else {}  # which is refused where the folder is read


def read(path: Path) -> Config:
    """The configuration that `Config.to_yaml` wrote, which says all of it: its text may be damaged, or gone.

    Raises:
        UsageError: unreadable, or settings that this version doesn't have.
    """
    return _parsed([f"--config={path}"], implied=lambda given: {}, placed=text_origin.as_of_its_run)
