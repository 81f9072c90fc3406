"""Published experiments: their figures, their READMEs and, where asked for, their HTML pages, from results/ alone.

    results/README.md, results/NAME/README.md, results/NAME/figures/    by `chargpt experiment publish`
    results/index.html, results/NAME/report.html                        by `chargpt report results`

The same files give the same bytes each time.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib import metadata
from pathlib import Path

from mingpt.core.atomic_io import write_atomic
from mingpt.report import page, pictures
from mingpt.report.experiment_files import PAGE, is_experiment
from mingpt.report.formatting import heading
from mingpt.report.page import COMPUTE, ENVIRONMENT, PAIRS, SETTINGS, Part
from mingpt.report.pictures import Figure
from mingpt.report.table import Table, markdown_text, to_markdown

RESULTS, README, INDEX = Path("results"), "README.md", "index.html"
HINT = "<!-- Made by `chargpt experiment publish`; changes here are lost. -->"
SIDE_BY_SIDE = 2  # texts
SHOWN_WIDTH = 640  # pixels of a figure, or the width of a narrower page


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One published experiment.

    Attributes:
        figure: the file of the figure that answers its question, if there is one; picture: the same, for a page.
    """

    folder: Path
    part: Part
    figure: Path | None
    picture: Figure | None

    @property
    def name(self) -> str:
        """The name of its folder, `rope-quick`."""
        return self.folder.name


def published(results: Path) -> list[Path]:
    """Folders of experiments in `results`, by name."""
    return sorted((folder for folder in results.glob("*/") if is_experiment(folder)), key=lambda folder: folder.name)


def write(results: Path = RESULTS) -> list[Path]:
    """Write the figures and READMEs that are made from `results`; returns the files that changed.

    Raises:
        CheckpointError: a damaged file.
    """
    parts = {folder: page.of_experiment(folder) for folder in published(results)}
    written = [path for folder, part in parts.items() for path in _draw_variants(folder, part)]
    entries = [_entry(folder, part) for folder, part in parts.items()]
    if not entries:
        return []
    made = {entry.folder / README: readme(entry) for entry in entries}
    made[results / README] = _list(entries)
    return [*written, *(path for path, content in made.items() if _written(path, content))]


def write_pages(results: Path) -> Path:
    """Write the HTML page of every experiment in `results`, and the index that links to them; returns the index.

    Raises:
        CheckpointError: a damaged file.
        UsageError: a page can't be written.
    """
    entries = [_entry(folder, page.of_experiment(folder)) for folder in published(results)]
    for entry in entries:
        page.save(page.Page(title=entry.part.title, parts=[entry.part]), entry.folder / PAGE)
    write_atomic(results / INDEX, page.render(INDEX, entries=entries).encode())
    return results / INDEX


def _written(path: Path, content: str) -> bool:
    """Write a file; False where it has this content already."""
    if path.is_file() and path.read_bytes() == content.encode():
        return False
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, content.encode())
    return True


def _draw_variants(folder: Path, part: Part) -> list[Path]:
    """Write the figures of the comparison; returns the files that changed."""
    drawn = [(each.name, each.drawing) for each in part.all_figures if each.drawing]
    made = {folder / "figures" / f"{name}.svg": drawing.svg(paper=True) for name, drawing in drawn}
    return [path for path, content in made.items() if _written(path, content)]


def _entry(folder: Path, part: Part) -> Entry:
    path = folder / "figures" / f"{part.figure.name}.svg" if part.figure else None
    figure = path if path is not None and path.is_file() else None
    return Entry(folder=folder, part=part, figure=figure, picture=pictures.picture(figure, folder) if figure else None)


def readme(entry: Entry) -> str:
    """results/NAME/README.md: question, answer, the figure that shows it, table; then everything else."""
    part = entry.part
    others = [path for path in pictures.pictures(entry.folder) if path != entry.figure]
    figures = {path.stem: _figure(pictures.picture(path, entry.folder), path, entry.folder) for path in others}
    measured = [_measurement(table, figures.pop(table.title, "")) for table in part.measurements]
    blocks = [
        f"# {markdown_text(part.title)}",
        HINT,
        f"**{markdown_text(part.answer)}**" if part.answer else "",
        f"{markdown_text(part.small)}." if part.small else "",
        _figure(entry.picture, entry.figure, entry.folder) if entry.picture and entry.figure else "",
        *_variants(part),
        f"Hypothesis, written before the runs: {markdown_text(part.hypothesis)}" if part.hypothesis else "",
        f"What became of it: {markdown_text(part.hypothesis_outcome)}" if part.hypothesis_outcome else "",
        *_texts(part),
        *measured,
        *(["## Validation losses", *along] if (along := [*figures.values()]) else []),
        *_tables(part),
        f"```sh\n{part.commands[0]}\n```",
        f"`chargpt report {entry.folder.parent.name}/{entry.name}` writes the page with every run, setting and sample.",
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _variants(part: Part) -> Iterable[str]:
    """The comparison, and what explains it."""
    if part.result is None or part.variants is None:
        return
    yield to_markdown(part.variants)
    yield markdown_text(part.variants.note)
    yield "\n".join(f"- {markdown_text(note)}" for note in part.notes)
    yield "\n".join(f"- left out: {markdown_text(f'{run}: {why}')}" for run, why in part.result.left_out)


def _texts(part: Part) -> Iterable[str]:
    """What variants generated after one prompt, side by side."""
    if part.texts:
        yield f"## After {markdown_text(f'“{part.texts[0].prompt}”')}"
        yield "By the first seed of each variant; nothing was selected."
        for place in range(0, len(part.texts), SIDE_BY_SIDE):
            several = part.texts[place : place + SIDE_BY_SIDE]
            table = Table(heads=[each.variant for each in several], rows=[], names=len(several))
            texts = ["<br>".join(map(markdown_text, each.text.splitlines())) for each in several]
            yield f"{to_markdown(table)}\n| {' | '.join(texts)} |"


def _tables(part: Part) -> Iterable[str]:
    """What training took, tests of pairs without the baseline; and, folded, how and where the runs were made."""
    for name, table in part.tables:
        if name in (COMPUTE, PAIRS):
            yield f"## {name}"
            yield to_markdown(table)
            yield markdown_text(table.note)
        if name in (SETTINGS, ENVIRONMENT):
            yield f"<details><summary>{name}</summary>"
            yield to_markdown(table)
            yield "</details>"


def _measurement(table: Table, figure: str) -> str:
    return "\n\n".join(filter(None, [f"## {markdown_text(heading(table.title))}", figure, to_markdown(table)]))


def _list(entries: Iterable[Entry]) -> str:
    """results/README.md: every question with its answer."""
    lines = [
        f"- [{markdown_text(entry.part.title)}]({_link(entry.folder)}/{README}) {markdown_text(entry.part.answer)}"
        + (f" {markdown_text(entry.part.small)}." if entry.part.small else "")
        for entry in entries
    ]
    about = (
        "Each folder holds one experiment: its numbers, figures, and a README with the question, the answer and the "
        "command that reproduces it. `chargpt report results` writes HTML pages of all; `chargpt compare "
        f"results/NAME` prints the comparison. Figures are by matplotlib {metadata.version('matplotlib')}."
    )
    return "\n\n".join(["# Results of the experiments", HINT, about, "\n".join(lines)]) + "\n"


def _figure(picture: Figure, path: Path, home: Path) -> str:
    alt = " ".join(escape(picture.label).split()).replace("|", "&#124;")  # no Markdown inside an attribute
    link = os.path.relpath(path, home).replace(os.sep, "/").replace(" ", "%20")
    return f'<img src="{link}" width="{SHOWN_WIDTH}" alt="{alt}">\n\n{markdown_text(picture.caption)}'


def _link(folder: Path) -> str:
    return folder.name.replace(" ", "%20")
