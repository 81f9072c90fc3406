"""`chargpt experiment` and `chargpt sweep`: words in, an exit code out; what a person should read goes to `say`."""

import itertools
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mingpt.errors import UsageError, require
from mingpt.experiments.base import EXPERIMENTS, Experiment, Settings
from mingpt.experiments.conclude import said_of
from mingpt.experiments.crew import Outcome
from mingpt.experiments.grid import experiment_of
from mingpt.experiments.runner import Conclude, Wish, carry_out, draw
from mingpt.files import write_atomic
from mingpt.flags import options_of, split_words
from mingpt.interrupt import EXIT_CODES
from mingpt.registry import did_you_mean
from mingpt.report import index, page
from mingpt.report.cells import PAGE, SUMMARY, read_record, read_summary
from mingpt.report.index import RESULTS
from mingpt.report.published import publish, summary_form, unfinished
from mingpt.report.records import HOME
from mingpt.say import Say

SWITCHES = ("--quick", "--fresh")
ACTIONS = ("list", "run", "show", "publish")


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


def experiment(words: Sequence[str], say: Say, program: str, conclude: Conclude) -> int:
    """`list`, `run NAME`, `show NAME`, `publish [NAME ...]`."""
    action, rest = (words[0], list(words[1:])) if words else ("list", [])
    if action in ("--help", "-h"):
        say(_usage(program))
        return 0
    if action not in ACTIONS:
        raise UsageError(f"{action!r}: must be one of {', '.join(ACTIONS)}{did_you_mean(action, ACTIONS)}")
    if action == "list":
        if rest:
            raise UsageError(f"{rest[0]!r}: `experiment list` takes nothing more")
        width = max(len(name) for name in EXPERIMENTS)
        say("\n".join(f"{name:{width}}  {EXPERIMENTS[name].question}" for name in EXPERIMENTS))
        return 0
    if action == "publish":
        return _publish(rest, say, program)
    if not rest or rest[0] in ("--help", "-h"):
        say(_usage(program))
        return 0
    if rest[0].startswith("--"):
        raise UsageError(f"{rest[0]!r}: name an experiment first, one of {', '.join(EXPERIMENTS)}")
    chosen, given = EXPERIMENTS[rest[0]], _flags(rest[1:])
    if action == "show":
        say(show(chosen, options_of(f"{program} experiment show", "Show.", ShowOptions, given).quick))
        return 0
    options = options_of(f"{program} experiment run NAME", "Run.", RunOptions, given)
    wish = Wish(
        folder=folder_of(chosen, options.quick),
        command=shlex.join([*program.split(), "experiment", *words]),
        again=shlex.join([*program.split(), "experiment", "run", chosen.name, *_without("--fresh", given)]),
        data=options.data,
        seeds=options.seeds,
        quick=options.quick,
        jobs=options.jobs,
        fresh=options.fresh,
    )
    return _ended(carry_out(chosen, wish, say=say, conclude=conclude), wish, say)


def sweep(words: Sequence[str], say: Say, program: str, conclude: Conclude) -> int:
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
    folder = Path(options.folder) if options.folder else _free()
    there = [*settings, *_without("--folder", own), f"--folder={folder}"]
    wish = Wish(
        folder=folder,
        command=shlex.join([*program.split(), "sweep", *words]),
        again=shlex.join([*program.split(), "sweep", *there]),
        data=str(first["data.path"]),
        seeds=options.seeds,
        jobs=options.jobs,
    )
    return _ended(carry_out(wanted, wish, say=say, conclude=conclude), wish, say)


def show(experiment: Experiment, quick: bool) -> str:
    """What it asks and expects, its arms, and what its folder holds by now."""
    folder = folder_of(experiment, quick)
    seeds = experiment.quick_seeds if quick else experiment.seeds
    lines = [experiment.question, f"expected: {experiment.hypothesis}", ""]
    for arm, stages in experiment.stages(quick).items():
        steps = " + ".join(_told(each) for each in stages)
        lines.append(f"  {arm}: {steps}, {seeds} seeds")
    lines += [f"  measured: {each.name}" for each in experiment.measurements]
    forms = [RESULTS / folder_of(experiment, each).name / PAGE for each in (quick, not quick)]
    lines += ["", *(f"published: {kept}, numbers in {RESULTS / 'README.md'}" for kept in forms if kept.is_file())]
    if not read_record(folder):
        return "\n".join([*lines, f"not run here yet; it would lie in {folder}"])
    lines += [f"page: {folder / PAGE}; figures:", *(f"  {path}" for path in page.pictures(folder))]
    summary = read_summary(folder)
    return "\n".join([*lines, json.dumps(summary, indent=1) if summary else ""])


def _told(stage: Settings) -> str:
    made = f"{stage['trainer.max_iters']} steps" if "trainer.max_iters" in stage else "counts once"
    return f"{made} at block {stage['data.block_size']}"


def _publish(words: Sequence[str], say: Say, program: str) -> int:
    """The named experiments, or all that are finished in either form; and everything that is made from results/."""
    names, given = split_words(words, bare=SWITCHES)
    about = "Keep the records of finished experiments in results/; those named, or all."
    options = options_of(f"{program} experiment publish [NAME ...]", about, PublishOptions, given)
    wanted = (True,) if options.quick else (False,) if names else (False, True)
    for experiment, quick in itertools.product([EXPERIMENTS[name] for name in names or EXPERIMENTS], wanted):
        folder, target = folder_of(experiment, quick), RESULTS / folder_of(experiment, quick).name
        why = unfinished(folder)
        if names or not why:
            publish(folder, target)
            say(f"{folder} -> {target}")
        elif folder.exists():
            say(f"left out: {folder}: {why}")
    redraw(RESULTS)
    for path in index.write(RESULTS):
        say(str(path))
    return 0


def redraw(results: Path) -> None:
    """The figures and findings of all measurements in `results`, from their rows; verdicts, from the runs."""
    for folder in index.published(results):
        known = read_record(folder)
        if known.get("name") in EXPERIMENTS:
            for measurement in EXPERIMENTS[known["name"]].measurements:
                draw(measurement, folder)
            summary = {**read_summary(folder), **said_of(EXPERIMENTS[known["name"]], folder)}
            result = page.compared(folder)
            summary |= summary_form({"verdict": result.headline, **result.to_json()}, folder) if result else {}
            write_atomic(folder / SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())


def _flags(words: Sequence[str]) -> list[str]:
    """Settings, each with its value.

    Raises:
        UsageError: a word that is none.
    """
    others, flags = split_words(words, bare=SWITCHES)
    return [*others, *flags]


def folder_of(experiment: Experiment, quick: bool) -> Path:
    """Where it lies."""
    return HOME / "experiments" / f"{experiment.name}{'-quick' if quick else ''}"


def _free() -> Path:
    home = HOME / "sweeps"
    return next(home / str(n) for n in itertools.count(1) if not (home / str(n)).exists())


def _without(name: str, flags: Sequence[str]) -> list[str]:
    """`flags`, each with its value, but for those of this name."""
    return [flag for flag in flags if flag.partition("=")[0] != name]


def _ended(outcome: Outcome, wish: Wish, say: Say) -> int:
    if outcome.stopped:
        say(f"stopped by {outcome.stopped}; go on with: {wish.again or wish.command}")
        return EXIT_CODES[outcome.stopped]
    for cell, (_, why) in outcome.failed.items():
        say(f"{cell.name} failed: {why}")
    if outcome.failed:
        say(f"{len(outcome.failed)} cells failed; what they said is in {wish.folder / 'logs'}")
    return 1 if outcome.failed else 0


def _own(words: Sequence[str], names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that are the sweep's own, and those that are settings of its runs."""
    others, flags = split_words(words)
    ours = [word for word in flags if word in ("--help", "-h") or word[2:].partition("=")[0] in names]
    return ours, [*others, *(word for word in flags if word not in ours)]


def _usage(program: str) -> str:
    return (
        f"usage: {program} experiment list\n"
        f"       {program} experiment run NAME [--quick] [--seeds=N] [--jobs=N] [--data=TEXT] [--fresh]\n"
        f"       {program} experiment show NAME [--quick]\n"
        f"       {program} experiment publish [NAME ...] [--quick]\n\nthere are: {', '.join(EXPERIMENTS)}"
    )
