"""`chargpt audit`: a target in, a table or JSON out."""

import json
import sys

from mingpt.cli.options import AuditOptions
from mingpt.cli.terminal import plain, show_table, stdout_console
from mingpt.core.errors import UsageError
from mingpt.core.paths import path_of
from mingpt.core.shell import visible
from mingpt.interop.audit import auditing
from mingpt.interop.audit.checks import CHECKS, in_order
from mingpt.interop.audit.results import FAIL, Report, Result
from mingpt.report.formatting import seconds
from mingpt.report.table import Table


def audit(target: str, options: AuditOptions) -> int:
    """Audit `target`, print the report, and return the exit code: 1 if a check fails."""
    how = {name: getattr(options, name) for name in ("vocab_size", "block_size", "thorough", "trust")}
    text = None if options.text is None else _read(options.text)
    report = auditing.audit(target, **how, text=text, progress=show_progress)
    if options.json:
        print(json.dumps(report.to_json(), default=str))
    else:
        show(report)
    return 0 if report.passed else 1


def _read(path: str) -> str:
    try:
        return path_of(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"text={path}: can't be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None


def show_progress(name: str, result: Result | None) -> None:
    """Report on standard error which check is under way, and how each ended; in a terminal the line is replaced."""
    terminal = sys.stderr.isatty()
    number = f"{in_order().index(name) + 1}/{len(CHECKS)}"
    if result is None and terminal:
        print(f"\r\x1b[K{number} {name} ...", end="", file=sys.stderr, flush=True)
    elif result is not None:
        print("\r\x1b[K" if terminal else f"{number} {name}: {result.outcome}\n", end="", file=sys.stderr, flush=True)


def table_of(report: Report) -> Table:
    """Return the checks, their outcomes and what was found."""
    rows = [[name, result.outcome, visible(result.summary)] for name, result in report.results.items()]
    return Table(heads=["check", "outcome", "what was found"], rows=rows, names=3, title=f"audit of {report.target}")


def show(report: Report) -> None:
    """Print the table of the checks, and how to reproduce each failure."""
    console = stdout_console()
    known = [
        f"{name.replace('_', ' ')} {value:,}" if isinstance(value, int) else f"{value}"
        for name, value in report.facts.items()
        if value and name != "noise"
    ]
    plain(console, f"{visible(report.target)}: {', '.join(known)}")
    show_table(table_of(report), console)
    for name, result in report.results.items():
        if result.outcome == FAIL:
            plain(
                console,
                f"\n{name} fails; to reproduce:\n\n" + "".join(f"  {line}\n" for line in result.reproduce.splitlines()),
            )
    plain(console, f"{report.verdict} ({seconds(report.seconds)})")
