"""`--group.key=value` into dataclasses: typed, checked, and refused in one sentence.

jsonargparse parses, merges files and flags, and prints help.  What this file adds is what a person reads when something
is wrong: the setting, its value, the rule, and the nearest right name.
"""

import argparse
import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace, set_parsing_settings

from mingpt.errors import UsageError
from mingpt.registry import did_you_mean

PARSER_FLAGS = ("config", "help", "print_config")
WORDS = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a text", types.NoneType: "null"}


class Flags:
    """The settings of one verb.

    Args:
        prog: how the verb is called, for help.
        about: one sentence, for help.
        groups: dataclasses of settings by the prefix of their keys; the prefix "" has none.
        hidden: keys that are no settings of this verb.
        choices: the names that a setting takes, for help.
    """

    def __init__(
        self,
        prog: str,
        about: str,
        groups: Mapping[str, type],
        hidden: Sequence[str] = (),
        choices: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.groups = dict(groups)
        self._types = {
            key: hint
            for prefix, group in groups.items()
            for key, hint in _keys(prefix, group).items()
            if key not in hidden
        }
        set_parsing_settings(docstring_parse_attribute_docstrings=False)
        self._parser = ArgumentParser(
            prog=prog, usage=f"{prog} [--KEY=VALUE ...]", description=about, allow_abbrev=False, exit_on_error=False
        )
        self._parser.add_argument("--config", action="config", help="a YAML file of settings; flags override it")
        for prefix, group in groups.items():
            skip = {field.name for field in fields(group) if _key(prefix, field.name) not in self._types}
            self._parser.add_class_arguments(group, prefix or None, skip=skip, instantiate=False)
        for action in self._parser._actions:
            if action.dest in groups:  # `--model=FILE` would be a second way to give a file
                action.help = argparse.SUPPRESS
            if choices and action.dest in choices:
                action.help = f"{action.help}; one of {', '.join(choices[action.dest])}"

    def parse(self, argv: Sequence[str]) -> dict[str, Any]:
        """One checked dataclass per group.

        Raises:
            UsageError: names setting, value and rule.
            SystemExit: with 0, after `--help` or `--print_config`.
        """
        given = self._normal(argv)
        files = [flag for flag in given if flag.startswith("--config=")]
        for flag in files:
            self._check_file(flag.partition("=")[2])
        try:
            parsed = self._parser.parse_args(files + [flag for flag in given if flag not in files])
        except ArgumentError as error:
            raise UsageError(self._sentence(str(error), given)) from None
        return {prefix: self._build(prefix, group, parsed) for prefix, group in self.groups.items()}

    def _build(self, prefix: str, group: type, parsed: Namespace) -> Any:
        names = [field.name for field in fields(group)]
        return group(**{name: parsed[_key(prefix, name)] for name in names if _key(prefix, name) in self._types})

    def _normal(self, argv: Sequence[str]) -> list[str]:
        """Every setting as one `--key=value`, in the spelling that the parser takes."""
        normal, rest = [], list(argv)
        while rest:
            flag = rest.pop(0)
            if flag == "-h":
                flag = "--help"
            if not flag.startswith("--"):
                raise UsageError(f"{flag!r}: settings are given as --{next(iter(self._types))}=VALUE")
            key, equals, value = flag[2:].partition("=")
            self._check_key(key, f"--{key}")
            if key in ("help", "print_config"):
                normal.append(flag)
                continue
            if not equals:
                if not rest or rest[0].startswith("--"):
                    raise UsageError(f"--{key}: needs a value, as --{key}=VALUE")
                value = rest.pop(0)
            normal.append(f"--{key}={self._spelled(key, value)}")
        return normal

    def _spelled(self, key: str, value: str) -> str:
        if value == "None" and type(None) in typing.get_args(self._types.get(key)):
            return "null"
        if typing.get_origin(self._types.get(key)) is tuple and not value.startswith("["):
            return f"[{value}]"
        return value

    def _check_key(self, key: str, shown: str) -> None:
        if key in self._types or key in PARSER_FLAGS:
            return
        leaves = {name.rpartition(".")[2]: name for name in self._types}  # most mistakes are in the group alone
        near = difflib.get_close_matches(key.rpartition(".")[2], leaves, n=1, cutoff=0.75)
        hint = f" (did you mean '{leaves[near[0]]}'?)" if near else did_you_mean(key, self._types)
        raise UsageError(f"{shown}: there is no such setting{hint}")

    def _check_file(self, path: str) -> None:
        try:
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise UsageError(f"--config={path}: can't be read: {reason}") from None
        except (yaml.YAMLError, RecursionError) as error:
            raise UsageError(f"--config={path}: not YAML: {' '.join(str(error).split())}") from None
        if not isinstance(content, dict):
            raise UsageError(f"--config={path}: must be a YAML mapping of settings")
        for key in _flat(content, {prefix for prefix in self.groups if prefix}):
            self._check_key(key, f"--config={path}: {key}")

    def _sentence(self, message: str, given: Sequence[str]) -> str:
        """The parser's paragraph as `key=value: rule`."""
        found = re.search(r'Parser key "([\w.]+)"', message)
        if not found or found[1] not in self._types:
            return " ".join(message.split())
        key, values = found[1], re.findall(r"(?:Got value|Given value): (.*)", message)
        from_flag = [flag.partition("=")[2] for flag in given if flag.startswith(f"--{key}=")]
        value = (from_flag or values or ["?"])[-1]
        return f"{key}={value}: must be {_words(self._types[key])}"


def _keys(prefix: str, group: type) -> dict[str, Any]:
    hints = typing.get_type_hints(group)
    return {_key(prefix, field.name): hints[field.name] for field in fields(group)}


def _key(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _flat(content: Mapping[Any, Any], prefixes: set[str]) -> list[str]:
    keys: list[str] = []
    for key, value in content.items():
        nested = key in prefixes and isinstance(value, dict)
        keys += [f"{key}.{inner}" for inner in value] if nested else [str(key)]
    return keys


def _words(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"{len(typing.get_args(hint))} numbers, as [0.9,0.95]"
    return " or ".join(WORDS.get(kind, str(kind)) for kind in (typing.get_args(hint) or (hint,)))
