"""One HTML page of runs or experiments, from files alone: question, answer, tables, figures, samples, command.

Self-contained: figures are inside, there is no script, nothing is fetched.  All text from files is escaped; a figure
from a file is shown as an image, where no script in it could run.

A page has parts.  A part is an experiment's folder, or all the runs that were named, compared.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mingpt.core.atomic_io import write_atomic
from mingpt.core.errors import CheckpointError, UsageError
from mingpt.core.paths import did_you_mean_folder, require_writable
from mingpt.core.run_files.reading import Record
from mingpt.core.run_files.records import is_run
from mingpt.core.statistics import MARGIN
from mingpt.report import columns
from mingpt.report.compare import Comparison, comparison
from mingpt.report.experiment_files import (
    RECORD,
    GeneratedText,
    inside,
    is_experiment,
    read_record,
    read_rows,
    runs_of,
    smallness,
    texts_of,
)
from mingpt.report.formatting import NONE, counted, heading, integer, number, setting
from mingpt.report.palette import Palette
from mingpt.report.pictures import DIFFERENCE, OWN_CURVES, VIEWS, Figure, is_own, own_figures, picture, pictures
from mingpt.report.run_page import OneRun, key_values, one_run
from mingpt.report.table import Table, of_records, to_html

USUAL_CHOICE = "loss on the end of the training part"  # of a learning rate, where a record doesn't say
COMPUTE, PAIRS = "Compute", "Other pairs of variants"  # headings
SETTINGS, ENVIRONMENT = "Settings of all variants", "Environment"
OF_A_RUN = ("defaults", "model")  # in its environment: not where it was made
MOST_ROWS = 200  # of a measurement, on a page


@dataclass(frozen=True, kw_only=True)
class Part:
    """An experiment, or runs that were compared.

    Attributes:
        answer: hand-written, of the experiment's question; empty: none was written.
        hypothesis_outcome: hand-written, too.
        figure: the one that answers the question; None: there is none.
        figures: the others.
        small: what its quick form makes smaller.
        texts: what variants generated after the same prompt.
        measurements: a table of each.
    """

    title: str
    commands: list[str]
    answer: str = ""
    hypothesis: str = ""
    hypothesis_outcome: str = ""
    small: str = ""
    notes: list[str] = field(default_factory=list)
    result: Comparison | None = None
    figure: Figure | None = None
    figures: list[Figure] = field(default_factory=list)
    texts: list[GeneratedText] = field(default_factory=list)
    measurements: list[Table] = field(default_factory=list)
    run: OneRun | None = None
    folder: Path | None = None

    @property
    def all_figures(self) -> list[Figure]:
        """The one that answers the question, where there is one, and the others."""
        return [*([self.figure] if self.figure else []), *self.figures]

    @property
    def variants(self) -> Table | None:
        """The comparison, a row for each variant; of a lone run all that is known."""
        table = columns.table_of if self.run else columns.outcomes_of
        return table(self.result) if self.result else None

    @property
    def tables(self) -> list[tuple[str, Table]]:
        """What else there is in numbers, with its heading."""
        found = [(heading(table.title), table) for table in self.measurements]
        if self.result is None:
            return found
        found += [(COMPUTE, columns.compute_of(self.result))] if self.run is None else []
        pairs = columns.pairs_of(self.result)
        found += [(PAIRS, pairs)] if pairs else []
        found += [("Validation loss of every run", _every_run(self.result))] if self.run is None else []
        if self.run:
            found += [(table.title, table) for table in self.run.tables]
        else:
            found += [("Settings that differ", _differing(self.result))] if self.result.differing else []
            found += [(SETTINGS, key_values(self.result.common, "the settings of all variants"))]
        environment = _one_level({k: v for k, v in self.result.environment.items() if k not in OF_A_RUN})
        return [*found, (ENVIRONMENT, key_values(environment, "the environment"))] if environment else found


def _every_run(result: Comparison) -> Table:
    rows = [
        [run, each.name, str(seed), NONE if loss is None else number(loss)]
        for each in result.variants
        for run, seed, loss in zip(each.runs, each.seeds, each.losses, strict=True)
    ]
    return Table(heads=["run", "variant", "seed", "validation loss"], rows=rows, names=2, title="every run")


def _differing(result: Comparison) -> Table:
    heads = ["setting", *(each.name for each in result.variants)]
    rows = [[key, *map(setting, values)] for key, values in result.differing.items()]
    return Table(heads=heads, rows=rows, names=len(heads), title="settings that differ")


def _one_level(environment: Mapping[str, Any]) -> dict[str, Any]:
    """What is no list, one level deep."""
    found: dict[str, Any] = {}
    for key, value in environment.items():
        found |= {f"{key} {k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return {key: value for key, value in found.items() if not isinstance(value, dict | list)}


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the template shows."""

    title: str
    parts: list[Part]


def write(folders: Sequence[Path], out: Path) -> Path:
    """Write the page about these run and experiment folders to `out`, and return it.

    Raises:
        UsageError, DataError, CheckpointError: as `page_of` and `save`.
    """
    return save(page_of(folders), out)


def page_of(folders: Sequence[Path], defaults: Mapping[str, Any] | None = None) -> Page:
    """What the page about these run and experiment folders shows.

    Args:
        defaults: default of every setting, to name those of a lone run that differ; None: not known.

    Raises:
        UsageError: nothing finished in a folder.
        DataError: runs on different texts.
        CheckpointError: a folder that is neither, or damaged.
    """
    runs = [folder for folder in folders if is_run(folder)]
    experiments = [folder for folder in folders if not is_run(folder)]
    for folder in experiments:
        if not is_experiment(folder):
            none = f"neither a run (no config.yaml) nor an experiment (no {RECORD})"
            raise CheckpointError(f"{folder}: {none}{did_you_mean_folder(folder)}")
    parts = [*([of_runs(runs, defaults)] if runs else []), *(of_experiment(folder) for folder in experiments)]
    return Page(title=parts[0].title if len(parts) == 1 else f"{len(parts)} reports", parts=parts)


def save(page: Page, out: Path) -> Path:
    """Write a page to `out`, and return it.

    Raises:
        UsageError: `out` can't be written.
    """
    content = render("page.html", page=page)
    require_writable(out)
    if out.is_dir():
        raise UsageError(f"out={out}: is a folder; must name a file")
    write_atomic(out, content.encode())
    return out


def of_runs(folders: Sequence[Path], defaults: Mapping[str, Any] | None = None) -> Part:
    """All that these runs say; unfinished ones are left out and named.

    Args:
        defaults: as for `write`.
    """
    result = comparison(folders, keep_going=True)
    named = " ".join(shlex.quote(str(folder)) for folder in folders)
    runs = [run for each in result.variants for run in each.runs]
    variants = counted(len(result.variants), "variant")
    drawn = own_figures(result)
    first = next((each for each in drawn if each.name == DIFFERENCE), None)
    title = f"The run {runs[0]}" if len(runs) == 1 else f"{len(runs)} runs of {variants}"
    return Part(
        title=title,
        notes=result.notes,
        result=result,
        figure=first,
        figures=[each for each in drawn if each is not first],
        commands=[
            *(shlex.join(["chargpt", f"--config={run}/config.yaml"]) for run in runs),
            f"chargpt report {named}",
        ],
        run=one_run(Path(runs[0]), defaults) if len(runs) == 1 else None,
    )


def of_experiment(folder: Path) -> Part:
    """An experiment from its folder: its record, its runs compared, and the tables of its measurements."""
    record, result = read_record(folder), compared(folder)
    small, rates = smallness(record), _rates(record.get("chosen_learning_rates") or {})
    first, others = _answering(record, _figures(folder, record, result, small))
    return Part(
        title=str(record.get("question") or record.get("name") or folder.name),
        answer=str(record.get("answer") or ""),
        hypothesis=str(record.get("hypothesis") or ""),
        hypothesis_outcome=str(record.get("hypothesis_outcome") or ""),
        small=small,
        notes=[*rates, *(result.notes if result else [])],
        result=result,
        figure=first,
        figures=others,
        measurements=measurements(folder),
        texts=texts_of(folder),
        folder=folder,
        commands=[str(record.get("command") or f"chargpt experiment {record.get('name', folder.name)}")],
    )


def _figures(folder: Path, record: Record, result: Comparison | None, small: str) -> list[Figure]:
    """Differences and losses of the variants, and what was measured; losses over all stages replace those by step."""
    files = [picture(path, folder) for path in pictures(folder) if not is_own(path.stem)]
    staged = any(each.name == OWN_CURVES for each in files)
    look = Palette(record.get("arms", {}))  # as in the figures of what was measured
    own = own_figures(result, small, VIEWS[staged:], look) if result else []
    return [*own, *sorted(files, key=lambda figure: figure.name != OWN_CURVES)]


def _answering(record: Record, figures: list[Figure]) -> tuple[Figure | None, list[Figure]]:
    """The figure that answers the question, and the others: the record's, the differences, or the first."""
    names = [record.get("figure"), DIFFERENCE, OWN_CURVES, *(figure.name for figure in figures)]
    by_name = {figure.name: figure for figure in figures}
    first = next((by_name[name] for name in names if name in by_name), None)
    return first, [figure for figure in figures if figure is not first]


def measurements(folder: Path) -> list[Table]:
    """A table of each measurement: the one in the record, or else its rows."""
    made = read_record(folder).get("tables", {})
    by_name: dict[str, list[Record]] = {}
    for row in read_rows(folder):
        by_name.setdefault(str(row["measurement"]), []).append({k: v for k, v in row.items() if k != "measurement"})
    return [of_records(made.get(name, rows)[:MOST_ROWS], name) for name, rows in by_name.items()]


def compared(folder: Path, every_pair: bool = True) -> Comparison | None:
    """The variants of the experiment in `folder`, every pair tested, from its runs as they are; None without any.

    Diverged trials are left out with their reason.
    """
    record, trials = read_record(folder), runs_of(folder)
    if not trials:
        return None
    margin = record.get("margin", MARGIN)
    found = _from_within(folder, comparison(trials, every_pair=every_pair, keep_going=True, margin=margin))
    return replace(found, left_out=[*found.left_out, *record.get("hopeless", {}).items()])


def _rates(chosen: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """How the learning rates were chosen, and which variants' best rate lies at an end of those tried."""
    by: dict[str, list[str]] = {}
    for variant, each in chosen.items():
        by.setdefault(str(each.get("decided_by") or USUAL_CHOICE), []).append(f"{variant} {each['chosen']:g}")
    notes = [f"learning rates, each variant's best by its {why}: {', '.join(rates)}" for why, rates in by.items()]
    for end in ("lowest", "highest"):
        variants = [variant for variant, each in chosen.items() if each.get("end_of_grid") == end]
        notes += [f"best learning rate is the {end} tried: {', '.join(variants)}"] if variants else []
    return notes


def _from_within(folder: Path, result: Comparison) -> Comparison:
    """Its runs named from the experiment's folder, wherever that lies."""
    variants = [replace(each, runs=[inside(run, folder) for run in each.runs]) for each in result.variants]
    return replace(result, variants=variants, left_out=[(inside(run, folder), why) for run, why in result.left_out])


def render(template: str, **values: Any) -> str:
    """One of this folder's templates as HTML."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(html=to_html, integer=integer)
    content, look = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in (template, "look.css"))
    return environment.from_string(content).render(look=look, **values)
