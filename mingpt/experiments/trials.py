"""From an experiment to trials: which runs it takes, with which settings, in which folders.

out/experiments/NAME/
    record.json          what is asked, and every variant's settings
    text.txt             the text's beginning, where quick
    training-part.txt    the text without its validation set, on which learning rates are chosen
    learning-rates/ARM/0.001/    a run each
    cells/ARM/seed-1/            a run each; stage-1/, stage-2/ inside where there are stages
    logs/  claims/
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mingpt.core.atomic_io import sha256, write_atomic
from mingpt.core.errors import MingptError, require
from mingpt.core.paths import path_of
from mingpt.data.dataset import prepare
from mingpt.data.prepared_folder import is_prepared, text_sha256_of
from mingpt.data.shakespeare import read_text
from mingpt.data.text_files import STDIN
from mingpt.experiments.base import DEFAULTS, QUICK, Experiment, Settings, Trial, settings_of
from mingpt.experiments.identity import Inputs, inputs_of, trial_id
from mingpt.models.config import NeuralConfig
from mingpt.report.experiment_files import RECORD, inside
from mingpt.runs import config as settings
from mingpt.runs.config import Config

RATE = "trainer.learning_rate"
VALIDATION_SHARE = 0.05  # of the training part, its end
RATES_SEED = 0  # those of trials begin at 1, so that no learning rate is evaluated with the seed of its choice
LONGEST_NAME = 100


@dataclass(frozen=True)
class Text:
    """What all trials read; how many characters is None where it is prepared."""

    path: str
    sha256: str
    characters: int | None


def text_of(experiment: Experiment, folder: Path, data: str, form: str) -> Text:
    """The text at `data`; what came from standard input, or is but the beginning of a text, is kept in the folder.

    Raises:
        DataError: there is none.
        UsageError: a form that uses the beginning of a text, and a prepared folder.
    """
    limit = experiment.form(form).characters
    if is_prepared(data):
        require(limit is None, "data", data, "is prepared, so the quick form can't take its beginning; name the text")
        return Text(data, text_sha256_of(path_of(data)), None)
    text = read_text(data)
    long = limit is not None and len(text.content) > limit
    if not long and data != STDIN:
        return Text(data, text.sha256, len(text.content))
    content = text.content[:limit].encode()
    path = folder / "text.txt"
    if not (folder / RECORD).exists():  # else another text is rejected, and the trials' own must stay
        path.unlink(missing_ok=True)
    keep(path, content)
    return Text(str(path), sha256(content), limit if long else len(text.content))


def config_of(values: Settings) -> Config:
    """The configuration of these settings, checked.

    Raises:
        UsageError: names setting, value and rule.
    """
    return settings.parse(words_of(values))


@contextmanager
def naming(variant: str) -> Iterator[None]:
    """Let an error inside, of whatever kind, name the variant as well."""
    try:
        yield
    except MingptError as wrong:
        raise type(wrong)(f"{wrong} (in the combination {variant})") from None


def words_of(values: Settings) -> list[str]:
    """Settings as the command line has them."""
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]


def trials_of(
    experiment: Experiment, folder: Path, text: Text, seeds: Iterable[int], form: str, rates: Mapping[str, float]
) -> list[Trial]:
    """Every variant with every seed, all checked; seed by seed, so that a stopped experiment compares something.

    Args:
        rates: the learning rate that each variant took; none where none was to choose.
    """
    made, read = [], dict[str, list[Inputs]]()
    for seed in seeds:
        for variant, stages in experiment.stages(form).items():
            home = folder / "cells" / folder_name(variant) / f"seed-{seed}"
            homes = [home] if len(stages) == 1 else [home / f"stage-{n}" for n in range(1, len(stages) + 1)]
            own: dict[str, Any] = {"system.seed": seed, "data.path": text.path}
            own |= {RATE: rates[variant]} if variant in rates else {}
            configs = []
            for number, (stage, place) in enumerate(zip(stages, homes, strict=True)):
                start = {"model.pretrained_folder": str(homes[number - 1])} if number else {}
                found = config_of({**_quiet(stage), **own, **start, "system.work_dir": str(place)})
                configs.append(_named_in_wandb(found, f"{variant} seed {seed}"))
            if variant not in read:  # of a later stage the weights are those of the one before it
                read[variant] = [
                    inputs_of(config if not number else _from_nothing(config), text.sha256)
                    for number, config in enumerate(configs)
                ]
            id_ = trial_id([settings_of(each) for each in configs], read[variant], seed)
            made.append(Trial(variant, seed, tuple(configs), tuple(homes), tuple(read[variant]), home, id_))
    return made


def _from_nothing(config: Config) -> Config:
    model = config.model
    return replace(config, model=replace(model, pretrained_folder=None)) if isinstance(model, NeuralConfig) else config


def _quiet(stage: Settings) -> Settings:
    """Return settings whose runs are not logged to W&B unless they name a mode: there are many of them."""
    return {**stage, "wandb.mode": stage.get("wandb.mode") or "disabled"}


def _named_in_wandb(config: Config, name: str) -> Config:
    """Runs of one sweep have names of their own there, since their folders are all called by their seeds."""
    if config.wandb.mode == "disabled":
        return config
    return replace(config, wandb=replace(config.wandb, name=" ".join(filter(None, [config.wandb.name, name]))))


def ids(trials: Iterable[Trial], folder: Path) -> dict[str, str]:
    """The id of each trial, by its folder as seen from the experiment's."""
    return {inside(trial.home, folder): trial.id for trial in trials if trial.home and trial.id}


def learning_rate_trials(experiment: Experiment, folder: Path, text: Text, form: str) -> dict[str, dict[float, Trial]]:
    """The runs that choose every variant's learning rate: its first stage on the training part alone.

    They are evaluated on the last twentieth of that part, so that the choice does not see the validation set.
    A variant whose family has no learning rate has none to choose.
    """
    found: dict[str, dict[float, Trial]] = {}
    for variant, stages in experiment.stages(form).items() if experiment.rates_of(form) else ():
        first = config_of({**stages[0], "data.path": text.path})
        if RATE not in first.flat():
            continue
        part = _training_part(folder, first)
        found[variant] = {}
        for rate in experiment.rates_of(form):
            home = folder / "learning-rates" / folder_name(variant) / f"{rate:g}"
            own = {"data.path": str(part), "data.val_fraction": VALIDATION_SHARE, "data.test_fraction": 0.0, RATE: rate}
            config = config_of({**_quiet(stages[0]), **own, "system.seed": RATES_SEED, "system.work_dir": str(home)})
            found[variant][rate] = Trial(f"{variant}, learning rate {rate:g},", RATES_SEED, (config,), (home,))
    return found


def _training_part(folder: Path, config: Config) -> Path:
    """A file of exactly the text that the variant's trials will train on."""
    corpus = prepare(config.data)
    content = corpus.tokenizer.decode(corpus.data.train)
    path = folder / "training-part.txt"
    if path.exists() and path.read_bytes() != content.encode():  # variants that cut the text in other places
        path = folder / f"training-part-{sha256(content.encode())[:8]}.txt"
    keep(path, content.encode())
    return path


def keep(path: Path, content: bytes) -> None:
    """Write a file that is not there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_atomic(path, content)


def folder_name(variant: str) -> str:
    """Return the name of a variant's folder: different for different variants."""
    plain = re.sub(r"[^\w.,=+ -]", "_", variant)
    if variant and plain == variant and len(variant) <= LONGEST_NAME and not variant.startswith("."):
        return variant
    return f"{plain[:LONGEST_NAME].strip('. ')}-{sha256(variant.encode())[:8]}"


def defined(experiment: Experiment, text: Text, form: str) -> dict[str, Any]:
    """Return an experiment's definition as JSON values, with each variant's settings in full.

    Raises:
        UsageError: a setting breaks a rule; names the variant.
        DataError, CheckpointError: a tokenizer, or weights to start from, can't be read; names the variant.
    """
    variants: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    for variant, stages in experiment.stages(form).items():
        with naming(variant):
            found = [config_of({**stage, "data.path": text.path}) for stage in stages]
            inputs[variant] = [dict(inputs_of(each, text.sha256)) for each in found]
        variants[variant] = [settings_of(each) for each in found]
    return {
        **{name: getattr(experiment, name) for name in ("name", "question", "hypothesis", "margin", "figure")},
        "form": form,
        "quick": form == QUICK,
        "text": {"path": text.path, "sha256": text.sha256, "characters": text.characters},
        "learning_rates": list(experiment.rates_of(form)) or None,
        "arms": variants,
        "inputs": inputs,
        "measurements": [each.name for each in experiment.measurements],
        "smaller": [each.smaller for each in experiment.measurements if form == QUICK and each.smaller],
    }


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Describe what would make the trials of two records differ: `variant a stage 1: model.window was 8, is 16`."""
    found = [
        f"{name} was {before.get(name)}, is {now[name]}"
        for name in ("name", "form", "learning_rates")
        if _before(before, name, now) != now[name]
    ]
    text = before.get("text", {})
    if text.get("sha256") != now["text"]["sha256"]:
        found.append(f"the text was {text.get('path')}, is {now['text']['path']}, another one")
    variants_then, variants_now = before.get("arms", {}), now["arms"]
    found += [f"variant {variant} is gone" for variant in variants_then.keys() - variants_now.keys()]
    found += [f"variant {variant} is new" for variant in variants_now.keys() - variants_then.keys()]
    for variant in [variant for variant in variants_now if variant in variants_then]:
        theirs, ours = variants_then[variant], variants_now[variant]
        if len(theirs) != len(ours):
            found.append(f"variant {variant} had {len(theirs)} stages, has {len(ours)}")
            continue
        for number, (there, here) in enumerate(zip(theirs, ours, strict=True), start=1):
            there = {**DEFAULTS, **there}  # what was no setting yet is as its default has it
            found += [
                f"variant {variant} stage {number}: {key} was {there.get(key)}, is {value}"
                for key, value in here.items()
                if there.get(key) != value and key != "data.path"
            ]
        found += _other_inputs(variant, before.get("inputs", {}).get(variant, []), now["inputs"][variant])
    return found


def _before(before: Mapping[str, Any], name: str, now: Mapping[str, Any]) -> Any:
    """Return what an earlier record has; one that is older than forms has whether it is quick."""
    if name == "form" and name not in before:
        return now[name] if before.get("quick", False) == (now[name] == QUICK) else "another"
    return before.get(name)


def _other_inputs(variant: str, before: Sequence[Inputs], now: Sequence[Inputs]) -> list[str]:
    """Tokenizers and weights of a variant's stages that differ from those recorded; an older record has none."""
    found = []
    for number, here in enumerate(now):
        there = before[number] if number < len(before) else {}
        for kind in [kind for kind in ("tokenizer", "weights") if there.get(kind) != here.get(kind)]:
            was = f"{there[kind][:8]}..." if kind in there else "none" if before else "not recorded"
            found.append(
                f"variant {variant} stage {number + 1}: sha256 of its {kind} was {was}, is {here.get(kind, 'none')[:8]}"
            )
    return found
