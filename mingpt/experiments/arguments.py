"""What `chargpt sweep` and `chargpt experiment` may be told: known, and checked, before PyTorch is imported."""

from collections.abc import Sequence
from dataclasses import dataclass

from mingpt.core.config_cli import options_of, split_words
from mingpt.core.errors import UsageError, require
from mingpt.core.registry import did_you_mean

OWN = ("seeds", "jobs", "folder")
ABOUT = (
    "Train every combination of settings: --model.window=16,64,null --model.rope=True,False; all else that `train` "
    "takes holds for every run. A list is one value, --trainer.betas=0.9,0.95; several stand in brackets, "
    "--trainer.betas=[0.9,0.95],[0.8,0.99]. All variants share one text: --data.path=[a.txt,b.txt] is one of two "
    "files. wandb.mode is disabled unless given."
)
SWITCHES = ("--quick", "--fresh")
ACTIONS = ("list", "run", "show", "publish")
PUBLISHING = "Keep the records of finished experiments in results/; those named, or all."


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Train every combination of settings.

    Attributes:
        seeds: runs per combination
        jobs: runs at once; the threads are divided among them
        folder: where; one that holds the same sweep goes on; null: the first free of out/sweeps/1, 2, ...
    """

    seeds: int = 3
    jobs: int = 1
    folder: str | None = None

    def __post_init__(self) -> None:
        require(self.folder != "", "folder", "''", "must name a folder, or be null")
        _require_some(seeds=self.seeds, jobs=self.jobs)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Carry an experiment out, or go on with it.

    Attributes:
        quick: its small form: minutes instead of hours
        seeds: runs per arm; null: as many as before, or as the experiment says
        jobs: runs at once; the threads are divided among them
        data: the text
        fresh: put aside what is there, and begin anew
    """

    quick: bool = False
    seeds: int | None = None
    jobs: int = 1
    data: str = "input.txt"
    fresh: bool = False

    def __post_init__(self) -> None:
        require(self.data != "", "data", "''", "must name a text file")
        _require_some(seeds=self.seeds, jobs=self.jobs)


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Say what an experiment asks, and what it found.

    Attributes:
        quick: its small form
    """

    quick: bool = False


@dataclass(frozen=True, kw_only=True)
class PublishOptions:
    """Keep the records of finished experiments in results/, and draw the pages and the README's table from there.

    Attributes:
        quick: their small forms
    """

    quick: bool = False


def _require_some(**numbers: int | None) -> None:
    for name, number in numbers.items():
        require(number is None or number >= 1, name, number, "must be at least 1")


def own_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that are the sweep's own, and those that are settings of its runs."""
    others, flags = split_words(words)
    ours = [word for word in flags if word in ("--help", "-h") or word[2:].partition("=")[0] in OWN]
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


def check_experiment(program: str, words: Sequence[str]) -> None:
    """Check all of the words after `experiment` but names of experiments, whose code needs PyTorch.

    Raises:
        UsageError: an unknown action, a wrong option.
    """
    action, rest = (words[0], words[1:]) if words else ("list", [])
    helped = bool({"--help", "-h"} & {*rest})
    if action in ("--help", "-h") or (action in ("list", "run", "show") and not rest[helped:]):
        return
    if action not in ACTIONS:
        raise UsageError(f"{action!r}: must be one of {', '.join(ACTIONS)}{did_you_mean(action, ACTIONS)}")
    if action == "list":
        raise UsageError(f"{rest[0]!r}: `experiment list` takes nothing more")
    if action == "publish":
        publish_options(program, rest)
    elif not rest[0].startswith("--"):
        (run_options if action == "run" else show_options)(program, rest[1:])


def settings_alone(words: Sequence[str]) -> list[str]:
    """Settings, each with its value; another word among them is left for the parser to refuse."""
    others, flags = split_words(words, bare=SWITCHES)
    return [*others, *flags]
