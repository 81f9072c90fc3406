"""One HTML page that answers: what was asked, what came out, and how to get it again.  From files alone.

Self-contained: pictures are inside, there is no script, nothing is fetched.  All that comes from files is escaped; a
picture of a file is shown as an image, where no script of its could run.

A page has parts.  A part is an experiment's folder, or all the runs that were named, compared.
"""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mingpt.core.atomic_io import write_atomic
from mingpt.core.errors import CheckpointError, UsageError
from mingpt.core.paths import require_writable
from mingpt.core.run_files.records import is_run
from mingpt.report import formatting
from mingpt.report.compare import Comparison, comparison
from mingpt.report.experiment_files import (
    RECORD,
    cells_of,
    inside,
    last_stage,
    read_record,
    read_rows,
    read_summary,
    smallness,
)
from mingpt.report.headline import brief as brief_headline
from mingpt.report.palette import Palette
from mingpt.report.pictures import ARMS_FIGURE, OWN_CURVES, VIEWS, Figure, loss_figures, picture, pictures
from mingpt.report.run_page import OneRun, one_run
from mingpt.report.significance import Verdict, called

USUAL_CHOICE = "loss on the end of the training part"  # of a learning rate, where a record doesn't say
SHORT = 240  # characters of a finding that stands in a table
FEW = 3  # verdicts that are shown at once; of more, those on the first arm


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of one measurement."""

    name: str
    columns: list[str]
    rows: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Part:
    """An experiment, or runs that were compared."""

    title: str
    verdict: str
    commands: list[str]
    hypothesis: str = ""
    small: str = ""
    findings: list[str] = field(default_factory=list)
    briefs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    result: Comparison | None = None
    figures: list[Figure] = field(default_factory=list)
    measurements: list[Table] = field(default_factory=list)
    run: OneRun | None = None
    folder: Path | None = None

    @property
    def unit(self) -> str:
        return "nats per token" if self.result is None or self.result.unit == "nats" else self.result.unit

    @property
    def brief(self) -> str:
        """What came out, for a table: few numbers or none."""
        return " ".join(map(formatting.said, [*self._brief_verdict, *self.briefs]))

    @property
    def _brief_verdict(self) -> list[str]:
        if self.result is None:
            return [] if self.briefs else [self.verdict]
        losses = {arm.name: arm.loss.mean if arm.loss else None for arm in self.result.arms}
        if self.verdict != self.result.headline or len(losses) == 1:  # an experiment's own words; a lone arm's
            return [self.verdict]
        return [brief_headline(losses, self.result.verdicts, self.result.unit)]

    @property
    def short_findings(self) -> list[str]:
        """The first two that fit beside a verdict."""
        return [finding for finding in self.findings if len(finding) <= SHORT][:2]

    def about_first(self, verdicts: Sequence[Verdict]) -> list[Verdict]:
        """Those on the arm that the headline compares the others with; all, where they are few."""
        first = next((arm.name for arm in self.result.arms if arm.loss), None) if self.result else None
        return [each for each in verdicts if len(verdicts) <= FEW or first in (each.first, each.second)]

    @property
    def environment(self) -> dict[str, Any]:
        """What is no list, one level deep."""
        found: dict[str, Any] = {}
        for key, value in (self.result.environment if self.result else {}).items():
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
        defaults: of every setting, to name those of a lone run that differ; None: not known.

    Raises:
        UsageError: nothing finished in a folder.
        DataError: runs on different texts.
        CheckpointError: a folder that is neither, or damaged.
    """
    runs = [folder for folder in folders if is_run(folder)]
    experiments = [folder for folder in folders if not is_run(folder)]
    for folder in experiments:
        if not (folder / RECORD).is_file():
            raise CheckpointError(f"{folder}: neither a run (no config.yaml) nor an experiment (no {RECORD})")
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
    runs = [run for arm in result.arms for run in arm.runs]
    arms = len(result.arms)
    title = f"The run {runs[0]}" if len(runs) == 1 else f"{len(runs)} runs in {arms} arm{'s' * (arms > 1)}"
    return Part(
        title=title,
        verdict=result.headline,
        notes=result.notes,
        result=result,
        figures=loss_figures(result),
        commands=[
            *(shlex.join(["chargpt", f"--config={run}/config.yaml"]) for run in runs),
            f"chargpt report {named}",
        ],
        run=one_run(Path(runs[0]), defaults) if len(runs) == 1 else None,
    )


def of_experiment(folder: Path) -> Part:
    """What an experiment found: record.json, its cells, and summary.json's `verdict` and `notes` where it has them."""
    record, summary = read_record(folder), read_summary(folder)
    result = compared(folder)
    drawn = [path for path in pictures(folder) if not path.name.startswith(ARMS_FIGURE)]
    first = [picture(path, folder) for path in drawn if path.stem == OWN_CURVES]
    others = [picture(path, folder) for path in drawn if path.stem != OWN_CURVES]
    look = Palette(record.get("arms", {}))  # as in the figures of what was measured
    small, notes = smallness(record), _rates(record.get("chosen_learning_rates") or {})
    findings = [str(finding) for finding in summary.get("findings", [])]
    return Part(
        title=str(record.get("question") or record.get("name") or folder.name),
        verdict=str(summary.get("verdict") or (result.headline if result else _shown(findings, others))),
        hypothesis=str(record.get("hypothesis") or ""),
        small=small,
        findings=findings if result else findings[1:],
        briefs=[str(each) for each in summary.get("briefs", [])],
        notes=list(dict.fromkeys([*notes, *map(str, summary.get("notes", [])), *(result.notes if result else [])])),
        result=result,
        figures=[*first, *(loss_figures(result, small, VIEWS[len(first) :], look) if result else []), *others],
        measurements=_measurements(read_rows(folder)),
        folder=folder,
        commands=[str(record.get("command") or f"chargpt experiment {record.get('name', folder.name)}")],
    )


def compared(folder: Path, every_pair: bool | None = None) -> Comparison | None:
    """The arms of the experiment in `folder`, from its cells as they are; None without any.

    Cells whose numbers stopped being numbers are left out with what they said.  every_pair: None: as its summary.
    """
    record, cells = read_record(folder), runs_of(folder)
    if every_pair is None:  # as there, since Holm's correction depends on it
        every_pair = bool(read_summary(folder).get("every_pair", True))
    if not cells:
        return None
    found = _from_within(folder, comparison(cells, every_pair=every_pair, keep_going=True))
    return replace(found, left_out=[*found.left_out, *record.get("hopeless", {}).items()])


def _rates(chosen: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """How each arm came to its learning rate, and where one might want another than any that was tried."""
    by: dict[str, list[str]] = {}
    for arm, each in chosen.items():
        by.setdefault(str(each.get("decided_by") or USUAL_CHOICE), []).append(f"{called(arm)} {each['chosen']:g}")
    said = [f"learning rates, each arm's best of those tried by its {why}: {', '.join(r)}" for why, r in by.items()]
    wanting = {"lowest": "less", "highest": "more"}
    for end, word in wanting.items():
        arms = [called(arm) for arm, each in chosen.items() if each.get("end_of_grid") == end]
        said += (
            [f"the {end} rate tried was the best of {', '.join(arms)}, so {word} might do better still"] if arms else []
        )
    return said


def _from_within(folder: Path, result: Comparison) -> Comparison:
    """Its runs named from the experiment's folder, wherever that lies."""
    arms = [replace(arm, runs=[inside(run, folder) for run in arm.runs]) for arm in result.arms]
    return replace(result, arms=arms, left_out=[(inside(run, folder), why) for run, why in result.left_out])


def _shown(findings: Sequence[str], drawn: Sequence[Figure]) -> str:
    """What stands for a verdict where nothing was compared."""
    return next(iter([*findings, *(figure.label for figure in drawn)]), "nothing was found yet")


ENDS_IN_TEXT, ENDS_IN_TABLE = ",/", ",/=._"  # of a long name: where a line may end, in a wide column and a narrow one


def breaking(form: Callable[[str], str], ends: str) -> Callable[[str], str]:
    """`form` as HTML in which a line may end after any letter of `ends`; what is copied from it is as it was."""
    from markupsafe import Markup, escape  # which jinja2 is built on

    return lambda text: Markup(re.sub(rf"(?<=[{ends}])(?=[A-Za-z])", "<wbr>", escape(form(text))))


def render(template: str, **values: Any) -> str:
    """One of this folder's templates as HTML."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(formatting.FORMS)
    environment.filters["name"] = breaking(str, ENDS_IN_TABLE)
    for form in (formatting.sentence, formatting.said):  # which name arms and runs
        environment.filters[form.__name__] = breaking(form, ENDS_IN_TEXT)
    content, look = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in (template, "look.css"))
    return environment.from_string(content).render(look=look, **values)


def runs_of(folder: Path) -> dict[str, list[Path]]:
    """The last stage of every cell of an experiment by its arm, in the record's order; without cells that have not
    begun, or never will end."""
    record = read_record(folder)
    hopeless = record.get("hopeless", {})
    found = {
        arm: [last_stage(cell) for cell in cells if inside(cell, folder) not in hopeless]
        for arm, cells in cells_of(folder, record).items()
    }
    begun = {arm: [run for run in runs if is_run(run)] for arm, runs in found.items()}
    return {arm: runs for arm, runs in begun.items() if runs}


def _measurements(rows: Sequence[dict[str, Any]]) -> list[Table]:
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(str(row.get("measurement", "measurements")), []).append(row)
    tables = []
    for name, each in by_name.items():
        columns = list(dict.fromkeys(key for row in each for key in row if key != "measurement"))
        full = [{column: row.get(column) for column in columns} for row in each]
        tables.append(Table(name=name, columns=columns, rows=full))
    return tables
