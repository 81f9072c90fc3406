"""The end of an experiment: its variants compared, its measurements' tables, and the page."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from mingpt.core.errors import in_one_line
from mingpt.experiments.base import Experiment, Trial
from mingpt.report import page
from mingpt.report.compare import Comparison
from mingpt.report.experiment_files import PAGE
from mingpt.report.table import Table

logger = logging.getLogger(__name__)

Show = Callable[[Comparison | None, Sequence[Table]], None]


def summarize(experiment: Experiment, folder: Path, trials: Sequence[Trial], *, show: Show) -> None:
    """Print the results of the finished trials and write report.html; every pair of variants is tested.

    Of a variant in stages the last one's runs are compared.

    Args:
        show: prints a comparison and the tables of the measurements.
    """
    show(page.compared(folder) if trials else None, page.measurements(folder))
    try:
        written = page.write([folder], folder / PAGE)
    except Exception as error:  # the results are shown and saved by now
        logger.warning(f"{folder / PAGE}: not written ({in_one_line(error)}); `report {folder}` tries again")
    else:
        logger.info(f"page: {written}")
