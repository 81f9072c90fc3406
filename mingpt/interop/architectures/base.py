"""What an architecture of transformers is to us: tables between our settings and its config.json.

A class of theirs can be used where none of its rules is broken; its config.json is read by the same tables, and what
they don't know is rejected, since it may change what the weights compute.
"""

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from mingpt.core.errors import CheckpointError, UsageError
from mingpt.core.registry import Registry
from mingpt.interop.architectures.inert import REMEDIES, SAME, is_inert
from mingpt.interop.weights import Places
from mingpt.models.base import LanguageModel
from mingpt.models.config import NOT_OF_THE_FUNCTION, GPTConfig

Settings = dict[str, Any]
REQUIRED = object()  # of a key that a config.json must have
LARGEST = 2**31  # no size of a model is larger
WORDS = {"conv_width": "1 (no convolution)"}  # where a class of theirs has a value of ours that says nothing by itself
ELSEWHERE = {*NOT_OF_THE_FUNCTION, "bias", "rope", "rope_base", "rope_scaling", "window", "window_pattern"}  # `entries`
HINTS = typing.get_type_hints(GPTConfig)


class Rule(NamedTuple):
    """What a class of theirs demands of one of our settings.

    Attributes:
        setting: its name after `model.`.
        holds: predicate of all settings, spelled out.
        has: what the class has, in words.
    """

    setting: str
    holds: Callable[[Settings], bool]
    has: str


class Key(NamedTuple):
    """What one of our settings is called in a config.json.

    Attributes:
        name: there.
        absent: its value there where it is not said.
        words: our values, each with what it may be called there; the first is written.  Empty: they are called alike.
    """

    name: str
    absent: Any = REQUIRED
    words: Mapping[Any, tuple[Any, ...]] = {}

    def written(self, value: Any) -> Any:
        return self.words[value][0] if self.words else value

    def read(self, reader: "ConfigReader") -> Any:
        value = reader.take(self.name, self.absent)
        if not self.words:
            return value
        for ours, theirs in self.words.items():
            if value in theirs:
                return ours
        raise reader.rejected(self.name, value, [word for theirs in self.words.values() for word in theirs])


class ConfigReader:
    """A config.json as it is read: what was not taken from it in the end is unknown."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._left = {key: value for key, value in config.items() if not is_inert(key)}

    def take(self, name: str, absent: Any = REQUIRED) -> Any:
        """The value of `name`, or what it means that there is none.

        Raises:
            CheckpointError: it must be there.
        """
        if name not in self._left and absent is REQUIRED:
            raise CheckpointError(f"config.json: says nothing of {name}")
        return self._left.pop(name, absent)

    def rejected(self, name: str, value: Any, allowed: list[Any]) -> CheckpointError:
        listed = " or ".join(map(str, allowed))
        why = REMEDIES.get(name, "can't be expressed here")
        return CheckpointError(f"config.json: {name}={str(value)[:80]}: {why}; must be {listed}")

    def allow(self, name: str, *allowed: Any) -> None:
        """Take `name`, which must be one of these where it is there.

        Raises:
            CheckpointError: it is something else.
        """
        value = self.take(name, allowed[0])
        if value not in allowed:
            raise self.rejected(name, value, list(allowed))

    def require(self, name: str, value: Any) -> None:
        """Take `name`, which must be there and be `value`.

        Raises:
            CheckpointError: it isn't.
        """
        found = self.take(name)
        if found != value:
            raise self.rejected(name, found, [value])

    def finish(self) -> None:
        """Reject keys that were not taken.

        Raises:
            CheckpointError: names them.
        """
        if self._left:
            listed = ", ".join(str(key)[:40] for key in list(self._left)[:5])
            raise CheckpointError(
                f"config.json: {listed}: unknown here, and it may change what the weights compute; remove it if not"
            )


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One class of transformers.

    Attributes:
        class_name: its name.
        ours: our settings that are the same in all its models; a setting that no table names must have its default.
        keys: our other settings, as config.json has them.
        fixed: what else it may say, each with the values that are ours; the first is written.
        rules: what it demands besides `ours` and the words of `keys`.
        places: where our layers lie in it.
        entries: what else config.json says of our settings.
        restored: those settings again, from what config.json says.
        added: tensors of zeros, by our names, that it has and a model with these settings has not: their shapes.
        inert: keys of its config.json that don't change what the weights compute, besides those of all (see `inert`).
        same: keys of its config.json, each with the values that ask for what it computes anyway, as `inert.SAME` does.
        buffers: endings of tensors that some files have, of any type, and that follow from the settings: their shapes.
        base: what the names of tensors begin with, but not in files of its model without a head.
        exports: whether runs are exported as this class, or it is imported only.
    """

    class_name: str
    ours: Settings
    keys: Mapping[str, Key]
    fixed: Mapping[str, tuple[Any, ...]]
    rules: tuple[Rule, ...]
    places: Places
    entries: Callable[[Settings], dict[str, Any]] = lambda settings: {}
    restored: Callable[[ConfigReader, Settings], Settings] = lambda reader, settings: {}
    added: Callable[[Settings], dict[str, tuple[int, ...]]] = lambda settings: {}
    inert: tuple[str, ...] = ()
    same: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    buffers: Mapping[str, Callable[[GPTConfig], tuple[int, ...]]] = field(default_factory=dict)
    base: str = "model."
    exports: bool = True

    def broken(self, settings: Settings) -> list[Rule]:
        """The rules that a model with these settings breaks."""
        same = [Rule(name, _equals(name, value), WORDS.get(name, str(value))) for name, value in self.ours.items()]
        named = ((name, key.words) for name, key in self.keys.items() if key.words)
        words = [Rule(name, _is_among(name, words), " or ".join(words)) for name, words in named]
        named_here = {*self.ours, *self.keys, *(rule.setting for rule in self.rules), *ELSEWHERE}
        others = {each.name: each.default for each in fields(GPTConfig) if each.name not in named_here}
        usual = [Rule(name, _equals(name, value), WORDS.get(name, str(value))) for name, value in others.items()]
        return [rule for rule in (*same, *words, *self.rules, *usual) if not rule.holds(settings)]

    def config(self, settings: Settings, model_type: str) -> dict[str, Any]:
        """The config.json of a model with these settings, spelled out."""
        return {
            "architectures": [self.class_name],
            "model_type": model_type,
            **{key.name: key.written(settings[name]) for name, key in self.keys.items()},
            **{name: allowed[0] for name, allowed in self.fixed.items()},
            **self.entries(settings),
        }

    def settings(self, config: Mapping[str, Any], most_layers: int) -> GPTConfig:
        """The settings that a config.json asks for.

        Raises:
            CheckpointError: it lacks something, or has what can't be expressed; says what.
        """
        reader = ConfigReader({key: value for key, value in config.items() if key not in self.inert})
        values = {**self.ours, **{name: key.read(reader) for name, key in self.keys.items()}}
        for name, allowed in {**SAME, **self.same, **self.fixed}.items():
            reader.allow(name, *allowed)
        _check_types(values, self.keys)
        if values["n_layer"] > most_layers:
            raise CheckpointError(f"config.json: {values['n_layer']} layers, but there are {most_layers} tensors")
        values |= self.restored(reader, values)
        _check_types(values, self.keys)
        reader.finish()
        if values["position"] in ("rope", "learned"):  # by the switch that people know
            values["rope"] = values.pop("position") == "rope"
        try:
            return GPTConfig(**values)
        except UsageError as broken:
            raise CheckpointError(f"config.json: {broken}") from None


ARCHITECTURES: Registry[Architecture] = Registry("model_type")


def spelled(model: LanguageModel) -> Settings:
    """Every setting of a GPT with what others imply spelled out; `windows` has each layer's.

    Raises:
        UsageError: another family.
    """
    config = model.config
    if not isinstance(config, GPTConfig):
        raise UsageError(f"model.type={config.type}: no class of transformers computes it, only gpt")
    return {
        **config.spelled_out(),
        "head_dim": config.head_width,
        "qkv_bias": config.has_qkv_bias,
        "position": config.positional_encoding,
        "mlp_width": model.blocks[0].mlp.up.out_features,  # type: ignore[index, union-attr]
        "norm_eps": model.final_norm.eps,  # type: ignore[union-attr]
        "windows": [config.of_layer(number).window for number in range(config.n_layer)],
    }


def architecture_of(settings: Settings) -> str:
    """The name of the first architecture that computes what a model with these settings does.

    Raises:
        UsageError: there is none; says what the nearest has instead.
    """
    broken = {name: ARCHITECTURES[name].broken(settings) for name in ARCHITECTURES if ARCHITECTURES[name].exports}
    fewest = min(map(len, broken.values()))
    nearest = [name for name in broken if len(broken[name]) == fewest]
    if fewest:
        first = broken[nearest[0]][0].setting
        has = "; ".join(
            f"{ARCHITECTURES[name].class_name} has {rule.has} for model.{rule.setting}"
            for name in nearest
            for rule in broken[name]
        )
        raise UsageError(
            f"model.{first}={settings[first]}: no class of transformers has all of this model: {has}; "
            "to export, train a run with what one class has (this one still samples, evaluates and goes on here)"
        )
    return nearest[0]


def _equals(name: str, value: Any) -> Callable[[Settings], bool]:
    return lambda settings: bool(settings[name] == value)


def _is_among(name: str, values: Mapping[Any, Any]) -> Callable[[Settings], bool]:
    return lambda settings: settings[name] in values


def _check_types(values: Settings, keys: Mapping[str, Key]) -> None:
    for name, value in values.items():
        hint = HINTS[name]
        kinds = typing.get_args(hint) or (hint,)
        number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
        fits = (
            (type(None) in kinds and value is None)
            or (bool in kinds and isinstance(value, bool))
            or (str in kinds and isinstance(value, str))
            or (int in kinds and number and isinstance(value, int))
            or (float in kinds and number)
        )
        if not fits:
            called = keys[name].name if name in keys else name
            raise CheckpointError(f"config.json: {called}={str(value)[:80]}: is no such setting's value")
