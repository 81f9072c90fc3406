"""A grid of anything: `--model.window=16,64 --model.rope=True,False` as four variants, all checked before one runs.

A comma parts values.  A setting that is itself a list, as trainer.betas, is one value, 0.9,0.95; several lists stand
in brackets, [0.9,0.95],[0.8,0.99].  A text of several files stands in brackets, too: [a.txt,b.txt] is one, the same
for every variant, since losses on different texts can't be compared.
"""

import itertools
import json
import os
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from mingpt.core.command_line import required, tokens
from mingpt.core.errors import UsageError
from mingpt.core.paths import expanded
from mingpt.experiments.base import Experiment, settings_of
from mingpt.runs import config as settings
from mingpt.runs.config import Config
from mingpt.runs.wandb_log import WandbConfig

OURS = {  # settings of a run that a sweep has for itself
    "system.seed": "every variant takes the same seeds; --seeds=N says how many",
    "system.work_dir": "each run has a folder of its own; --folder=DIR names the sweep's",
    **dict.fromkeys(("trainer.resume", "trainer.resume_changed"), "the same sweep with --folder=DIR resumes"),
}
SHARED = {  # settings that can't differ between the variants of a sweep
    "data.path": "all variants need the same text, since losses on different texts can't be compared",
    "data.val_fraction": "all variants need the same validation set, since losses on different ones can't be compared",
    "data.test_fraction": "moves the validation set, which must be the same for all variants",
    "dist.strategy": "has no effect here: each trial is a single process",
    **{f"wandb.{field.name}": "changes no result, so there is nothing to compare" for field in fields(WandbConfig)},
}


def swept(words: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the values, as typed, of each setting that varies, and the words that all variants share.

    Raises:
        UsageError: an empty value, one that is given twice, a setting that is the sweep's own or must be the same for
            all, or nothing varies.
    """
    values: dict[str, list[str]] = {}
    shared: list[str] = []
    for key, value in _pairs(words):
        if key in OURS:
            raise UsageError(f"--{key}={value}: is no setting of a sweep: {OURS[key]}")
        value = _one_text(value) if key == "data.path" else value
        parts = [value] if key in ("config", "data.path") else split(value, whole=_is_list(key))
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
    return of_values(*swept(words))


def of_values(values: Mapping[str, Sequence[str]], shared: Sequence[str]) -> Experiment:
    """Every combination of `values`, each with the words `shared` that all have, checked.

    Raises:
        UsageError: a setting that a sweep has for itself or that can't vary; or names field, value, rule, combination.
    """
    _require_free(values, shared)
    variants: dict[str, tuple[dict[str, Any]]] = {}
    seen: dict[str, str] = {}
    for combination in itertools.product(*values.values()):
        chosen = dict(zip(values, combination, strict=True))
        name = ",".join(f"{key}={value}" for key, value in chosen.items())  # in full: begun ones are resumed by it
        try:
            config = settings.parse([*shared, *(f"--{key}={value}" for key, value in chosen.items())])
        except UsageError as wrong:
            raise UsageError(
                f"{wrong} (in the combination {' '.join(f'--{k}={v}' for k, v in chosen.items())})"
            ) from None
        same = json.dumps([settings_of(config), config.pretrained_folder], sort_keys=True)
        if same in seen:
            raise UsageError(f"{seen[same]} and {name} are the same settings")
        seen[same] = name
        _require_shared(config, next(iter(variants.values()))[0] if variants else config.flat(), name)
        variants[name] = ({key: value for key, value in config.flat().items() if key not in OURS},)
    return Experiment(
        name="sweep",
        question=f"What {'does' if len(values) == 1 else 'do'} {' and '.join(values)} change?",
        hypothesis="",
        variants=variants,
    )


def _require_free(values: Mapping[str, Sequence[str]], shared: Iterable[str]) -> None:
    for key, several in values.items():
        shown = ",".join(several)
        if key in OURS:
            raise UsageError(f"{key}={shown}: is no setting of a sweep: {OURS[key]}")
        if key in SHARED:
            raise UsageError(f"{key}={shown}: {SHARED[key]}")
    for word in shared:
        key, _, value = word.removeprefix("--").partition("=")
        if key in OURS:
            raise UsageError(f"{key}={value}: is no setting of a sweep: {OURS[key]}")


def _require_shared(config: Config, first: Mapping[str, Any], name: str) -> None:
    """Reject a combination that changes what all must share by another setting's name, as by --preset."""
    for key, value in config.flat().items():
        if key in SHARED and value != first[key]:
            raise UsageError(f"{key} would be {first[key]} and, in the combination {name}, {value}: {SHARED[key]}")


def _one_text(value: str) -> str:
    """The text that all variants share; what `train` would read as one of several files stands in brackets here.

    Raises:
        UsageError: commas that could as well part the values of variants.
    """
    if "," not in value or os.path.lexists(expanded(value)):  # a file's own name may have a comma
        return value
    if value.startswith("[") and value.endswith("]") and len(split(value, whole=False)) == 1:
        return value[1:-1]
    raise UsageError(
        f"--data.path={value}: {SHARED['data.path']}; --data.path=[{value.strip('[]')}] is one text of these files; to "
        "train on each alone, start a sweep for each"
    )


def spelled(value: Any) -> str:
    """A Python value as a command line has it."""
    return str(value) if isinstance(value, str | bool) else json.dumps(value)


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """`--key=value` or `--key value` as (key, value)."""
    pairs = list(tokens(words))
    for key, word in pairs:
        if not key:
            raise UsageError(f"{word!r}: settings are given as --model.window=16,64")
    return [(key, required(key, value)) for key, value in pairs]


def _is_list(key: str) -> bool:
    """Whether a value of this setting is a list; an unknown one is rejected later, with the nearest right name."""
    group, _, name = key.partition(".")
    kinds = {prefix: type(settings) for prefix, settings in vars(Config()).items()}
    hints = typing.get_type_hints(kinds[group]) if group in kinds else {}
    hint: Any = hints.get(name)
    origins = [typing.get_origin(each) for each in (hint, *typing.get_args(hint))]  # of one that may be null, too
    return tuple in origins
