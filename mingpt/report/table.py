"""A table of text, with one renderer each to a terminal, Markdown and HTML."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from mingpt.core.statistics import Estimate
from mingpt.report.formatting import estimate, setting

WIDEST = 1000  # characters of a line of text
BREAKABLE = ",/=._"  # characters of a long name after which a line may end


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text under headings.

    Attributes:
        heads: headings, one per column; a line break in one is a space where there is room.
        rows: as many cells each as there are headings.
        names: how many columns, from the left, hold names; the others hold values, aligned to the right.
        title: what the rows are.
        note: explains the columns, for a page to show below.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 1
    title: str = ""
    note: str = ""


def of_records(records: Sequence[Mapping[str, Any]], title: str = "") -> Table:
    """The table of plain records, a column for each key, in the order in which keys first appear."""
    keys = list(dict.fromkeys(key for record in records for key in record))
    text = [key for key in keys if any(isinstance(record.get(key), str) for record in records)]
    names = next((place for place, key in enumerate(keys) if key not in text), len(keys))
    rows = [[value_text(record.get(key)) for key in keys] for record in records]
    return Table(heads=keys, rows=rows, names=names, title=title)


def value_text(value: Any) -> str:
    """A measured value: a mean with its interval as `1.603 ± 0.013`; four significant digits of a number with decimals,
    thousands of a large one parted."""
    found = _estimate(value)
    if found:
        return estimate(found)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return setting(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _estimate(value: Any) -> Estimate | None:
    """A mean with its interval, `{"mean": 1.6, "low": 1.5, "high": 1.7}`; None of anything else."""
    names = ("mean", "low", "high")
    if not isinstance(value, Mapping) or {*value} != {*names}:
        return None
    mean, low, high = (value[name] for name in names)
    numbers = [each for each in (mean, low, high) if isinstance(each, int | float)]
    if len(numbers) == 3:
        return Estimate(mean=mean, low=low, high=high, n=0)
    return Estimate(mean=mean, low=None, high=None, n=1) if numbers == [mean] and low is high is None else None


def to_rich(table: Table, columns: int | None = None) -> Any:
    """The table for a terminal, a rich.table.Table.

    Args:
        columns: how many are shown, from the left; None: all.
    """
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=None, pad_edge=False, header_style="bold")
    for place, head in enumerate(table.heads[:columns]):
        drawn.add_column(Text(head), justify="left" if place < table.names else "right", overflow="fold")
    for row in table.rows:
        drawn.add_row(*map(Text, row[:columns]))
    return drawn


def to_text(table: Table) -> str:
    """The same as plain text, as wide as it is."""
    from rich.console import Console

    written = io.StringIO()
    Console(file=written, width=WIDEST, color_system=None).print(to_rich(table))
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def to_markdown(table: Table) -> str:
    """The table in GitHub's Markdown; what cells hold is shown as it is."""
    aligned = ["---" if place < table.names else "---:" for place in range(len(table.heads))]
    lines = [list(map(markdown_text, table.heads)), aligned, *(list(map(markdown_text, row)) for row in table.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_text(text: str) -> str:
    """Text in one line that Markdown shows as it is: nothing in it ends a cell or begins an element or emphasis."""
    line = " ".join(text.split()).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{letter}" if letter in "|*_`[]" else letter for letter in line)


def to_html(table: Table) -> str:
    """The table as an HTML element that scrolls sideways where it is wide; all text is escaped."""
    columns = range(len(table.heads))
    head = "".join(f'<th scope="col"{_kind(table, at)}>{_broken(table.heads[at])}</th>' for at in columns)
    body = "".join(f"<tr>{''.join(_cells(table, row))}</tr>\n" for row in table.rows)
    wide = '<p class="soft sideways">The table scrolls sideways →</p>\n' if len(table.heads) > 4 else ""
    return (
        f'{wide}<div class="scroll" role="region" tabindex="0" aria-label="Table of {escape(table.title)}">\n'
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
    )


def _cells(table: Table, row: Sequence[str]) -> Iterable[str]:
    for place, text in enumerate(row):
        if place < table.names:
            tag, text = ('th scope="row"', _broken(text)) if place == 0 else ("td", _broken(text))
        else:
            tag, text = "td", escape(text)
        yield f"<{tag}{_kind(table, place)}>{text}</{tag[:2]}>"


def _kind(table: Table, place: int) -> str:
    return ' class="name"' if place < table.names else ' class="number"'


def _broken(text: str) -> str:
    """A name, escaped, that may go on in a next line after any of BREAKABLE; what is copied from it is as it was."""
    escaped = [escape(letter) + ("<wbr>" if letter in BREAKABLE else "") for letter in text]
    return "".join(escaped).removesuffix("<wbr>")
