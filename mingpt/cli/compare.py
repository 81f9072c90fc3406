"""`chargpt compare` and `chargpt report`: run folders in, a table or a page out.  Without torch."""

import itertools
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from mingpt.cli.terminal import plain, show_table, stdout_console
from mingpt.core.atomic_io import write_atomic
from mingpt.core.command_line import split_words
from mingpt.core.config_cli import options_of
from mingpt.core.errors import UsageError, require
from mingpt.core.paths import path_of, shown
from mingpt.core.run_files.records import is_run, newest_first, read_run
from mingpt.report import columns, drawing, formatting, index, page, tables
from mingpt.report.compare import Comparison
from mingpt.report.drawing import Drawing
from mingpt.report.experiment_files import PAGE
from mingpt.report.table import Table

logger = logging.getLogger(__name__)

PRINTED = "-"  # in the place of a file's name: standard output
ALWAYS = 7  # columns that are shown however narrow the terminal is


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Compare runs over their seeds, with significance tests.

    Attributes:
        every_pair: test all pairs of variants; False: each against the baseline, but all pairs of a sweep's
        json: print everything as one line of JSON, and nothing else; its `rows` are the table of `csv`
        csv: write the table, a row per variant, as CSV to this file; without a file's name it is all that is printed
            (after a space, only a name that ends with .csv is a file's; any other is a run folder)
    """

    every_pair: bool = False
    json: bool = False
    csv: str | None = None

    def __post_init__(self) -> None:
        require(self.csv != "", "csv", "''", "must name a file, or `-`")
        require(not (self.json and self.csv), "csv", self.csv, "can't be with {}", ("json", True))


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Write one HTML page about runs or experiments; an index and all pages of a folder of experiments.

    Attributes:
        out: the page; null: report.html, in the folder where there is one, else in the current one
        figures: png, pdf, svg, several with commas between: also write every figure so, to figures/ next to the page;
            null: in the page alone
    """

    out: str | None = None
    figures: str | None = None


def compare(argv: Sequence[str]) -> int:
    """Run `chargpt compare RUN RUN ... [--json] [--csv[=FILE.csv]]` or `chargpt compare SWEEP`."""
    folders, flags = split_words(with_csv_named(argv), bare=("--json", "--every_pair"))
    about = "Runs that differ in their seeds alone are a variant; each is tested against the first, paired by seed."
    options = options_of("chargpt compare RUN RUN ...", about, CompareOptions, flags)
    result = tables.compared([path_of(folder) for folder in folders], options.every_pair or None)
    rows = columns.records_of(result)
    if options.json:
        print(json.dumps({**result.to_json(), "rows": rows}, allow_nan=False))
    elif options.csv == PRINTED:
        print(columns.to_csv(rows), end="")
    else:
        if options.csv is not None:
            require(path_of(options.csv).parent.is_dir(), "csv", options.csv, "must lie in a folder that there is")
            write_atomic(path_of(options.csv), columns.to_csv(rows).encode())
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
    """Run `chargpt report [RUN|EXPERIMENT|RESULTS ...] [--out FILE] [--figures FORMATS]`; returns the exit code.

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
    if len(folders) == 1 and index.published(folders[0]):
        require(not argv[1:], "folder", folders[0], "holds several experiments, so it takes no option")
        print(index.write_pages(folders[0]))
        return 0
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
        if part.folder and any(figure.drawing is None for figure in part.all_figures):
            measured = drawings_of(part.folder)
        prefix = f"{part.folder.name if part.folder else 'runs'}-" if len(made.parts) > 1 else ""
        for figure in part.all_figures:
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
    """Print the variants and the tests of their differences; on standard output, or on another `console`."""
    console = console or stdout_console()
    left_out = show_table(columns.table_of(result), console, always=ALWAYS)
    pairs = columns.pairs_of(result)
    lines = [
        f"no room for {', '.join(left_out)}: a wider terminal or --json shows all" if left_out else "",
        f"baseline: {result.baseline}; MDE: minimum detectable effect (power 0.8)" if result.tests else "",
        f"differ in: {_differing(result)}" if result.differing else "",
        "+N in a variant's name: N more settings, which its runs' config.yaml has" if _shortened(result) else "",
        f"n-gram baselines (Kneser-Ney): {formatting.losses(result.baselines)}" if result.baselines else "",
        *(f"note: {note}" for note in result.notes),
        *(f"left out: {run}: {why}" for run, why in result.left_out),
    ]
    for line in filter(None, lines):
        plain(console, line)
    if pairs:
        plain(console, "")
        show_table(pairs, console)


def show_experiment(result: Comparison | None, tables_: Sequence[Table]) -> None:
    """Print the comparison of an experiment's variants and the tables of its measurements."""
    if result:
        show(result)
    for table in tables_:
        plain(stdout_console(), f"\n{table.title}")
        show_table(table, stdout_console())


def _differing(result: Comparison) -> str:
    """`model.cell (elman, gru, lstm)`: each with its value in every variant, since a name may have no room for all."""
    return ", ".join(
        f"{key} ({', '.join(map(formatting.setting, values))})" for key, values in result.differing.items()
    )


def _shortened(result: Comparison) -> bool:
    return any(re.search(r"(^| )\+\d+$", each.name) for each in result.variants)
