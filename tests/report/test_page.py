"""The page: whole in itself, safe whatever files say, readable by everyone, on a phone and in the dark."""

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mingpt.cli import main
from mingpt.core.errors import CheckpointError, UsageError
from mingpt.core.run_files.curves import Curve
from mingpt.report import columns, figures, index, page
from mingpt.report.compare import Comparison, comparison
from mingpt.report.palette import COLOURS, DARK, INK, LINE, PAPER, QUIET
from mingpt.report.pictures import loss_figures

HOSTILE = "<script>alert('x')</script>&amp;\"><img src=x onerror=alert(1)>{{ 7*7 }}</pre>"


VOID = {"meta", "img", "br", "link", "input", "wbr"}


class Outline(HTMLParser):
    """A page's elements, and whether they nest."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


@pytest.fixture
def experiment(runs: list[Path], tmp_path: Path) -> Path:
    """A folder as `chargpt experiment` leaves it."""
    folder = tmp_path / "out" / "positions-quick"
    for run in runs:
        variant, _, seed = run.name.partition("-")
        shutil.copytree(run, folder / "cells" / variant / f"seed-{seed}")
    record = {"name": "positions", "question": "RoPE or learned positions?", "hypothesis": "RoPE", "quick": True}
    record |= {"arms": {"rope": [], "learned": []}, "command": "chargpt experiment positions --quick"}
    (folder / "record.json").write_text(json.dumps(record))
    (folder / "measurements.jsonl").write_text('{"measurement": "far", "times": 2, "loss": 2.5}\n')
    (folder / "figures").mkdir()
    (folder / "figures" / "far.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg"><title>Far &lt; near</title>{HOSTILE}</svg>'
    )
    return folder


def written(folders: list[Path], tmp_path: Path) -> str:
    return page.write(folders, tmp_path / "page.html").read_text(encoding="utf-8")


def test_page_has_everything(runs: list[Path], tmp_path: Path) -> None:
    content = written(runs, tmp_path)
    words = " ".join(Outline(content).text)
    result = comparison(runs)
    first = content.index("<figure")
    assert first < content.index("Table of the variants") < content.index("<figure", first + 1)
    assert columns.outcomes_of(result).note in words
    assert content.count("<figure>") == 4  # difference; loss by steps, seconds, FLOPs
    for said in (
        "1.520 ± 0.025",
        "16,044",
        "2.50",
        "ROMEO: ay",
        "model.rope",
        "packages torch",
        "2-gram 1.80",
        "seed 1",
    ):
        assert said in words, said
    assert f"chargpt --config={runs[0]}/config.yaml" in words


def test_page_needs_nothing_else(runs: list[Path], experiment: Path, tmp_path: Path) -> None:
    outline = Outline(written([*runs, experiment], tmp_path))
    assert outline.all("script", "link", "iframe", "object", "base", "form") == []
    for _, attributes in outline.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), name
            if name in ("src", "href", "xlink:href", "data"):
                assert (value or "").startswith(("#", "data:image/")), value
    assert "@import" not in written(runs, tmp_path)
    assert re.findall(r"url\((?!#)", written(runs, tmp_path)) == []


@pytest.mark.full
def test_page_is_for_screen_readers(runs: list[Path], experiment: Path, tmp_path: Path) -> None:
    outline = Outline(written([*runs, experiment], tmp_path))
    assert outline.all("html")[0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch(r"h[1-6]", tag)]
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(cell.get("scope") in ("col", "row") for cell in outline.all("th"))
    assert all(picture["alt"] for picture in outline.all("img"))
    pictures = outline.all("svg")
    assert len(pictures) == 8
    for picture in pictures:
        assert picture["role"] == "img"
        assert re.search("validation loss, nats: |Differences, nats: ", picture["aria-label"] or "")
    twice = [name for name, n in Counter(a["id"] for _, a in outline.elements if "id" in a).items() if n > 1]
    assert twice == []


@pytest.mark.parametrize("where", ["sample", "text", "arm", "folder"])
@pytest.mark.thin(2)
def test_no_file_writes_into_the_page(make_run: Any, tmp_path: Path, where: str) -> None:
    name = HOSTILE.replace("/", "|") if where == "folder" else "plain"
    sample = HOSTILE if where == "sample" else "x"
    first = make_run(name, sample=sample, environment={"platform": HOSTILE} if where == "text" else None)
    second = make_run("b", rope=True)
    variants = {HOSTILE if where == "arm" else "a": [first], "b": [second]}
    result = comparison(variants)
    part = page.Part(title=name, answer=name, commands=[name], result=result, figures=loss_figures(result))
    outline = Outline(page.render("page.html", page=page.Page(title=name, parts=[part])))
    assert outline.all("script", "img") == []
    assert HOSTILE.replace("/", "|" if where == "folder" else "/") in "".join(outline.text)


def test_picture_of_a_file_does_not_run_in_the_page(experiment: Path, tmp_path: Path) -> None:
    outline = Outline(written([experiment], tmp_path))
    assert outline.all("script") == []
    (image,) = outline.all("img")
    assert image["alt"] == "Far < near"


@pytest.mark.full
def test_experiment_has_its_question_result_and_command(experiment: Path, tmp_path: Path) -> None:
    content = written([experiment], tmp_path)
    words = " ".join(Outline(content).text)
    for said in (
        "RoPE or learned positions?",
        "better",
        "Quick form: small sizes",
        "--quick",
        "Far",
    ):
        assert said in words, said
    assert content.index("rope</th>") < content.index("learned</th>")  # as in the record
    record = json.loads((experiment / "record.json").read_text())
    tables = {"far": [{"variant": "rope", "loss": 2.3}]}
    (experiment / "record.json").write_text(json.dumps({**record, "answer": "Rotary wins.", "tables": tables}))
    content = written([experiment], tmp_path)
    assert '<p class="answer">Rotary wins.</p>' in content
    assert '<td class="number">2.3</td>' in content


def test_experiment_without_runs_has_no_page(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "record.json").write_text('{"name": "cache", "question": "What does a cache change?"}')
    assert "What does a cache change?" in written([folder], tmp_path)


def test_last_stage_is_the_one_shown(experiment: Path, make_run: Any) -> None:
    for seed in (1, 2, 3):
        trial = experiment / "cells" / "rope" / f"seed-{seed}"
        stages = {2: 1.5 + seed / 100, 10: 1.2 + seed / 100}
        shutil.rmtree(trial)
        for stage, loss in stages.items():
            shutil.copytree(make_run(f"s{seed}-{stage}", seed=seed, curve=[3, 2, loss]), trial / f"stage-{stage}")
    assert page.of_experiment(experiment).result.variants[0].loss.mean == pytest.approx(1.22)


def test_one_seed_and_one_run_have_a_page(make_run: Any, tmp_path: Path) -> None:
    content = written([make_run("a")], tmp_path)
    assert '<td class="number">1.500</td>' in content
    for figure in Outline(content).all("svg"):
        assert "a 1.500" in (figure["aria-label"] or "")


def svg_of(result: Comparison) -> str:
    drawn = figures.loss_curves(result)
    assert drawn is not None
    return drawn.svg()


def test_variant_without_a_curve_has_no_panel_and_is_named(make_run: Any) -> None:
    found = comparison({"a": [make_run("a")], "b": [make_run("b", rope=True)], "c": [make_run("c", bias=True)]})
    blind = replace(found.variants[0], curves=[Curve(seed=1)])
    drawn = figures.loss_curves(replace(found, variants=[blind, *found.variants[1:]]))
    assert drawn is not None
    assert [axes.get_title() for axes in drawn.figure.axes] == ["c"]
    assert "Grey in each panel: b, the baseline. Without such a curve: a." in drawn.caption


@pytest.mark.parametrize("name", ["$\\frac$", "é" * 200, "日本\n語", "a&b<c>"])
@pytest.mark.thin(2)
def test_no_name_stops_the_drawing(make_run: Any, name: str) -> None:
    Outline(svg_of(comparison({name: [make_run("a")], "b": [make_run("b", rope=True)]})))


def test_picture_is_the_same_each_time_and_each_of_its_colours_has_another_in_the_dark(runs: list[Path]) -> None:
    drawn = svg_of(comparison(runs))
    assert drawn == svg_of(comparison(runs))
    scheme, body = drawn.split("</style>", 1)
    assert "var(" not in drawn  # other programs than browsers know no variables: all would be black
    used = {(kind, colour) for kind, colour in re.findall(r"(fill|stroke): (#[0-9a-f]{6})\b", body)}
    assert {("fill", INK), ("stroke", QUIET), ("stroke", COLOURS[1]), ("stroke", LINE)} <= used
    for kind, colour in used:
        assert f'[style*="{kind}: {colour}"]{{{kind}:{DARK[colour]}!important}}' in scheme


def contrast(first: str, second: str) -> float:
    """WCAG 2.2's, of two #rrggbb colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_colours_can_be_seen() -> None:
    assert all(contrast(colour, PAPER) >= 4.5 for colour in DARK if colour != PAPER)
    assert all(contrast(dark, DARK[PAPER]) >= 4.5 for colour, dark in DARK.items() if colour != PAPER)
    assert {*COLOURS} < {*DARK}


# ---- chargpt report


@pytest.mark.full
def test_report_goes_where_asked(runs: list[Path], tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.main(["report", str(runs[0])]) == 0
    assert main.main(["report", *map(str, runs)]) == 0
    assert main.main(["report", "--out", "my page.html", *map(str, runs)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{runs[0]}/report.html", "report.html", "my page.html"]
    assert (runs[0] / "report.html").exists()
    assert (tmp_path / "report.html").read_bytes() == (tmp_path / "my page.html").read_bytes()


def test_newest_run_is_the_default(make_run: Any, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    make_run("out/chargpt")
    monkeypatch.chdir(tmp_path)
    assert main.main(["report"]) == 0
    assert capsys.readouterr() == ("out/chargpt/report.html\n", "run: out/chargpt\n")


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (["lerned-1"], CheckpointError, r"an experiment (no record.json) (did you mean 'learned-1'?)"),
        (["nowhere"], CheckpointError, "nowhere: neither a run (no config.yaml) nor an experiment (no record.json)"),
        (["learned-1", "--out=no/page.html"], UsageError, "out=no/page.html: must lie in a folder that there is"),
        (["learned-1", "--out="], UsageError, "out='': must name a file"),
        (["learned-1", "--out=learned-1"], UsageError, "out=learned-1: is a folder"),
    ],
)
@pytest.mark.thin(2)
def test_rejection_is_a_single_line(
    runs: list[Path], tmp_path: Path, capsys: Any, monkeypatch: Any, words: list[str], kind: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.main(["report", *words]) == kind.exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1


def test_wide_table_shows_that_it_goes_on(runs: list[Path], tmp_path: Path) -> None:
    """On a phone the variants' table is cut at an edge that shows no bar."""
    content = page.write(runs, tmp_path / "page.html").read_text(encoding="utf-8")
    assert re.search(
        r'class="soft sideways">[^<]*sideways[^<]*</p>\s*<div class="scroll"[^>]*"Table of the variants"', content
    )
    assert not re.search(r'sideways">[^<]*</p>\s*<div class="scroll"[^>]*"Table of the environment"', content)
    assert ".sideways { display: none" in content


# ---- the index, and learning rates


@pytest.mark.full
def test_report_of_a_folder_of_experiments_is_an_index_that_needs_nothing_else(experiment: Path, capsys: Any) -> None:
    index.write(experiment.parent)
    assert not [*experiment.parent.rglob("*.html")]
    assert main.main(["report", str(experiment.parent)]) == 0
    assert capsys.readouterr().out == f"{experiment.parent / 'index.html'}\n"
    outline = Outline((experiment.parent / "index.html").read_text(encoding="utf-8"))
    assert outline.all("script", "link", "iframe", "object", "base", "form") == []
    assert {each["href"] for each in outline.all("a")} == {"positions-quick/report.html"}
    assert (experiment / "report.html").is_file()
    (image,) = outline.all("img")
    assert (image["src"] or "").startswith("data:image/svg+xml;base64,")
    assert "Differences, nats: learned +0.100" in (image["alt"] or "")
    assert [tag for tag, _ in outline.elements if re.fullmatch(r"h[1-6]", tag)] == ["h1", "h2"]
    assert main.main(["report", str(experiment.parent), "--out=x.html"]) == 2


def test_rate_is_reported_as_chosen_by_what_chose_it(experiment: Path, tmp_path: Path) -> None:
    record = json.loads((experiment / "record.json").read_text())
    older = {"a": {"chosen": 0.01, "losses": {}}}
    later = {
        "b": {"chosen": 0.1, "losses": {}, "decided_by": "training loss, smoothed", "end_of_grid": "highest"},
        "c": {"chosen": 0.001, "losses": {}, "decided_by": page.USUAL_CHOICE, "end_of_grid": None},
    }
    (experiment / "record.json").write_text(json.dumps({**record, "chosen_learning_rates": {**older, **later}}))
    content = page.write([experiment], tmp_path / "page.html").read_text(encoding="utf-8")
    for said in (
        "by its loss on the end of the training part: a 0.01, c 0.001<",
        "by its training loss, smoothed: b 0.1<",
        "best learning rate is the highest tried: b<",
    ):
        assert said in content, said
