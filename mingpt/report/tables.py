"""`mingpt.compare`: runs compared in a notebook or a script, with the columns of `chargpt compare`."""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mingpt.core.errors import UsageError
from mingpt.core.paths import path_of
from mingpt.core.run_files.records import RunRecord, check_run, is_run
from mingpt.report import columns, formatting, page
from mingpt.report.columns import Record
from mingpt.report.compare import Comparison, comparison
from mingpt.report.experiment_files import is_experiment, runs_of
from mingpt.report.table import to_html, to_text


@dataclass(frozen=True, repr=False)
class ComparisonTable:
    """Variants compared: what `mingpt.compare` and `mingpt.sweep` return.

    Attributes:
        comparison: everything that is known, with curves and samples.
        folder: folder of the sweep or experiment; None where runs were named.
    """

    comparison: Comparison
    folder: Path | None = None

    @property
    def rows(self) -> list[Record]:
        """Plain values of `mingpt.report.columns.COLUMNS` for each variant."""
        return columns.records_of(self.comparison)

    def to_pandas(self) -> Any:
        """The rows as a pandas.DataFrame.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        return importlib.import_module("pandas").DataFrame(self.rows, columns=columns.names())  # optional dependency

    def to_csv(self) -> str:
        """The rows as CSV."""
        return columns.to_csv(self.rows)

    def __repr__(self) -> str:
        return f"{to_text(columns.table_of(self.comparison))}\nbaseline: {self.comparison.baseline}"

    def _repr_html_(self) -> str:
        return to_html(columns.table_of(self.comparison))


def compare(runs: Any, *, every_pair: bool | None = None) -> ComparisonTable:
    """Compare runs over their seeds: each variant with the baseline, which is the first, paired by seed.

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
        named = {name: _folders(each) for name, each in runs.items()}
        return ComparisonTable(comparison(named, every_pair=bool(every_pair)))
    folders = _folders(runs)
    experiment = folders[0] if len(folders) == 1 and not is_run(folders[0]) else None
    return ComparisonTable(compared(folders, every_pair), experiment)


def compared(folders: Sequence[Path], every_pair: bool | None = None) -> Comparison:
    """The runs in these folders compared; of a sweep's or an experiment's folder, all of its runs.

    Args:
        every_pair: None: where one sweep or experiment is named, as it did itself; else False.

    Raises:
        UsageError: as `compare`.
    """
    experiments = [folder for folder in folders if is_experiment(folder) and not is_run(folder)]
    if experiments and len(folders) == 1:
        result = page.compared(folders[0], every_pair is not False)
        if result is None:
            raise UsageError(f"{folders[0]}: no run of it has begun yet, so there is nothing to compare")
        return result
    for folder in folders:
        if folder not in experiments:
            check_run(folder)
    runs = [run for folder in folders for run in (_runs(folder) if folder in experiments else [folder])]
    if len(runs) < 2:
        raise UsageError(
            f"{formatting.counted(len(runs), 'run folder')}: two or more are needed, as `chargpt compare out/a out/b`, "
            "or a sweep's, as `chargpt compare out/sweeps/1`"
        )
    return comparison(runs, every_pair=bool(every_pair))


def _runs(folder: Path) -> list[RunRecord]:
    return [run for runs in runs_of(folder).values() for run in runs]


def _folders(runs: Any) -> list[Path]:
    """The folders of one or several runs, each a folder or a Run.

    Raises:
        UsageError: anything else.
    """
    several = [runs] if isinstance(runs, str | Path) or not isinstance(runs, Iterable) else list(runs)
    folders = [getattr(run, "folder", run) for run in several]
    for folder in folders:
        if not isinstance(folder, str | Path):
            raise UsageError(f"runs={folder!r}: must be run folders, Runs, or lists of these by a variant's name")
    return [path_of(folder) for folder in folders]
