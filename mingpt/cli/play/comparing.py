"""The view Compare: the table of `chargpt compare`, and the records of experiments.  No torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from mingpt.cli.play.bodies import RequestError
from mingpt.cli.play.catalogue import Catalogue
from mingpt.core.errors import CheckpointError, DataError, in_one_line
from mingpt.core.safe_parsing import read_svg
from mingpt.report import columns, page, pictures, tables
from mingpt.report.experiment_files import RECORD, is_experiment, read_record
from mingpt.report.index import RESULTS
from mingpt.report.record_file import PACKED
from mingpt.report.table import Table

MOST_EXPERIMENTS = 100
PLACES = ("", "*", "*/*")  # below a home, where experiments lie: out/experiments/NAME, out/sweeps/1, results/NAME


def compared(catalogue: Catalogue, names: Sequence[str]) -> dict[str, Any]:
    """Return the table of `chargpt compare` for these runs, and what explains it.

    Raises:
        NoRunError, UsageError, DataError, CheckpointError: as `chargpt compare`.
    """
    result = tables.compared([catalogue.folder(name) for name in names])
    table = columns.table_of(result)
    left_out = [f"left out: {run}: {why}" for run, why in result.left_out]
    return {**cells(table), "notes": [table.note, *result.notes, *left_out]}


def cells(table: Table) -> dict[str, Any]:
    """Return a table as plain lists."""
    heads = [head.replace("\n", " ") for head in table.heads]
    return {"columns": heads, "rows": [list(row) for row in table.rows]}


class Experiments:
    """Records of experiments and sweeps: published ones in results/, and those below the root.

    Args:
        root: the folder below which runs are.
        results: the folder of published ones.
    """

    def __init__(self, root: Path, results: Path = RESULTS) -> None:
        self._homes = {"results": results.resolve(), "": root}
        self._known: dict[tuple[Path, int], dict[str, Any]] = {}

    def folders(self) -> dict[str, Path]:
        """Return the folders of experiments by their names."""
        found: dict[str, Path] = {}
        for prefix, home in self._homes.items():
            places = sorted({place for pattern in PLACES for place in (home.glob(pattern) if pattern else [home])})
            for place in places:
                if place.is_dir() and place.resolve() == place and is_experiment(place):
                    name = "/".join(filter(None, (prefix, place.relative_to(home).as_posix())))
                    found.setdefault(name, place)
        return dict([*found.items()][:MOST_EXPERIMENTS])

    def list(self) -> list[dict[str, Any]]:
        """Return what is shown of each: question, answer, the comparison's table, addresses of figures."""
        return [self._entry(name, folder) for name, folder in self.folders().items()]

    def figure(self, name: str, file: str) -> bytes:
        """Return a figure of an experiment, SVG.

        Raises:
            RequestError: there is no such figure.
        """
        folder = self.folders().get(name)
        path = next((each for each in pictures.pictures(folder) if each.name == file), None) if folder else None
        if folder is None or path is None:
            raise RequestError(f"{name} {file}: there is no such figure")
        try:
            return read_svg(path, folder)
        except (OSError, ValueError) as reason:
            raise RequestError(f"{file}: {in_one_line(reason)}") from None

    def _entry(self, name: str, folder: Path) -> dict[str, Any]:
        changed = max((folder / file).stat().st_mtime_ns for file in (RECORD, PACKED) if (folder / file).is_file())
        key = folder, changed
        if key not in self._known:
            try:
                self._known[key] = _described(name, folder)
            except (CheckpointError, DataError) as damaged:
                self._known[key] = {"name": name, "question": name, "answer": f"error: {in_one_line(damaged)}"}
                self._known[key] |= {"table": None, "figures": []}
        return self._known[key]


def _described(name: str, folder: Path) -> dict[str, Any]:
    record, result = read_record(folder), page.compared(folder)
    return {
        "name": name,
        "question": str(record.get("question") or record.get("name") or name),
        "answer": str(record.get("answer") or ""),
        "table": cells(columns.table_of(result)) if result else None,
        "figures": [
            f"/api/figure?{urlencode({'name': name, 'file': path.name})}" for path in pictures.pictures(folder)
        ],
    }
