"""A comparison as a table: a row a variant, for a spreadsheet, a data frame, a notebook and a terminal.

Differences are those from the first variant, positive where the loss is higher than its, paired by seed.
"""

import csv
import importlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from mingpt.core.errors import UsageError
from mingpt.core.paths import path_of
from mingpt.core.run_files.records import check_run, is_run
from mingpt.report import formatting, page
from mingpt.report.compare import Arm, Comparison, comparison
from mingpt.report.experiment_files import RECORD
from mingpt.report.significance import Verdict

Row = dict[str, Any]
COLUMNS = (
    *("variant", "seeds", "val_loss", "val_loss_low", "val_loss_high", "unit"),
    *("difference", "difference_low", "difference_high", "p_holm", "outcome", "minimum_detectable_effect"),
    *("parameters", "seconds"),
)
OUTCOMES = {  # of a verdict whose `first` is the first variant: what it makes of the other
    "better": "worse",
    "worse": "better",
    "same": "equivalent",
    "open": "inconclusive",
    "none": "not tested",
}


def rows_of(result: Comparison) -> list[Row]:
    """A row for each variant, with `COLUMNS`; None where there is nothing to say.

    val_loss: mean over the seeds, with its 95 % interval.  difference: from the first variant, with its 95 % interval.
    p_holm: of the paired t-test, corrected for all tests of the comparison.  minimum_detectable_effect: the difference
    that these seeds would have shown with 80 % power.  seconds: of training, mean.
    """
    first = result.arms[0].name
    beside = {verdict.second: verdict for verdict in result.verdicts if verdict.first == first}
    return [_row(arm, beside.get(arm.name), result.unit) for arm in result.arms]


def _row(arm: Arm, verdict: Verdict | None, unit: str) -> Row:
    loss, found = arm.loss, verdict.difference if verdict else None
    tested = verdict is not None and verdict.kind != "none"
    values = (
        *(arm.name, len(arm.seeds)),
        *((loss.mean, loss.low, loss.high) if loss else (None, None, None)),
        unit,
        *((-found.mean, -found.high, -found.low) if found else (None, None, None)),
        verdict.p if verdict else None,
        OUTCOMES[verdict.kind] if verdict else None,
        found.smallest if found and tested else None,
        *(arm.parameters, arm.seconds.mean),
    )
    return dict(zip(COLUMNS, values, strict=True))


def to_csv(rows: Sequence[Row]) -> str:
    """The rows with a line of names above them; empty where there is nothing to say."""
    written = io.StringIO()
    writer = csv.DictWriter(written, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


@dataclass(frozen=True, repr=False)
class ComparisonTable:
    """Variants compared: what `mingpt.compare` and `mingpt.sweep` return.

    Attributes:
        comparison: all that is known, curves and samples, too.
        folder: of the sweep or experiment; None where runs were named.
    """

    comparison: Comparison
    folder: Path | None = None

    @property
    def rows(self) -> list[Row]:
        """A row a variant; see `rows_of`."""
        return rows_of(self.comparison)

    @property
    def headline(self) -> str:
        """The result in one sentence."""
        return self.comparison.headline

    def to_pandas(self) -> Any:
        """The rows as a pandas.DataFrame.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        return importlib.import_module("pandas").DataFrame(self.rows, columns=list(COLUMNS))  # optional, so only here

    def to_csv(self) -> str:
        """The rows as CSV."""
        return to_csv(self.rows)

    def __repr__(self) -> str:
        rows = self._cells()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        aligned = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
        return "\n".join([*aligned, self.headline])

    def _repr_html_(self) -> str:
        head, *cells = self._cells()
        columns = "".join(f"<th>{escape(name)}</th>" for name in head)
        body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in cells)
        return f"<table><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table><p>{escape(self.headline)}</p>"

    def _cells(self) -> list[list[str]]:
        """What is shown: names of columns, then a list for each variant."""
        unit = "nats per token" if self.comparison.unit == "nats" else self.comparison.unit
        head = ["variant", "seeds", f"validation loss, {unit} (95 % CI)", "difference from the first (95 % CI)"]
        return [
            [*head, "p (Holm)", "outcome", "detectable", "parameters", "seconds"],
            *([*_shown(row)] for row in self.rows),
        ]


def _shown(row: Row) -> Iterable[str]:
    yield row["variant"]
    yield str(row["seeds"])
    for name in ("val_loss", "difference"):
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        interval = "" if low is None else f" ({formatting.number(low)} to {formatting.number(high)})"
        yield formatting.NONE if row[name] is None else f"{formatting.number(row[name])}{interval}"
    p, effect = row["p_holm"], row["minimum_detectable_effect"]
    yield formatting.NONE if p is None else formatting.chance(p).removeprefix("p ").removeprefix("= ")
    yield row["outcome"] or formatting.NONE
    yield formatting.NONE if effect is None else formatting.number(effect)
    yield formatting.parameters(row["parameters"])
    yield formatting.seconds(row["seconds"])


def compare(runs: Any, *, every_pair: bool | None = None) -> ComparisonTable:
    """Compare runs over their seeds: each variant with the first, paired by seed.

        mingpt.compare(["out/a", "out/b"])
        mingpt.compare("out/sweeps/1")

    Args:
        runs: run folders or Runs; the folder of a sweep or an experiment; or, where the caller knows what a variant
            is, the runs of each by its name.
        every_pair: test all pairs of variants, which Holm's correction then is for; None: as a sweep did, else False.

    Raises:
        UsageError: fewer than two runs, an unfinished one, or two of the same settings and seed.
        DataError: runs on different texts.
        CheckpointError: a folder without a run, or a damaged one.
    """
    if isinstance(runs, Mapping):
        named = {name: [_folder(run) for run in _several(each)] for name, each in runs.items()}
        return ComparisonTable(comparison(named, every_pair=bool(every_pair)))
    folders = [_folder(run) for run in _several(runs)]
    whole = folders[0] if len(folders) == 1 and not is_run(folders[0]) else None
    return ComparisonTable(compared(folders, every_pair), whole)


def compared(folders: Sequence[Path], every_pair: bool | None = None) -> Comparison:
    """The runs in these folders compared; of a sweep's or an experiment's folder, all of its runs.

    Args:
        every_pair: None: where one sweep or experiment is named, as it did itself; else False.

    Raises:
        UsageError: as `compare`.
    """
    whole = [folder for folder in folders if (folder / RECORD).is_file() and not is_run(folder)]
    if whole and len(folders) == 1:
        result = page.compared(folders[0], every_pair)
        if result is None:
            raise UsageError(f"{folders[0]}: no run of it has begun yet, so there is nothing to compare")
        return result
    for folder in folders:
        if folder not in whole:
            check_run(folder)
    runs = [run for folder in folders for run in (_runs(folder) if folder in whole else [folder])]
    if len(runs) < 2:
        raise UsageError(
            f"{formatting.counted(len(runs), 'run folder')}: two or more are needed, as `chargpt compare out/a out/b`, "
            "or a sweep's, as `chargpt compare out/sweeps/1`"
        )
    return comparison(runs, every_pair=bool(every_pair))


def _runs(folder: Path) -> list[Path]:
    return [run for runs in page.runs_of(folder).values() for run in runs]


def _several(runs: Any) -> list[Any]:
    return [runs] if isinstance(runs, str | Path) or hasattr(runs, "folder") else list(runs)


def _folder(run: Any) -> Path:
    """A folder, or that of a Run."""
    return path_of(getattr(run, "folder", run))
