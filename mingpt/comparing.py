"""`chargpt compare` and `chargpt report`: run folders in; a table, a verdict, or a page out.  Without torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mingpt.errors import UsageError, require
from mingpt.flags import Flags, split_words
from mingpt.report import page, words
from mingpt.report.cells import PAGE
from mingpt.report.compare import Comparison, comparison
from mingpt.report.records import newest_first, read_run
from mingpt.say import Say

PIPED_WIDTH = 160  # characters, where the output is no terminal


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Tell whether runs differ, over their seeds.

    Attributes:
        every_pair: judge all pairs of arms; False: each against the first
        json: print everything as one line of JSON, and nothing else
    """

    every_pair: bool = False
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Write one HTML page about runs or an experiment.

    Attributes:
        out: the page; null: report.html, in the folder where there is one, else in the current one
    """

    out: str | None = None


def compare(argv: Sequence[str]) -> int:
    """What `chargpt compare RUN RUN ... [--json]` does."""
    folders, flags = split_words(argv, bare=("--json", "--every_pair"))
    about = "Runs that differ in their seeds alone are an arm; each arm is judged against the first, paired by seed."
    options: CompareOptions = Flags("chargpt compare RUN RUN ...", about, {"": CompareOptions}).parse(flags)[""]
    if len(folders) < 2:
        raise UsageError(f"{len(folders)} run folders: two or more are needed, as `chargpt compare out/a out/b`")
    result = comparison(folders, every_pair=options.every_pair)
    if options.json:
        print(json.dumps(result.to_json(), allow_nan=False))
    else:
        show(result)
    return 0


def report(argv: Sequence[str], say: Say) -> int:
    """What `chargpt report [RUN|EXPERIMENT ...] [--out FILE]` does."""
    named, flags = split_words(argv)
    about = "One page about runs, compared, or about experiments; of the newest run, where none is named."
    options: ReportOptions = Flags("chargpt report [FOLDER ...]", about, {"": ReportOptions}).parse(flags)[""]
    require(options.out != "", "out", "''", "must name a file, or be null")
    folders = [Path(name) for name in named] or [_newest()]
    if not named:
        say(f"run: {folders[0]}")
    home = folders[0] if len(folders) == 1 else Path()
    print(page.write(folders, Path(options.out) if options.out else home / PAGE))
    return 0


def _newest() -> Path:
    """The run last started of those that can be compared; the last of all, where none can."""
    runs = newest_first()
    return next((run for run in runs if not read_run(run).trouble), runs[0])


def show(result: Comparison, console: Console | None = None) -> None:
    """The arms as a table, and what may be said of them; on standard output where no other console is given."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, PIPED_WIDTH)
    console.print(table(result))
    lines = [
        f"differ in: {', '.join(result.differing)}" if result.differing else "",
        f"counting alone: {words.lines(result.baselines)}" if result.baselines else "",
        *(f"note: {note}" for note in result.notes),
        *(f"left out: {run}: {why}" for run, why in result.left_out),
    ]
    if result.seconds is not None and result.verdicts_at_seconds:
        lines += [
            f"\nat {words.seconds(result.seconds)} of training, the longest that all reached:",
            *(verdict.sentence for verdict in result.verdicts_at_seconds),
        ]
    said = [verdict.sentence for verdict in result.verdicts] if len(result.verdicts) > 1 else []
    for line in [*lines, "\nafter each arm's last step:", *said, result.headline]:
        if line:
            console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)


def table(result: Comparison) -> Table:
    """A row an arm."""
    unit = "nats per token" if result.unit == "nats" else result.unit
    timed = [] if result.seconds is None else [f"at {words.seconds(result.seconds)}"]
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    drawn.add_column("arm", overflow="fold")
    hidden = ["pseudo-nats, no loss"] if any(arm.pseudo_nats for arm in result.arms) else []
    rest = ("bits/byte", "parameters", "MFLOP/token", "steps", "seconds")
    for column in ("seeds", f"held-out, {unit}", *timed, *hidden, *rest):
        drawn.add_column(column, justify="right")
    for arm in result.arms:
        drawn.add_row(
            Text(arm.name),
            f"{len(arm.seeds)}{', alike' if arm.deterministic else ''}",
            words.estimate(arm.loss, len(arm.seeds)),
            *([words.estimate(arm.loss_at_seconds, len(arm.seeds))] if timed else []),
            *([words.estimate(arm.pseudo_nats, len(arm.seeds))] if hidden else []),
            words.decimals(arm.bits_per_byte),
            words.parameters(arm.parameters),
            words.mega(arm.flops_per_token),
            words.integer(arm.steps),
            words.seconds(arm.seconds.mean),
        )
    return drawn
