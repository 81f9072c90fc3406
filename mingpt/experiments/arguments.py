"""Options of `chargpt sweep` and `chargpt experiment`, checked before PyTorch is imported."""

import ast
import functools
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mingpt.core.command_line import split_words
from mingpt.core.config_cli import options_of
from mingpt.core.errors import UsageError, require
from mingpt.core.registry import did_you_mean, unknown

OWN = ("seeds", "jobs", "folder")
ABOUT = (
    "Train every combination of settings: --model.window=16,64,null --model.rope=True,False; all else that `train` "
    "takes holds for every run. A list is one value, --trainer.betas=0.9,0.95; several stand in brackets, "
    "--trainer.betas=[0.9,0.95],[0.8,0.99]. All variants share one text: --data.path=[a.txt,b.txt] is one of two "
    "files. wandb.mode is disabled unless given."
)
SWITCHES = ("--quick", "--full", "--fresh", "--trials_only", "--text_only")
ACTIONS = ("list", "run", "show", "publish")
PUBLISHING = "Keep the records of finished experiments in results/; those named, or all."


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Train every combination of settings.

    Attributes:
        seeds: runs per combination
        jobs: runs at once; the threads are divided among them
        folder: folder of the sweep; the same sweep there is resumed; null: the first free of out/sweeps/1, 2, ...
    """

    seeds: int = 3
    jobs: int = 1
    folder: str | None = None

    def __post_init__(self) -> None:
        require(self.folder != "", "folder", "''", "must name a folder, or be null")
        _require_some(seeds=self.seeds, jobs=self.jobs)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Run an experiment, or resume it.

    Attributes:
        quick: a small form that takes minutes, to try that all works; its results answer nothing
        full: the large form, for a GPU; without either: the standard form, for two CPU cores
        seeds: trials per variant; null: as many as before, or as the experiment has
        jobs: trials at once; the threads are divided among them; null: one per core in the standard form, else 1
        data: the text; null: tinyshakespeare in the standard form of what trains on a text, else input.txt
        trials_only: leave for later what is timed, which needs a quiet machine, and the comparison
        fresh: put aside what is there, and begin again, with trials too whose records are in results/
    """

    quick: bool = False
    full: bool = False
    seeds: int | None = None
    jobs: int | None = None
    data: str | None = None
    trials_only: bool = False
    fresh: bool = False

    def __post_init__(self) -> None:
        _require_one_form(self.quick, self.full)
        require(self.data != "", "data", "''", "must name a text file")
        _require_some(seeds=self.seeds, jobs=self.jobs)


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Show what an experiment asks, and what it found.

    Attributes:
        quick: its small form, for trying out
        full: its large form, for a GPU
    """

    quick: bool = False
    full: bool = False

    def __post_init__(self) -> None:
        _require_one_form(self.quick, self.full)


@dataclass(frozen=True, kw_only=True)
class PublishOptions:
    """Keep the records of finished experiments in results/, with figures and READMEs made from them.

    Attributes:
        full: their large forms
        answer: to the question of the one experiment that is named, in a sentence or two; null: as published before
        hypothesis_outcome: what became of its hypothesis, in a sentence or two; null: as published before
        text_only: change these two and leave the numbers that are published
    """

    full: bool = False
    answer: str | None = None
    hypothesis_outcome: str | None = None
    text_only: bool = False


def _require_one_form(quick: bool, full: bool) -> None:
    require(not (quick and full), "quick", quick, "can't be with {}", ("full", full))


def _require_some(**numbers: int | None) -> None:
    for name, number in numbers.items():
        require(number is None or number >= 1, name, number, "must be at least 1")


def own_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that are the sweep's own, and those that are settings of its runs."""
    others, flags = split_words(words)
    ours = [word for word in flags if word == "--help" or word[2:].partition("=")[0] in OWN]
    return ours, [*others, *(word for word in flags if word not in ours)]


def sweep_options(program: str, words: Sequence[str]) -> SweepOptions:
    """A sweep's own options among its words.

    Raises:
        UsageError, SystemExit: as `flags.options_of`.
    """
    return options_of(f"{program} sweep", ABOUT, SweepOptions, own_words(words)[0])


def run_options(program: str, words: Sequence[str]) -> RunOptions:
    """Options of `experiment run NAME`, from the words after the name."""
    return options_of(f"{program} experiment run NAME", "Run.", RunOptions, settings_alone(words))


def show_options(program: str, words: Sequence[str]) -> ShowOptions:
    """Options of `experiment show NAME`, from the words after the name."""
    return options_of(f"{program} experiment show NAME", "Show.", ShowOptions, settings_alone(words))


def publish_options(program: str, words: Sequence[str]) -> tuple[list[str], PublishOptions]:
    """The names that `experiment publish` was given, and its options."""
    names, given = split_words(words, bare=SWITCHES)
    return names, options_of(f"{program} experiment publish [NAME ...]", PUBLISHING, PublishOptions, given)


@functools.cache
def questions() -> dict[str, str]:
    """Return the question of each experiment by its name, from the sources: their modules need PyTorch.

    A source that does not state both as literals is imported with all others.
    """
    home = Path(__file__).parent
    known = ast.parse((home / "catalogue.py").read_text(encoding="utf-8"))
    named = [node for node in known.body if isinstance(node, ast.ImportFrom) and node.module == "mingpt.experiments"]
    found: dict[str, str] = {}
    for module in (alias.name for node in named for alias in node.names):
        stated = _stated(ast.parse((home / f"{module}.py").read_text(encoding="utf-8")))
        if not stated:
            experiments = importlib.import_module("mingpt.experiments.catalogue").EXPERIMENTS
            return {name: experiments[name].question for name in experiments}
        found |= stated
    return found


def _stated(tree: ast.Module) -> dict[str, str]:
    """Name and question of each `register(Experiment(name=..., question=...))`; {} where one is no literal."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Experiment":
            values = {word.arg: word.value for word in node.keywords}
            name, question = (getattr(values.get(field), "value", None) for field in ("name", "question"))
            if not (isinstance(name, str) and isinstance(question, str)):
                return {}
            found[name] = question
    return found


def answered(program: str, words: Sequence[str]) -> str | None:
    """Return what `experiment list`, or help on all of its actions, prints; None for other words, which are checked.

    Raises:
        UsageError: an unknown action, experiment or option.
    """
    action, rest = (words[0], words[1:]) if words else ("list", [])
    helps = {"--help", "-h"}
    if action in helps or (action in ACTIONS[:3] and rest and {*rest} <= helps):
        return _usage(program)
    if action not in ACTIONS:
        shaped = f"; `{program} experiment show {action}` shows that one" if action in questions() else ""
        raise UsageError(f"{action!r}: must be one of {', '.join(ACTIONS)}{shaped or did_you_mean(action, ACTIONS)}")
    if action == "list":
        if rest:
            raise UsageError(f"{rest[0]!r}: `experiment list` takes nothing more")
        return listing()
    if action == "publish":
        for name in publish_options(program, rest)[0]:
            _require_known(name)
    elif not rest or rest[0].startswith("--"):
        raise UsageError(f"experiment {action}: must name an experiment first, one of {', '.join(questions())}")
    else:
        _require_known(rest[0])
        (run_options if action == "run" else show_options)(program, rest[1:])
    return None


def listing() -> str:
    """Return every experiment with its question, a line each."""
    width = max(map(len, questions()))
    return "\n".join(f"{name:{width}}  {question}" for name, question in questions().items())


def _require_known(name: str) -> None:
    if name not in questions():
        raise unknown("experiment", name, questions())


def _usage(program: str) -> str:
    return (
        f"usage: {program} experiment list\n"
        f"       {program} experiment run NAME [--quick|--full] [--seeds=N] [--jobs=N] [--data=TEXT]\n"
        f"       {' ' * len(program)}                [--trials_only] [--fresh]\n"
        f"       {program} experiment show NAME [--quick|--full]\n"
        f"       {program} experiment publish [NAME ...] [--full]\n"
        f"       {' ' * len(program)}                    [--answer=TEXT] [--hypothesis_outcome=TEXT] [--text_only]\n"
        f"\nthere are: {', '.join(questions())}"
    )


def settings_alone(words: Sequence[str]) -> list[str]:
    """Return the settings, each with its value; other words among them are left for the parser to reject."""
    others, flags = split_words(words, bare=SWITCHES)
    return [*others, *flags]
