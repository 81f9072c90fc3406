"""The end of an experiment: its arms compared, and the page; the one place that hands over to `mingpt.report`."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from mingpt.experiments.base import Cell, Experiment, Say
from mingpt.files import write_atomic
from mingpt.report import page
from mingpt.report.compare import Comparison, comparison

Show = Callable[[Comparison], None]


def conclude(experiment: Experiment, folder: Path, cells: Sequence[Cell], say: Say, *, show: Show) -> None:
    """Write summary.json and report.html from the finished cells; every pair of arms is judged.

    Of an arm in stages the last one's runs are compared.

    Args:
        show: puts the comparison before a person.
    """
    arms: dict[str, list[str | Path]] = {}
    for cell in cells:
        arms.setdefault(cell.arm, []).append(cell.folders[-1])
    if arms:
        result = comparison(arms, metric=experiment.metric, every_pair=True)
        summary = {"verdict": result.headline, "every_pair": True, **result.to_json()}
        write_atomic(folder / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
        show(result)
    say(f"page: {page.write([folder], folder / 'report.html')}")
