"""`--group.key=value` into dataclasses: typed, checked, and rejected in one sentence.

jsonargparse checks types and prints help.  What this file adds is the order, files below flags, and what a person
reads when something is wrong: the setting, its value, the rule, and the nearest right name.
"""

import argparse
import itertools
import os
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, set_parsing_settings

from mingpt.core import flag_values
from mingpt.core.command_line import PARSER_FLAGS, CommandLine, command_line, required
from mingpt.core.errors import UsageError
from mingpt.core.paths import path_of
from mingpt.core.setting_names import ELSEWHERE, did_you_mean_setting
from mingpt.core.shell import quoted
from mingpt.core.variants import choices, closed_choices

Options = typing.TypeVar("Options")
Implied = Callable[[Mapping[str, Any]], Mapping[str, Any]]
Placed = Callable[[Mapping[str, Any], Mapping[str, Path]], Mapping[str, Any]]


class Flags:
    """The settings of one command.

    Args:
        prog: how the command is called, for help.
        about: one sentence, for help.
        groups: dataclasses of settings by the prefix of their keys; the prefix "" has none.
        hidden: keys that are no settings of this command.
        presets: files of settings that come with the program, by the names that `--preset` takes.
        foreign: defaults of settings that would be known with another choice, which files may have.
        why_foreign: returns why a `foreign` setting is none here.
    """

    def __init__(
        self,
        prog: str,
        about: str,
        groups: Mapping[str, type],
        hidden: Sequence[str] = (),
        presets: Mapping[str, Path] = types.MappingProxyType({}),
        foreign: Mapping[str, Any] = types.MappingProxyType({}),
        why_foreign: Callable[[str], str] = str,
    ) -> None:
        self.groups, self._presets = dict(groups), presets
        self._foreign, self._why_foreign = foreign, why_foreign
        self._types: dict[str, Any] = {}
        for prefix, group in groups.items():
            hints = {_key(prefix, name): hint for name, hint in typing.get_type_hints(group).items()}
            names = [_key(prefix, field.name) for field in fields(group)]
            self._types |= {name: hints[name] for name in names if name not in hidden}
        self._parser = self._made(prog, about)

    def _made(self, prog: str, about: str) -> ArgumentParser:
        set_parsing_settings(docstring_parse_attribute_docstrings=False)
        parser = ArgumentParser(
            prog=prog, usage=f"{prog} [--KEY=VALUE ...]", description=about, allow_abbrev=False, exit_on_error=False
        )
        parser.add_argument("--config", metavar="FILE", help="a YAML file of settings; flags override it")
        if self._presets:
            there = ", ".join(self._presets)
            named = f"settings that come with this program, below those of files and flags; one of {there}"
            parser.add_argument("--preset", metavar="NAME", help=named)
        parser.add_argument("--print_config", action="store_true", help="print all settings as YAML and exit")
        names: dict[str, list[str]] = {}
        for prefix, group in self.groups.items():
            names |= {_key(prefix, name): taken for name, taken in choices(group).items()}
            skip = {field.name for field in fields(group) if _key(prefix, field.name) not in self._types}
            parser.add_class_arguments(group, prefix or None, skip=skip, instantiate=False)
        for action in parser._actions:
            if action.dest in self.groups:  # `--model=FILE` would be a second way to give a file
                action.help = argparse.SUPPRESS
            if action.dest in names:
                action.help = f"{action.help}; one of {', '.join(names[action.dest])}"
        return parser

    def parse(
        self,
        argv: Sequence[str] | CommandLine,
        implied: Implied = lambda given: {},
        placed: Placed = lambda given, file_of: given,
    ) -> dict[str, Any]:
        """Return one checked dataclass per group.

        Args:
            implied: values that the given settings imply for others, in place of their defaults.
            placed: (given settings, file of each that stands in a file) -> the settings, with paths made absolute.

        Raises:
            UsageError: names setting, value and rule.
            SystemExit: with 0, after `--help` or `--print_config`.
        """
        line = argv if isinstance(argv, CommandLine) else command_line(argv, self._presets)
        words = self._words(line)
        if "help" in words:
            self._parser.print_help()
            raise SystemExit(0)
        given: dict[str, Any] = {}
        file_of: dict[str, Path] = {}
        for kind, name, content in line.files:
            settings = self._file(name, content)
            if kind == "config":
                self._typed(settings)  # also what a flag overrides: a wrong file is wrong
                file_of |= dict.fromkeys(settings, path_of(name))
            given |= settings
        typed = {key: value for key, value in words.items() if key in self._types}
        given |= {key: flag_values.unquoted(value, self._types[key]) for key, value in typed.items()}
        given = dict(placed(given, {key: file for key, file in file_of.items() if key not in words}))
        values = self._typed({**implied(given), **given})
        built = {
            prefix: group(**{name: values[key] for name, key in self._names(prefix).items() if key in values})
            for prefix, group in self.groups.items()
        }
        if "print_config" in words:
            print(to_yaml(values), end="")
            raise SystemExit(0)
        return built

    def described(self) -> list[dict[str, Any]]:
        """Return what a form shows of each setting: name, group, type, choices, nullable, default, help."""
        groups = self.groups.items()
        names = {_key(prefix, key): taken for prefix, group in groups for key, taken in choices(group).items()}
        closed = {_key(prefix, key) for prefix, group in groups for key in closed_choices(group)}
        return [
            {
                "name": action.dest,
                "group": action.dest.rpartition(".")[0],
                "type": "choice" if action.dest in closed else flag_values.kind_of(self._types[action.dest]),
                "choices": names.get(action.dest),
                "nullable": flag_values.may_be_null(self._types[action.dest]),
                "default": _plain(action.default),
                "help": " ".join(str(action.help).split()),
            }
            for action in self._parser._actions
            if action.dest in self._types
        ]

    def _words(self, line: CommandLine) -> dict[str, str]:
        """Return the last value of each setting that is given as a flag, every key checked."""
        words: dict[str, str] = {}
        for key, value in line.words:
            if not key:
                raise UsageError(f"{value!r}: settings are given as --{self._example(value or '')}")
            self._check(key, f"--{key}", also=PARSER_FLAGS if self._presets else {*PARSER_FLAGS} - {"preset"})
            words[key] = required(key, value)
        return words

    def _file(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of a file, without foreign ones that have their defaults."""
        for key, value in content.items():
            if key in self.groups and value == {}:
                continue
            if key not in self._foreign or _plain(value) != _plain(self._foreign[key]):
                self._check(key, f"--config={path}: {key}")
        return {key: value for key, value in content.items() if key in self._types}

    def _example(self, word: str) -> str:
        """Return the setting that `word`, given without a name, most likely belongs to, as KEY=VALUE."""
        there = not word.startswith("-") and os.path.exists(word)
        likely = ("run", "data.path") if os.path.isdir(word) else ("prompt", "text", *(["data.path"] if there else []))
        key = next((key for key in likely if key in self._types and not word.startswith("-")), None)
        return f"{key}={quoted(word)}" if key else f"{next(iter(self._types))}=VALUE"

    def _check(self, key: str, shown: str, also: Collection[str] = ()) -> None:
        """Check that a key is a setting.

        Raises:
            UsageError: it is none; names the nearest that is.
        """
        if key in self._types or key in also:
            return
        if key in self._foreign:
            raise UsageError(f"{shown}: {self._why_foreign(key)}")
        group, _, name = key.rpartition(".")
        meant = f"{group}.{ELSEWHERE.get(name)}"
        if meant in self._foreign:
            raise UsageError(f"{shown}: there is no such setting; {meant} is {self._why_foreign(meant)}")
        command = " ".join(itertools.takewhile(str.islower, self._parser.prog.split()))  # without RUN, [FOLDER ...]
        hint = did_you_mean_setting(key, self._types) or f"; `{command} --help` lists all"
        raise UsageError(f"{shown}: there is no such setting{hint}")

    def _typed(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every setting, checked against its type.  Texts are taken as they stand; the parser checks the rest."""
        texts = {k: self._text(k, value) for k, value in given.items() if flag_values.is_text(self._types[k])}
        others = {k: flag_values.spelled(value, self._types[k]) for k, value in given.items() if k not in texts}
        try:
            parsed = self._parser.parse_args([f"--{key}={value}" for key, value in others.items()])
        except ArgumentError as error:
            found = re.search(r'Parser key "([\w.]+)"', str(error))
            if not found or found[1] not in others:
                raise UsageError(" ".join(str(error).split())) from None
            raise self._wrong(found[1], given[found[1]]) from None
        return {key: texts[key] if key in texts else parsed[key] for key in self._types}

    def _text(self, key: str, value: Any) -> str | tuple[str, ...] | None:
        try:
            return flag_values.text_of(value, self._types[key])
        except ValueError:
            raise self._wrong(key, value) from None

    def _wrong(self, key: str, value: Any) -> UsageError:
        return UsageError(f"{key}={'null' if value is None else value}: {flag_values.rule(self._types[key])}")

    def _names(self, prefix: str) -> dict[str, str]:
        return {field.name: _key(prefix, field.name) for field in fields(self.groups[prefix])}


def options_of(prog: str, about: str, kind: type[Options], argv: Sequence[str]) -> Options:
    """Return the settings of a command that has one group of them, whose keys have no prefix.

    Raises:
        UsageError, SystemExit: as `Flags.parse`.
    """
    options: Options = Flags(prog, about, {"": kind}).parse(argv)[""]
    return options


def blaming(error: UsageError, argv: Sequence[str]) -> UsageError:
    """`error`, beginning with a setting that stands in `argv` where it began with another that doesn't.

    A rule of two settings names the one that it belongs to first, which may be a default.
    """
    typed = {word[2:].partition("=")[0] for word in argv if word.startswith("--")}
    blamed = next((f"{key}={value}" for key, value in error.others if key in typed), None)
    if blamed is None or error.field in typed:
        return error
    return UsageError(f"{blamed}: {error.field}={error.value} {error.rule}")


def to_yaml(values: Mapping[str, Any]) -> str:
    """Settings by their keys as the YAML that `--config` takes back."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        group, dot, name = key.partition(".")
        if dot:
            nested.setdefault(group, {})[name] = _plain(value)
        else:
            nested[key] = _plain(value)
    return yaml.safe_dump(nested, sort_keys=False)


def _plain(value: Any) -> Any:
    """Return a value as YAML has it."""
    return list(value) if isinstance(value, tuple) else value


def _key(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
