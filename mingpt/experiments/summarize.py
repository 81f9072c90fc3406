"""The end of an experiment: its arms compared, what was measured, and the page."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mingpt.core.atomic_io import write_atomic
from mingpt.core.errors import in_one_line
from mingpt.experiments.base import Cell, Experiment
from mingpt.experiments.drawings import measured
from mingpt.report import page
from mingpt.report.compare import Comparison
from mingpt.report.experiment_files import PAGE, SUMMARY

logger = logging.getLogger(__name__)

Show = Callable[[Comparison], None]


def conclude(experiment: Experiment, folder: Path, cells: Sequence[Cell], *, show: Show) -> None:
    """Write summary.json and report.html from the finished cells; every pair of arms is judged.

    Of an arm in stages the last one's runs are compared.  What was measured beside them says its finding; it is the
    verdict where no arms are.

    Args:
        show: puts the comparison before a person.
    """
    taken = [each.name for each in experiment.measurements]
    summary: dict[str, Any] = {**said_of(experiment, folder), "measured": taken}
    result = page.compared(folder) if cells else None
    if result:
        summary = {"verdict": result.headline, **summary, **result.to_json()}
        show(result)
    for finding in [] if result else summary["findings"]:  # all that there is to say; else the page has them
        logger.info(finding)
    if result or taken:
        write_atomic(folder / SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())
    try:
        written = page.write([folder], folder / PAGE)
    except Exception as error:  # what was found is shown and saved by now
        logger.warning(f"{folder / PAGE}: not written ({in_one_line(error)}); `report {folder}` tries again")
    else:
        logger.info(f"page: {written}")


def said_of(experiment: Experiment, folder: Path) -> dict[str, list[str]]:
    """What the measurements say of their rows: in full, and in brief."""
    return {"findings": findings(experiment, folder), "briefs": findings(experiment, folder, in_brief=True)}


def findings(experiment: Experiment, folder: Path, *, in_brief: bool = False) -> list[str]:
    """What each measurement says of its rows."""
    said = []
    for each in experiment.measurements:
        rows, tell = measured(folder, each.name, each.row), each.brief if in_brief else each.finding
        if tell and rows:
            said.append(tell(rows))
    return [f"{sentence[:1].upper()}{sentence[1:]}" for sentence in said]
