"""`chargpt compare` and `chargpt report`: run folders in; a table, a verdict, or a page out.  Without torch."""

import itertools
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from mingpt.cli.terminal import plain, stdout_console
from mingpt.core.atomic_io import write_atomic
from mingpt.core.config_cli import options_of, split_words
from mingpt.core.errors import UsageError, require
from mingpt.core.paths import path_of, shown
from mingpt.core.run_files.records import is_run, newest_first, read_run
from mingpt.report import drawing, formatting, page, tables
from mingpt.report.compare import Comparison
from mingpt.report.drawing import Drawing
from mingpt.report.experiment_files import PAGE
from mingpt.report.significance import Verdict, called

logger = logging.getLogger(__name__)

PIPED_WIDTH = 160  # characters, where the output is no terminal
WIDEST = 1000  # characters, of any table
PRINTED = "-"  # in the place of a file's name: standard output
SPARED = ("MFLOP/token", "steps", "parameters", "bits/byte", "seconds")  # columns, as a narrow terminal loses them


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Tell whether runs differ, over their seeds.

    Attributes:
        every_pair: judge all pairs of arms; False: each against the first, but the arms of a sweep as the sweep did
        json: print everything as one line of JSON, and nothing else; its `rows` are the table of `csv`
        csv: write the table, a row an arm, as CSV to this file; without a file's name it is all that is printed (after
            a space, only a name that ends with .csv is a file's; any other is a run folder)
    """

    every_pair: bool = False
    json: bool = False
    csv: str | None = None

    def __post_init__(self) -> None:
        require(self.csv != "", "csv", "''", "must name a file, or `-`")
        require(not (self.json and self.csv), "csv", self.csv, "can't be with {}", ("json", True))


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Write one HTML page about runs or an experiment.

    Attributes:
        out: the page; null: report.html, in the folder where there is one, else in the current one
        figures: png, pdf, svg, several with commas between: also write every figure so, to figures/ beside the page;
            null: in the page alone
    """

    out: str | None = None
    figures: str | None = None


def compare(argv: Sequence[str]) -> int:
    """What `chargpt compare RUN RUN ... [--json] [--csv[=FILE.csv]]` and `chargpt compare SWEEP` do."""
    folders, flags = split_words(with_csv_named(argv), bare=("--json", "--every_pair"))
    about = "Runs that differ in their seeds alone are an arm; each arm is judged against the first, paired by seed."
    options = options_of("chargpt compare RUN RUN ...", about, CompareOptions, flags)
    result = tables.compared([path_of(folder) for folder in folders], options.every_pair or None)
    rows = tables.rows_of(result)
    if options.json:
        print(json.dumps({**result.to_json(), "rows": rows}, allow_nan=False))
    elif options.csv == PRINTED:
        print(tables.to_csv(rows), end="")
    else:
        if options.csv is not None:
            require(path_of(options.csv).parent.is_dir(), "csv", options.csv, "must lie in a folder that there is")
            write_atomic(path_of(options.csv), tables.to_csv(rows).encode())
        show(result)
        if options.csv is not None:
            print(f"table: {shown(path_of(options.csv))}")
    return 0


def with_csv_named(argv: Sequence[str]) -> list[str]:
    """Give each bare `--csv` its value: the word after it where that ends with .csv, else standard output.

    Other words after it are run folders.
    """
    words, rest = [], list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--csv":
            named = bool(rest) and rest[0].endswith(".csv") and not path_of(rest[0]).is_dir()
            word = f"--csv={rest.pop(0) if named else PRINTED}"
        words.append(word)
    return words


def report(
    argv: Sequence[str],
    defaults: Callable[[], Mapping[str, Any]],
    drawings_of: Callable[[Path], Mapping[str, Drawing]],
) -> int:
    """What `chargpt report [RUN|EXPERIMENT ...] [--out FILE] [--figures FORMATS]` does.

    Args:
        defaults: gives those of every setting; called for the page of a lone run.
        drawings_of: gives the figures of what an experiment measured, by name; called where they are wanted as files.
    """
    named, flags = split_words(argv)
    about = "One page about runs, compared, or about experiments; of the newest run, where none is named."
    options = options_of("chargpt report [FOLDER ...]", about, ReportOptions, flags)
    require(options.out != "", "out", "''", "must name a file, or be null")
    formats = options.figures.split(",") if options.figures is not None else []
    known = f"must be of {', '.join(drawing.FORMATS)}, with commas between"
    require({*formats} <= {*drawing.FORMATS}, "figures", options.figures, known)
    folders = [path_of(name) for name in named] or [_newest()]
    if not named:
        logger.info(f"run: {folders[0]}")
    home = folders[0] if len(folders) == 1 else Path()
    out = path_of(options.out) if options.out else home / PAGE
    made = page.page_of(folders, defaults() if len(folders) == 1 and is_run(folders[0]) else None)
    drawings = dict(_drawings(made, drawings_of)) if formats else {}
    page.save(made, out)
    for (name, drawn), ending in itertools.product(drawings.items(), formats):
        (out.parent / "figures").mkdir(exist_ok=True)
        drawn.save(out.parent / "figures" / f"{name}.{ending}")
    if drawings:
        logger.info(f"figures: {', '.join(drawings)} in {out.parent / 'figures'}")
    print(out)
    return 0


def _drawings(made: page.Page, drawings_of: Callable[[Path], Mapping[str, Drawing]]) -> Iterator[tuple[str, Drawing]]:
    """All figures of a page by the names of their files, which begin with the folder's where there are several parts.

    Raises:
        UsageError: one is in a file alone, and no known measurement draws it.
    """
    for part in made.parts:
        measured: Mapping[str, Drawing] = {}
        if part.folder and any(figure.drawing is None for figure in part.figures):
            measured = drawings_of(part.folder)
        prefix = f"{part.folder.name if part.folder else 'runs'}-" if len(made.parts) > 1 else ""
        for figure in part.figures:
            drawn = figure.drawing or measured.get(figure.name)
            if drawn is None:
                where = f"{part.folder}/figures/{figure.name}.svg"
                raise UsageError(f"{where}: is of no experiment that is known here; leave out --figures, or convert it")
            yield f"{prefix}{figure.name}", drawn


def _newest() -> Path:
    """The run last started of those that can be compared; the last of all, where none can."""
    runs = newest_first()
    return next((run for run in runs if not read_run(run).trouble), runs[0])


def show(result: Comparison, console: Console | None = None) -> None:
    """The arms as a table, and what may be said of them; on standard output where no other console is given."""
    console = console or stdout_console()
    if not console.is_terminal:
        console.width = max(console.width, PIPED_WIDTH)
    drawn, left_out = _that_fits(result, console)
    console.print(drawn)
    lines = [
        f"no room for {', '.join(left_out)}: a wider terminal or --json shows all" if left_out else "",
        f"differ in: {_differing(result)}" if result.differing else "",
        "+N in an arm's name: so many more settings, which its runs' config.yaml has" if _shortened(result) else "",
        f"counting alone: {formatting.lines(result.baselines)}" if result.baselines else "",
        *(f"note: {note}" for note in result.notes),
        *(f"left out: {run}: {why}" for run, why in result.left_out),
    ]
    if result.seconds is not None and result.told_at_seconds:
        lines += [
            f"\nat {formatting.seconds(result.seconds)} of training, the longest that all reached:",
            *_told(result.told_at_seconds),
        ]
    said = _told(result.verdicts) if len(result.verdicts) > 1 else []
    for line in [*lines, "\nafter each arm's last step:", *said, result.headline]:
        if line:
            plain(console, line)


def _told(verdicts: Sequence[Verdict]) -> list[str]:
    """Their sentences; of pairs that have none for the same reason, one for all."""
    why = [v.sentence.partition(f" and {called(v.second)}: ")[2] if v.kind == "none" else "" for v in verdicts]
    together = {reason: number for reason, number in Counter(filter(None, why)).items() if number > 1}
    return [
        *(v.sentence for v, reason in zip(verdicts, why, strict=True) if reason not in together),
        *(f"no verdict on {number} pairs of arms: {reason}" for reason, number in together.items()),
    ]


def _differing(result: Comparison) -> str:
    """`model.cell (elman, gru, lstm)`: each with its value in every arm, since a name may have no room for all."""
    return ", ".join(
        f"{key} ({', '.join(map(formatting.setting, values))})" for key, values in result.differing.items()
    )


def _shortened(result: Comparison) -> bool:
    return any(re.search(r"(^| )\+\d+$", arm.name) for arm in result.arms)


def _that_fits(result: Comparison, console: Console) -> tuple[Table, list[str]]:
    """The arms as a table no wider than `console`, and the columns that had no room there, the least telling first."""
    left_out: list[str] = []
    for column in ("", *SPARED):
        left_out += [column] if column else []
        drawn = table(result, left_out)
        if Measurement.get(console, console.options.update(max_width=WIDEST), drawn).maximum <= console.width:
            break
    return drawn, left_out


def table(result: Comparison, left_out: Sequence[str] = ()) -> Table:
    """A row an arm.

    Args:
        left_out: columns that are not shown.
    """
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    drawn.add_column("arm", overflow="fold")
    columns = {name: cells for name, cells in _columns(result).items() if name not in left_out}
    for name in columns:
        drawn.add_column(name, justify="right")
    for place, arm in enumerate(result.arms):
        drawn.add_row(Text(arm.name), *(cells[place] for cells in columns.values()))
    return drawn


def _columns(result: Comparison) -> dict[str, list[str]]:
    """Of each column the arms' cells."""
    unit = "nats per token" if result.unit == "nats" else result.unit
    arms = result.arms
    found = {
        "seeds": [f"{len(arm.seeds)}{', alike' if arm.deterministic else ''}" for arm in arms],
        f"held-out, {unit}": [formatting.estimate(arm.loss, len(arm.seeds)) for arm in arms],
    }
    if result.seconds is not None and any(arm.loss_at_seconds for arm in arms):
        timed = [formatting.estimate(arm.loss_at_seconds, len(arm.seeds)) for arm in arms]
        found[f"at {formatting.seconds(result.seconds)}"] = timed
    if any(arm.pseudo_nats for arm in arms):
        found["pseudo-nats, no loss"] = [formatting.estimate(arm.pseudo_nats, len(arm.seeds)) for arm in arms]
    return {
        **found,
        "bits/byte": [formatting.decimals(arm.bits_per_byte) for arm in arms],
        "parameters": [formatting.parameters(arm.parameters) for arm in arms],
        "MFLOP/token": [formatting.mega(arm.flops_per_token) for arm in arms],
        "steps": [formatting.integer(arm.steps) for arm in arms],
        "seconds": [formatting.seconds(arm.seconds.mean) for arm in arms],
    }
