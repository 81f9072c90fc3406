"""All published experiments at a glance, made from results/ alone: the same files give the same bytes, each time.

    results/NAME/report.html, figures/held-out-by-*.svg
    results/index.html    a question, a verdict and a figure each
    results/README.md     the same where HTML isn't rendered, with numbers
    README.md             its table, between <!-- results --> and <!-- /results -->
    docs/ideas/*.md       a verdict, between <!-- verdict: NAME --> and <!-- /verdict -->

A full experiment stands before its quick form, and alone where only one is shown.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import metadata
from pathlib import Path

from mingpt.core.atomic_io import write_atomic
from mingpt.core.errors import UsageError
from mingpt.report import formatting, page, pictures
from mingpt.report.experiment_files import PAGE, RECORD, read_record
from mingpt.report.page import Part
from mingpt.report.palette import Palette
from mingpt.report.pictures import ARMS_FIGURE, OWN_CURVES, Figure

RESULTS, README, IDEAS = Path("results"), Path("README.md"), Path("docs/ideas")
BEGIN, END = "<!-- results -->", "<!-- /results -->"
VERDICT = re.compile(r"(<!-- verdict: (?P<name>[\w-]+) -->)(?:(?!<!-- verdict:).)*?(<!-- /verdict -->)", re.DOTALL)
OPEN, CLOSE = "<!-- verdict:", "<!-- /verdict -->"
HINT = "<!-- Made by `chargpt experiment publish` from results/; changes here are lost. -->"
SHOWN_WIDTH = 640  # pixels of a figure, or the width of a narrower page


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One published experiment.

    Attributes:
        name: of its folder, `rope-quick`; `of` is the experiment's own, `rope`.
        figure: the file that tells most, if there is one; picture: it, for a page.
    """

    name: str
    of: str
    folder: Path
    part: Part
    figure: Path | None
    picture: Figure | None


def published(results: Path) -> list[Path]:
    """Folders of experiments, the full form before the quick one."""
    return sorted((path.parent for path in results.glob(f"*/{RECORD}")), key=lambda folder: folder.name)


def write(results: Path = RESULTS, readme: Path = README, ideas: Path = IDEAS) -> list[Path]:
    """Write everything that is made from `results`; returns what was written, of figures, too.

    A README or a page of `ideas` without marks is left as it is.

    Raises:
        UsageError: a README or a page of `ideas` with one mark and not the other.
        CheckpointError: a damaged file.
    """
    parts = {folder: page.of_experiment(folder) for folder in published(results)}
    written = [path for folder, part in parts.items() for path in _draw_arms(folder, part)]
    entries = [_entry(folder, part) for folder, part in parts.items()]
    if not entries:
        return []
    made = {entry.folder / PAGE: _page(entry) for entry in entries}
    made[results / "index.html"] = page.render("index.html", entries=entries)
    made[results / "README.md"] = _markdown(entries)
    if readme.is_file():
        made[readme] = with_results(readme.read_text(encoding="utf-8"), table(_one_each(entries), readme.parent))
    for path in sorted(ideas.glob("*.md")):
        made[path] = with_verdicts(path.read_text(encoding="utf-8"), entries, path)
    return [*written, *(path for path, content in made.items() if _written(path, content))]


def _written(path: Path, content: str) -> bool:
    """Whether it had to be, since something else stood there."""
    if path.is_file() and path.read_bytes() == content.encode():
        return False
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, content.encode())
    return True


def _draw_arms(folder: Path, part: Part) -> list[Path]:
    """Files of the figures of its arms; those that had to be written."""
    look = Palette(read_record(folder).get("arms", {}))
    drawn = pictures.loss_figures(part.result, part.small, palette=look) if part.result else []
    made = {folder / "figures" / f"{each.name}.svg": each.drawing.svg(paper=True) for each in drawn if each.drawing}
    return [path for path, content in made.items() if _written(path, content)]


def _entry(folder: Path, part: Part) -> Entry:
    record = read_record(folder)
    key = _key_figure(folder, record.get("measurements", []))
    return Entry(
        name=folder.name,
        of=str(record.get("name", folder.name)),
        folder=folder,
        part=part,
        figure=key,
        picture=pictures.picture(key, folder) if key else None,
    )


def _key_figure(folder: Path, measurements: Sequence[str]) -> Path | None:
    """The loss by steps over all stages, the loss of the arms, or else the first that was measured."""
    names = (OWN_CURVES, f"{ARMS_FIGURE}steps", *measurements)
    paths = [folder / "figures" / f"{name}.svg" for name in names]
    return next((path for path in paths if path.is_file()), None)


def _page(entry: Entry) -> str:
    return page.render("page.html", page=page.Page(title=entry.part.title, parts=[entry.part]))


def _one_each(entries: Sequence[Entry]) -> list[Entry]:
    """The full form of an experiment, or else its quick one."""
    chosen: dict[str, Entry] = {}
    for entry in entries:
        chosen.setdefault(entry.of, entry)
    return list(chosen.values())


def table(entries: Sequence[Entry], home: Path) -> str:
    """A question, its answer and a figure below, for each experiment, for a Markdown file in `home`."""
    said_ = []
    for entry in entries:
        shown = f"\n\n{_image(entry, home)}" if entry.figure else ""
        small = " (small, quick form)" if entry.part.small else ""
        links = f"[numbers]({_link(entry.folder.parent / 'README.md', home)}#{entry.name.lower()})"
        links += f", [page]({_link(entry.folder / PAGE, home)})"
        said = f"**{_cell(entry.part.title)}** {_cell(entry.part.brief)}<br>{links}{small}"
        said_.append(f"{said}{shown}")
    return "\n\n".join([HINT, *said_])


def _markdown(entries: Sequence[Entry]) -> str:
    """results/README.md."""
    home = entries[0].folder.parent
    said = [
        "# What the experiments found",
        HINT,
        "Each folder is the record of one experiment: its question and settings (`record.json`), every run's numbers "
        "(`cells/`), what was measured beside them (`measurements.jsonl`), and `report.html`, a page to open in a "
        "browser; [index.html](index.html) leads to all. `chargpt report results/NAME` draws a page anew; figures "
        f"here are by matplotlib {metadata.version('matplotlib')}.",
        *(_section(entry, home) for entry in entries),
    ]
    return "\n\n".join(said) + "\n"


def _section(entry: Entry, home: Path) -> str:
    part = entry.part
    said = [f"## {entry.name}", f"**{_cell(part.title)}** {_cell(formatting.said(part.verdict))}"]
    said += [f"Expected beforehand: {_cell(formatting.sentence(part.hypothesis))}"] if part.hypothesis else []
    said += [_cell(formatting.sentence(part.small))] if part.small else []
    said += [_list(part.findings)] if part.findings else []
    said += [_image(entry, home)] if entry.figure else []
    said += [_arms(part)] if part.result else []
    others = [path for path in pictures.pictures(entry.folder) if path != entry.figure]
    links = [(pictures.picture(path, entry.folder).caption.partition(". ")[0].rstrip("."), path) for path in others]
    said += ["\n".join(f"- Figure: [{_cell(caption)}]({_link(path, home)})" for caption, path in links)]
    said += [f"[Page]({_link(entry.folder / PAGE, home)})."]
    said += [f"```sh\n{part.commands[0]}\n```"]
    return "\n\n".join(filter(None, said))


def _arms(part: Part) -> str:
    """The arms' numbers as a Markdown table."""
    result = part.result
    assert result
    timed = result.seconds is not None
    at = [f"loss at {formatting.seconds(result.seconds)}"] if result.seconds is not None else []
    heads = ["arm", "seeds", f"held-out loss, {part.unit}", *at, "parameters", "MFLOP per token"]
    rows = [
        [
            _cell(arm.name),
            f"{len(arm.seeds)}{', alike' if arm.deterministic else ''}",
            formatting.estimate(arm.loss, len(arm.seeds)),
            *([formatting.estimate(arm.loss_at_seconds, len(arm.seeds))] if timed else []),
            formatting.parameters(arm.parameters),
            formatting.mega(arm.flops_per_token),
        ]
        for arm in result.arms
    ]
    counted = f"\n\nCounting alone reaches: {formatting.lines(result.baselines)}." if result.baselines else ""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + counted


def with_results(text: str, content: str) -> str:
    """`text` with `content` between its marks; as it is without marks.

    Raises:
        UsageError: one mark is missing, or a mark stands there twice.
    """
    if BEGIN not in text and END not in text:
        return text
    if (text.count(BEGIN), text.count(END)) != (1, 1) or text.index(BEGIN) > text.index(END):
        raise UsageError(f"README: must hold {BEGIN} and then {END}, once each")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{content}\n{END}{rest.partition(END)[2]}"


def with_verdicts(text: str, entries: Sequence[Entry], path: Path) -> str:
    """`text` of the file `path` with each verdict that is known between its marks; others stay as they are.

    An experiment's name means its full form, or else its quick one; `NAME-quick` that one alone.

    Raises:
        UsageError: a mark without the other.
    """
    if {text.count(OPEN), text.count(CLOSE)} != {len(VERDICT.findall(text))}:
        raise UsageError(f"{path}: must hold a {CLOSE} after each {OPEN} NAME -->, and none else")
    home, known = path.parent, {entry.of: entry for entry in _one_each(entries)}
    known |= {entry.name: entry for entry in entries}

    def said(found: re.Match[str]) -> str:
        entry = known.get(found["name"])
        if entry is None:
            return found[0]
        small = f" {_cell(formatting.sentence(entry.part.small))}" if entry.part.small else ""
        link = f"[numbers and figures]({_link(entry.folder.parent / 'README.md', home)}#{entry.name.lower()})"
        findings = f"\n{_list(entry.part.findings)}\n" if entry.part.findings else ""
        return f"{found[1]}\n{_cell(formatting.said(entry.part.verdict))}{small} {link}\n{findings}{found[3]}"

    return VERDICT.sub(said, text)


def _list(findings: Sequence[str]) -> str:
    return "\n".join(f"- {_cell(formatting.said(finding))}" for finding in findings)


def _image(entry: Entry, home: Path) -> str:
    assert entry.figure
    assert entry.picture
    alt = " ".join(escape(entry.picture.label).split()).replace("|", "&#124;")  # no Markdown inside an attribute
    return f'<img src="{_link(entry.figure, home)}" width="{SHOWN_WIDTH}" alt="{alt}">'


def _link(path: Path, home: Path) -> str:
    return os.path.relpath(path, home).replace(os.sep, "/").replace(" ", "%20")


def _cell(text: str) -> str:
    """In one line, and nothing in it that ends a cell or begins an element or emphasis."""
    line = " ".join(text.split()).replace("<", "&lt;").replace("\\", "\\\\")
    return re.sub(r"([|*_`\[\]])", r"\\\1", line)
