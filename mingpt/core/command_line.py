"""Split a command line into settings and values, and read the YAML files of settings that it names."""

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mingpt.core.errors import UsageError, require
from mingpt.core.paths import path_of
from mingpt.core.registry import did_you_mean
from mingpt.core.safe_parsing import YAML_BYTES, parse_yaml, read_at_most

ALONE = ("help", "print_config")  # settings without a value
SWITCHED = ("True", "False", "true", "false")  # what follows a switch that is no name
FILES = ("preset", "config")
PARSER_FLAGS = (*FILES, "help", "print_config")


@dataclass(frozen=True)
class CommandLine:
    """The words of a command line, and the files of settings that it names, before any setting is known.

    Attributes:
        words: (setting, value) in order; of a setting without a value None, of a word without a setting "" and itself
        files: (`--preset` or `--config`, name, its settings by key), the presets first
    """

    words: tuple[tuple[str, str | None], ...]
    files: tuple[tuple[str, str, Mapping[str, Any]], ...]

    def given(self) -> dict[str, Any]:
        """Return what every setting was given: of files in their order, then of flags."""
        found: dict[str, Any] = {}
        for _, _, settings in self.files:
            found |= settings
        return found | {key: value for key, value in self.words if key not in PARSER_FLAGS}


def command_line(argv: Sequence[str], presets: Mapping[str, Path] = types.MappingProxyType({})) -> CommandLine:
    """Split `argv` into settings and values, and read the files that it names.

    Args:
        presets: files of settings that come with the program, by the names that `--preset` takes.

    Raises:
        UsageError: a file that can't be read, or an unknown preset.
    """
    words = tuple(tokens(argv))
    named = {kind: [value for key, value in words if key == kind and value is not None] for kind in FILES}
    files = [("preset", name, _settings(str(_preset(name, presets)), presets)) for name in named["preset"] if presets]
    files += [("config", path, _settings(path, presets)) for path in named["config"]]
    return CommandLine(words, tuple(files))


def _preset(name: str, presets: Mapping[str, Path]) -> Path:
    hint = did_you_mean(name, presets)
    require(name in presets, "preset", name, f"must be one of {', '.join(presets)}{hint}")
    return presets[name]


def _settings(path: str, presets: Mapping[str, Path]) -> dict[str, Any]:
    """Return the settings of a YAML file, by key."""
    try:
        content = parse_yaml(read_at_most(YAML_BYTES, path_of(path)))
    except OSError as error:
        name = path_of(path).stem
        hint = f"; `--preset={name}` comes with this program" if name in presets else ""
        raise UsageError(f"--config={path}: can't be read: {error.strerror}{hint}") from None
    except ValueError as reason:  # also a NUL in the path
        raise UsageError(f"--config={path}: {reason}") from None
    if not isinstance(content, dict):
        raise UsageError(f"--config={path}: must be a YAML mapping of settings")
    flat: dict[str, Any] = {}
    for key, value in content.items():
        nested = isinstance(value, dict) and value
        flat |= {f"{key}.{inner}": deep for inner, deep in value.items()} if nested else {str(key): value}
    return flat


def tokens(argv: Sequence[str], bare: Sequence[str] = ()) -> Iterator[tuple[str, str | None]]:
    """Yield (setting, value) for each `--setting=value` or `--setting value`, and ("", word) for any other word.

    The value is None where none follows, and of `--help` and `--print_config`.

    Args:
        bare: settings, as `--json`, that are switched on by their name alone, unless True or False follows.
    """
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        key, equals, value = word.removeprefix("--").partition("=")
        if word == "-h":
            yield "help", None
        elif not word.startswith("--") or not key:
            yield "", word
        elif equals:
            yield key, value
        elif word in bare:
            yield key, rest.pop(0) if rest and rest[0] in SWITCHED else "True"
        else:
            alone = key in ALONE or not rest or rest[0] == "-h" or rest[0].startswith("--")
            yield key, None if alone else rest.pop(0)


def required(key: str, value: str | None) -> str:
    """Return the value of a setting, "" of one that takes none.

    Raises:
        UsageError: it has none.
    """
    if value is None and key not in ALONE:
        raise UsageError(f"--{key}: needs a value, as --{key}=VALUE")
    return value or ""


def split_words(argv: Sequence[str], bare: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Names and settings of a line, each setting with its value: `a --out f b` is (a, b) and (--out=f).

    Args:
        bare: as for `tokens`.

    Raises:
        UsageError: an empty name.
    """
    names: list[str] = []
    flags: list[str] = []
    for key, value in tokens(argv, bare):
        word = (value or "") if not key else f"--{key}" if value is None else f"--{key}={value}"
        if not word.startswith("-"):
            require(word != "" and "\0" not in word, "folder", repr(word), "must name a folder")
        (flags if word.startswith("-") else names).append(word)
    return names, flags
