"""Standard output, as the console of a person or as a pipe, and what may be done on it."""

import sys

from rich.console import Console

from mingpt.distributed.torchrun_env import rank


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
