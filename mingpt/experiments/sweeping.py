"""`chargpt sweep`: every combination of settings trained with the same seeds, and compared."""

import itertools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mingpt.errors import require
from mingpt.experiments.actions import ended, without
from mingpt.experiments.grid import experiment_of
from mingpt.experiments.runner import Conclude, Wish, carry_out
from mingpt.flags import options_of, split_words
from mingpt.paths import path_of
from mingpt.report.records import HOME
from mingpt.say import Say


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


def command(words: Sequence[str], say: Say, program: str, conclude: Conclude) -> int:
    """Every combination of the settings that have several values."""
    about = (
        "Train every combination of settings: --model.window=16,64,null --model.rope=True,False; all else that "
        "`train` takes holds for every run. A list is one value, --trainer.betas=0.9,0.95; several stand in brackets, "
        "--trainer.betas=[0.9,0.95],[0.8,0.99]."
    )
    own, settings = _own(words, ("seeds", "jobs", "folder"))
    options = options_of(f"{program} sweep", about, SweepOptions, own)
    require(options.folder != "", "folder", "''", "must name a folder, or be null")
    require(options.seeds >= 1, "seeds", options.seeds, "must be at least 1")
    wanted = experiment_of(settings)
    seeds = f"{options.seeds} seed{'s' * (options.seeds > 1)}"
    say(f"{len(wanted.arms)} combinations x {seeds} = {len(wanted.arms) * options.seeds} runs")
    first = next(iter(wanted.arms.values()))[0]
    folder = path_of(options.folder) if options.folder else _free()
    there = [*settings, *without("--folder", own), f"--folder={folder}"]
    wish = Wish(
        folder=folder,
        command=shlex.join([*program.split(), "sweep", *words]),
        again=shlex.join([*program.split(), "sweep", *there]),
        data=str(first["data.path"]),
        seeds=options.seeds,
        jobs=options.jobs,
    )
    return ended(carry_out(wanted, wish, say=say, conclude=conclude), wish, say)


def _free() -> Path:
    home = HOME / "sweeps"
    return next(home / str(n) for n in itertools.count(1) if not (home / str(n)).exists())


def _own(words: Sequence[str], names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that are the sweep's own, and those that are settings of its runs."""
    others, flags = split_words(words)
    ours = [word for word in flags if word in ("--help", "-h") or word[2:].partition("=")[0] in names]
    return ours, [*others, *(word for word in flags if word not in ours)]
