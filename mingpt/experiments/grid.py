"""A grid of anything: `--model.window=16,64 --model.rope=True,False` as four arms, all checked before one runs.

A comma parts values.  A setting that is itself a list, as trainer.betas, is one value, 0.9,0.95; several lists stand
in brackets, [0.9,0.95],[0.8,0.99].
"""

import itertools
import typing
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from mingpt import settings
from mingpt.errors import UsageError
from mingpt.experiments.base import Experiment
from mingpt.settings import Config

OURS = {  # settings of a run that a sweep has for itself
    "system.seed": "every arm takes the same seeds; --seeds=N says how many",
    "system.work_dir": "each run has a folder of its own; --folder=DIR names the sweep's",
    "trainer.resume": "the same sweep with --folder=DIR goes on",
    "trainer.resume_changed": "the same sweep with --folder=DIR goes on",
}


def swept(words: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """(what varies: key -> its values as typed, the words that every arm shares).

    Raises:
        UsageError: an empty value, one that is given twice, a setting that is the sweep's own, or nothing varies.
    """
    values: dict[str, list[str]] = {}
    shared: list[str] = []
    for key, value in _pairs(words):
        if key in OURS:
            raise UsageError(f"--{key}={value}: is no setting of a sweep: {OURS[key]}")
        parts = [value] if key == "config" else split(value, whole=_is_list(key))
        if len(parts) == 1:
            values.pop(key, None)  # of a setting given twice the last counts, as when training
            shared.append(f"--{key}={value}")
            continue
        if "" in parts:
            raise UsageError(f"--{key}={value}: has an empty value between its commas")
        twice = next((part for part in parts if parts.count(part) > 1), None)
        if twice is not None:
            raise UsageError(f"--{key}={value}: has {twice} twice")
        values[key] = parts
    if not values:
        raise UsageError("nothing to compare: give at least one setting several values, as --model.rope=True,False")
    return values, shared


def split(value: str, *, whole: bool) -> list[str]:
    """At the commas outside brackets; `whole`: a list without brackets is one value."""
    if whole and not value.startswith("["):
        return [value]
    parts, depth = [""], 0
    for letter in value:
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def experiment_of(words: Sequence[str]) -> Experiment:
    """The sweep that the words ask for, every combination checked.

    Raises:
        UsageError: as `swept`; or names field, value, rule and combination.
    """
    values, shared = swept(words)
    arms: dict[str, tuple[dict[str, Any]]] = {}
    seen: dict[str, str] = {}
    for combination in itertools.product(*values.values()):
        chosen = dict(zip(values, combination, strict=True))
        name = ",".join(f"{key}={value}" for key, value in chosen.items())  # in full: begun ones go on by it
        try:
            config = settings.parse([*shared, *(f"--{key}={value}" for key, value in chosen.items())])
        except UsageError as wrong:
            raise UsageError(
                f"{wrong} (in the combination {' '.join(f'--{k}={v}' for k, v in chosen.items())})"
            ) from None
        same = config.to_yaml()
        if same in seen:
            raise UsageError(f"{seen[same]} and {name} are the same settings")
        seen[same] = name
        arms[name] = (_of_arm(config),)
    return Experiment(
        name="sweep",
        question=f"What {'does' if len(values) == 1 else 'do'} {' and '.join(values)} change?",
        hypothesis="none was written down before",
        arms=arms,
        quick_characters=None,
    )


def _of_arm(config: Config) -> dict[str, Any]:
    return {key: value for key, value in config.flat().items() if key not in OURS}


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """`--key=value` or `--key value` as (key, value)."""
    pairs, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise UsageError(f"{word!r}: settings are given as --model.window=16,64")
        key, equals, value = word[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise UsageError(f"--{key}: needs a value, as --{key}=VALUE")
            value = rest.pop(0)
        pairs.append((key, value))
    return pairs


def _is_list(key: str) -> bool:
    """Whether a value of this setting is a list; an unknown one is refused later, with the nearest right name."""
    group, _, name = key.partition(".")
    kinds = {field.name: field.default_factory for field in fields(Config)}
    hints = typing.get_type_hints(kinds[group]) if group in kinds else {}
    return typing.get_origin(hints.get(name)) is tuple
