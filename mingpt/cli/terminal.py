"""Standard output, as the console of a person or as a pipe, and what may be done on it."""

import sys

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable

from mingpt.core.torchrun_env import rank
from mingpt.report.table import WIDEST, Table, to_rich


def stdout_console() -> Console:
    """Standard output: a terminal only where it is one, whatever FORCE_COLOR says; silent but in rank 0."""
    terminal = bool(sys.stdout and sys.stdout.isatty())
    return Console(highlight=False, quiet=rank() > 0, force_terminal=terminal, force_jupyter=False)


def can_redraw(console: Console) -> bool:
    """Whether what is on the screen can be drawn again: not in a pipe, a log or a notebook, nor where NO_COLOR or
    TERM=dumb ask for plain text."""
    able = console.is_terminal and console.is_interactive and not console.legacy_windows
    return able and not console.no_color and not console.quiet and console.encoding.startswith("utf")


def plain(console: Console, text: str) -> None:
    """Print text as it is: no markup, no emoji names.

    In a terminal lines are wrapped between words, but for those that begin with two spaces: commands, to be copied.
    """
    for line in text.split("\n"):
        whole = not console.is_terminal or line.startswith("  ")
        console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=whole)


def show_table(table: Table, console: Console, always: int | None = None) -> list[str]:
    """Print a table; where a terminal is too narrow, without its last columns, whose headings are returned.

    Args:
        always: how many columns, from the left, are shown in any terminal; None: all.
    """
    if not console.is_terminal:
        console.width = WIDEST
    count = len(table.heads)
    while count > (always or count) and _width(to_rich(table, count), console) > console.width:
        count -= 1
    console.print(to_rich(table, count))
    return [" ".join(head.split()) for head in table.heads[count:]]


def _width(drawn: RichTable, console: Console) -> int:
    return Measurement.get(console, console.options.update(max_width=WIDEST), drawn).maximum
