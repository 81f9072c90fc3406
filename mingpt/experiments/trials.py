"""From an experiment to cells: which runs it takes, with which settings, in which folders.

out/experiments/NAME/
    record.json          what is asked, and every arm's settings
    text.txt             the text's beginning, where quick
    training-part.txt    all but the held-out tail: what learning rates are chosen on
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
from mingpt.experiments.base import DEFAULTS, QUICK, Cell, Experiment, Settings, settings_of
from mingpt.experiments.identity import Inputs, inputs_of, trial_id
from mingpt.models.config import NeuralConfig
from mingpt.report.experiment_files import RECORD, inside
from mingpt.runs import config as settings
from mingpt.runs.config import Config

RATE = "trainer.learning_rate"
JUDGED_ON = 0.05  # of the training part, its end
RATES_SEED = 0  # cells begin at 1, so that no arm is judged by the seed that its learning rate was chosen with
LONGEST_NAME = 100


@dataclass(frozen=True)
class Text:
    """What all cells read; how many characters is None where it is prepared."""

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
    if not (folder / RECORD).exists():  # else another text is refused, and the cells' own must stay
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
def naming(arm: str) -> Iterator[None]:
    """Let an error inside, of whatever kind, name the arm as well."""
    try:
        yield
    except MingptError as wrong:
        raise type(wrong)(f"{wrong} (in the combination {arm})") from None


def words_of(values: Settings) -> list[str]:
    """Settings as the command line has them."""
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]


def cells(
    experiment: Experiment, folder: Path, text: Text, seeds: Iterable[int], form: str, rates: Mapping[str, float]
) -> list[Cell]:
    """Every arm with every seed, all of them checked; seed by seed, so that a stopped experiment compares something.

    Args:
        rates: the learning rate that each arm took; none where none was to choose.
    """
    made, read = [], dict[str, list[Inputs]]()
    for seed in seeds:
        for arm, stages in experiment.stages(form).items():
            home = folder / "cells" / folder_name(arm) / f"seed-{seed}"
            homes = [home] if len(stages) == 1 else [home / f"stage-{n}" for n in range(1, len(stages) + 1)]
            own: dict[str, Any] = {"system.seed": seed, "data.path": text.path}
            own |= {RATE: rates[arm]} if arm in rates else {}
            configs = []
            for number, (stage, place) in enumerate(zip(stages, homes, strict=True)):
                start = {"model.pretrained_folder": str(homes[number - 1])} if number else {}
                found = config_of({**_quiet(stage), **own, **start, "system.work_dir": str(place)})
                configs.append(_named_in_wandb(found, f"{arm} seed {seed}"))
            if arm not in read:  # of a later stage the weights are those of the one before it
                read[arm] = [
                    inputs_of(config if not number else _from_nothing(config), text.sha256)
                    for number, config in enumerate(configs)
                ]
            id_ = trial_id([settings_of(each) for each in configs], read[arm], seed)
            made.append(Cell(arm, seed, tuple(configs), tuple(homes), tuple(read[arm]), home, id_))
    return made


def _from_nothing(config: Config) -> Config:
    model = config.model
    return replace(config, model=replace(model, pretrained_folder=None)) if isinstance(model, NeuralConfig) else config


def _quiet(stage: Settings) -> Settings:
    """Return settings of runs that are not mirrored to wandb unless they name a mode: there are many of them."""
    return {**stage, "wandb.mode": stage.get("wandb.mode") or "disabled"}


def _named_in_wandb(config: Config, name: str) -> Config:
    """Runs of one sweep have names of their own there, since their folders are all called by their seeds."""
    if config.wandb.mode == "disabled":
        return config
    return replace(config, wandb=replace(config.wandb, name=" ".join(filter(None, [config.wandb.name, name]))))


def ids(cells: Iterable[Cell], folder: Path) -> dict[str, str]:
    """The id of each trial, by its folder as seen from the experiment's."""
    return {inside(cell.home, folder): cell.id for cell in cells if cell.home and cell.id}


def trials(experiment: Experiment, folder: Path, text: Text, form: str) -> dict[str, dict[float, Cell]]:
    """The runs that choose every arm's learning rate: its first stage on the training part alone.

    They are judged on the last twentieth of that part, so the choice has not seen what the arms are compared by.
    A variant whose family has no learning rate has none to choose.
    """
    found: dict[str, dict[float, Cell]] = {}
    for arm, stages in experiment.stages(form).items() if experiment.rates_of(form) else ():
        first = config_of({**stages[0], "data.path": text.path})
        if RATE not in first.flat():
            continue
        part = _training_part(folder, first)
        found[arm] = {}
        for rate in experiment.rates_of(form):
            home = folder / "learning-rates" / folder_name(arm) / f"{rate:g}"
            own = {"data.path": str(part), "data.val_fraction": JUDGED_ON, "data.test_fraction": 0.0, RATE: rate}
            config = config_of({**_quiet(stages[0]), **own, "system.seed": RATES_SEED, "system.work_dir": str(home)})
            found[arm][rate] = Cell(f"{arm}, learning rate {rate:g},", RATES_SEED, (config,), (home,))
    return found


def _training_part(folder: Path, config: Config) -> Path:
    """A file of exactly the text that the arm's cells will train on."""
    corpus = prepare(config.data)
    content = corpus.tokenizer.decode(corpus.data.train)
    path = folder / "training-part.txt"
    if path.exists() and path.read_bytes() != content.encode():  # arms that cut the text in other places
        path = folder / f"training-part-{sha256(content.encode())[:8]}.txt"
    keep(path, content.encode())
    return path


def keep(path: Path, content: bytes) -> None:
    """Write a file that is not there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_atomic(path, content)


def folder_name(arm: str) -> str:
    """An arm's name as one folder's: unlike for unlike arms."""
    plain = re.sub(r"[^\w.,=+ -]", "_", arm)
    if arm and plain == arm and len(arm) <= LONGEST_NAME and not arm.startswith("."):
        return arm
    return f"{plain[:LONGEST_NAME].strip('. ')}-{sha256(arm.encode())[:8]}"


def defined(experiment: Experiment, text: Text, form: str) -> dict[str, Any]:
    """What makes an experiment this one: JSON values, each arm's settings in full, as far as its family reads them.

    Raises:
        UsageError: a setting breaks a rule; names the arm.
        DataError, CheckpointError: a tokenizer, or weights to start from, can't be read; names the arm.
    """
    arms: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    for arm, stages in experiment.stages(form).items():
        with naming(arm):
            found = [config_of({**stage, "data.path": text.path}) for stage in stages]
            inputs[arm] = [dict(inputs_of(each, text.sha256)) for each in found]
        arms[arm] = [settings_of(each) for each in found]
    return {
        **{name: getattr(experiment, name) for name in ("name", "question", "hypothesis")},
        "form": form,
        "quick": form == QUICK,
        "text": {"path": text.path, "sha256": text.sha256, "characters": text.characters},
        "learning_rates": list(experiment.rates_of(form)) or None,
        "arms": arms,
        "inputs": inputs,
        "measurements": [each.name for each in experiment.measurements],
        "smaller": [each.smaller for each in experiment.measurements if form == QUICK and each.smaller],
    }


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`window=16 stage 1 model.window was 8, is 16`, ...: all that would make two records' cells differ."""
    said = [
        f"{name} was {before.get(name)}, is {now[name]}"
        for name in ("name", "form", "learning_rates")
        if _before(before, name, now) != now[name]
    ]
    text = before.get("text", {})
    if text.get("sha256") != now["text"]["sha256"]:
        said.append(f"the text was {text.get('path')}, is {now['text']['path']}, another one")
    arms_then, arms_now = before.get("arms", {}), now["arms"]
    said += [f"arm {arm} is gone" for arm in arms_then.keys() - arms_now.keys()]
    said += [f"arm {arm} is new" for arm in arms_now.keys() - arms_then.keys()]
    for arm in [arm for arm in arms_now if arm in arms_then]:
        theirs, ours = arms_then[arm], arms_now[arm]
        if len(theirs) != len(ours):
            said.append(f"arm {arm} had {len(theirs)} stages, has {len(ours)}")
            continue
        for number, (there, here) in enumerate(zip(theirs, ours, strict=True), start=1):
            there = {**DEFAULTS, **there}  # what was no setting yet is as its default has it
            said += [
                f"arm {arm} stage {number}: {key} was {there.get(key)}, is {value}"
                for key, value in here.items()
                if there.get(key) != value and key != "data.path"
            ]
        said += _other_inputs(arm, before.get("inputs", {}).get(arm, []), now["inputs"][arm])
    return said


def _before(before: Mapping[str, Any], name: str, now: Mapping[str, Any]) -> Any:
    """What an earlier record says; one that is older than forms says whether it is quick."""
    if name == "form" and name not in before:
        return now[name] if before.get("quick", False) == (now[name] == QUICK) else "another"
    return before.get(name)


def _other_inputs(arm: str, before: Sequence[Inputs], now: Sequence[Inputs]) -> list[str]:
    """What an arm's trials read otherwise than those that are there, beside the text; an older record doesn't say."""
    said = []
    for number, here in enumerate(now):
        there = before[number] if number < len(before) else {}
        for kind in [kind for kind in ("tokenizer", "weights") if there.get(kind) != here.get(kind)]:
            was = f"{there[kind][:8]}..." if kind in there else "none" if before else "not recorded"
            said.append(
                f"arm {arm} stage {number + 1}: sha256 of its {kind} was {was}, is {here.get(kind, 'none')[:8]}"
            )
    return said
