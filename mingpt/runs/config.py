"""The configuration of a training run, as data: checked before any text is read, saved with the run.

Each group lives in a module of its own that does not need PyTorch, so that a wrong setting is reported at once.  Values
come from the defaults, then from a `--preset`, then from `--config` files, then flags.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mingpt.core.command_line import CommandLine, command_line
from mingpt.core.config_cli import Flags, Implied, Placed, blaming, to_yaml
from mingpt.core.errors import MingptError, UsageError, require
from mingpt.core.paths import absolute, path_of
from mingpt.core.run_files.records import newest_run
from mingpt.core.safe_parsing import YAML_BYTES, parse_yaml, read_at_most
from mingpt.core.setting_roles import EVALUATION, changes_no_result
from mingpt.core.system_config import SystemConfig
from mingpt.core.torchrun_env import DistConfig
from mingpt.data import text_files
from mingpt.data.data_config import FILE_NAME, DataConfig, SampleConfig
from mingpt.data.downloads import published_split
from mingpt.data.prepared_folder import is_prepared, settings_of
from mingpt.models.config import CONFIGS, ModelConfig, NeuralConfig, no_setting_of
from mingpt.runs import text_origin
from mingpt.runs.wandb_log import WandbConfig
from mingpt.training.trainer_config import AnyTrainerConfig, check_tbptt, trainer_class

PRESETS = {path.stem: path for path in sorted((Path(__file__).parent / "presets").glob("*.yaml"))}
DERIVED = ("model.block_size", "model.vocab_size")  # a model's, but they follow from data.block_size and the text
EARLIER_VALUES = {("model.kernel", "wide"): "chunked_sdpa"}  # of settings in older config files: their names now
# In addition to what changes no result; a text is known by its sha256, wherever it lies.
FREE_ON_RESUME = {"data.path", "dist.strategy", *EVALUATION}


@dataclass(frozen=True, kw_only=True, repr=False)
class Config:
    """Every setting of a training run."""

    system: SystemConfig = field(default_factory=SystemConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    trainer: AnyTrainerConfig = field(default=None)  # type: ignore[assignment]  # the defaults of the model's family
    sample: SampleConfig = field(default_factory=SampleConfig)
    dist: DistConfig = field(default_factory=DistConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)

    def __post_init__(self) -> None:
        kind = trainer_class(self.model.type)
        if not self.trainer:
            object.__setattr__(self, "trainer", kind())
        own, needed = type(self.trainer).__name__, f"must be {kind.__name__} with {{}}"
        require(isinstance(self.trainer, kind), "trainer", own, needed, ("model.type", self.model.type))
        if self.data.stateful:
            check_tbptt(self.model, self.trainer.compile)

    @property
    def pretrained_folder(self) -> str | None:
        """The run folder whose weights to start from; None without one, as in families that have no such setting."""
        return getattr(self.model, "pretrained_folder", None)

    def flat(self) -> dict[str, Any]:
        """Return every setting of this family by its key, `{"system.seed": 3407, ...}`."""
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

    def usual(self) -> dict[str, Any]:
        """Return the defaults of the settings that this family has, by key."""
        return {**Config(model=type(self.model)()).flat(), "model.type": Config().model.type}

    def not_default(self) -> dict[str, Any]:
        """Return those of `flat` that are not the defaults."""
        usual = self.usual()
        return {key: value for key, value in self.flat().items() if value != usual[key]}

    def to_yaml(self) -> str:
        """What `--config` takes back."""
        return to_yaml(self.flat())

    def changes_from(self, other: "Config") -> dict[str, tuple[Any, Any]]:
        """Return settings that differ from `other` and may not change when a run resumes: key -> (there, here)."""
        theirs, free = other.flat(), FREE_ON_RESUME
        if self.flat().get("trainer.schedule") == theirs.get("trainer.schedule") == "constant":
            free = free | {"trainer.max_iters"}
        differing = {key: (theirs.get(key), value) for key, value in self.flat().items() if theirs.get(key) != value}
        return {key: values for key, values in differing.items() if key not in free and not changes_no_result(key)}


@functools.cache
def defaults() -> dict[str, Any]:
    """Return the default of every setting of any family, by its key."""
    usual = Config()
    families = [Config(model=CONFIGS[name]()) for name in CONFIGS if name != usual.model.type]
    found: dict[str, Any] = {}
    for config in (*families, usual):
        found |= config.flat()
    return found


def resolved(config: Config) -> Config:
    """The same with every path absolute: relative ones are held against the current folder, `~` is the home.

    Raises:
        UsageError: the current folder was removed.
    """
    data, model, place = config.data, config.model, config.system.work_dir
    if isinstance(model, NeuralConfig) and model.pretrained_folder:
        model = dataclasses.replace(model, pretrained_folder=absolute(model.pretrained_folder))
    tokenizer = absolute(data.tokenizer) if data.tokenizer.endswith(FILE_NAME) else data.tokenizer
    return dataclasses.replace(
        config,
        system=dataclasses.replace(config.system, work_dir=place and absolute(place)),
        data=dataclasses.replace(data, path=text_files.absolute(data.path), tokenizer=tokenizer),
        model=model,
    )


@functools.cache
def flags(family: str) -> Flags:
    """Return what `chargpt train` understands with model.type=`family`, made once: it takes 0.1 s."""
    groups = {group.name: group.default_factory for group in dataclasses.fields(Config)}
    groups |= {"model": CONFIGS[family], "trainer": trainer_class(family)}
    others = ", ".join(f"--model.type={name}" for name in CONFIGS if name != family)
    own = Config(model=CONFIGS[family]()).flat()

    def why_foreign(key: str) -> str:
        having = [name for name in CONFIGS if key in Config(model=CONFIGS[name]()).flat()]
        return no_setting_of(family, having)

    return Flags(
        "chargpt train",
        "Train a language model on a text, by characters or other tokens. Every setting has a default that works. "
        f"Shown are the settings of model.type={family}; `chargpt train {others.partition(', ')[0]} --help` shows "
        f"another family's, of {', '.join(CONFIGS)}.",
        groups,  # type: ignore[arg-type]
        hidden=DERIVED,
        presets=PRESETS,
        foreign={key: value for key, value in defaults().items() if key not in own},
        why_foreign=why_foreign,
    )


def parse(argv: Sequence[str], *, same_text: bool = True) -> Config:
    """The configuration that `argv` asks for.

    Args:
        same_text: if the file is a run's config.yaml, check that its text has not changed since.

    Raises:
        UsageError: names setting, value and rule.
        DataError: data.path names a prepared folder that is damaged, or a run's text that is gone or has changed.
    """
    return _parsed(argv, _of_prepared, text_origin.placed if same_text else text_origin.placed_unchecked)


def _parsed(argv: Sequence[str], implied: Implied, placed: Placed) -> Config:
    def all_implied(given: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**published_split(given), **implied(given)}

    try:
        line = _with_new_values(command_line(argv, PRESETS))
        given = line.given()
        family = given.get("model.type") or _family_resumed(given) or Config().model.type
        return Config(**flags(str(family)).parse(line, all_implied, placed))
    except UsageError as error:
        raise blaming(error, argv) from None


def _with_new_values(line: CommandLine) -> CommandLine:
    """Return `line` with values of its files that were renamed since."""
    files = tuple(
        (kind, name, {key: EARLIER_VALUES.get((key, str(value)), value) for key, value in settings.items()})
        for kind, name, settings in line.files
    )
    return dataclasses.replace(line, files=files)


def _family_resumed(given: Mapping[str, Any]) -> str | None:
    """Return the model.type of the run that is resumed; None: no run is, or its settings can't be read."""
    if str(given.get("trainer.resume")).lower() not in ("true", "yes"):
        return None
    try:
        folder = Path(absolute(given.get("system.work_dir") or newest_run()))
        content = parse_yaml(read_at_most(YAML_BYTES, folder / "config.yaml"))
        family = content["model"]["type"]
    except (MingptError, OSError, ValueError, LookupError, TypeError):
        return None  # which the run itself reports
    return family if family in CONFIGS else None


def _of_prepared(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a folder that `chargpt prepare` made decides, where data.path names one."""
    path = given.get("data.path")
    if not isinstance(path, str) or not is_prepared(path):
        return {}
    decided = {f"data.{name}": value for name, value in settings_of(path_of(path)).items()}
    fits = given.get("data.tokenizer") in (None, decided["data.tokenizer"])
    return decided if fits else {}  # which is rejected where the folder is read


def read(path: Path) -> Config:
    """The configuration that `Config.to_yaml` wrote, which has every setting; its text may be damaged, or gone.

    Raises:
        UsageError: unreadable, or settings that this version doesn't have.
    """
    return _parsed([f"--config={path}"], implied=lambda given: {}, placed=text_origin.as_of_its_run)
