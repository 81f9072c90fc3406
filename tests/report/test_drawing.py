"""Figures wherever they go: the same colours in a page, as a file, in another program; text in any script."""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from mingpt.cli import main
from mingpt.core.atomic_io import save_picture
from mingpt.core.errors import UsageError
from mingpt.report import figures, fonts, heatmaps, page
from mingpt.report.compare import comparison
from mingpt.report.drawing import Drawing
from mingpt.report.figure_layout import short_number
from mingpt.report.palette import COLOURS, PAPER, QUIET, Palette, style
from mingpt.report.pictures import picture


def curves_of(runs: list[Path], **how: Any) -> Drawing:
    drawn = figures.loss_curves(comparison(runs), **how)
    assert drawn is not None
    return drawn


def test_no_two_variants_look_the_same() -> None:
    looks = [tuple(style(place).values()) for place in range(48)]
    assert len({*looks}) == 48
    for first, second in pairwise(looks):  # neighbours differ without their colours, too
        assert first[1] != second[1]
        assert first[2] != second[2]


def test_variant_keeps_its_look_in_every_figure_of_a_palette() -> None:
    palette = Palette(["first", "second"])
    before = palette.line("second")
    assert palette.line("new")["color"] == COLOURS[2]
    assert palette.line("second") == before
    assert palette.colour("second") == palette.dots("second")["color"] == before["color"] == COLOURS[1]


def test_line_under_another_shows() -> None:
    """The same values twice: the first line is wider than the second, or lies above it with gaps."""
    palette = Palette()
    lines = [palette.line(str(place)) for place in range(8)]
    for place, below in enumerate(lines):
        for above in lines[place + 1 :]:
            assert below["lw"] > above["lw"]
            assert below["ms"] > above["ms"]
            assert above["ls"] != "-" or below["ls"] == "-" or below["zorder"] > above["zorder"]


def test_figures_of_runs_take_the_looks_they_are_given(runs: list[Path]) -> None:
    palette = Palette(["other", "model.rope=True", "model.rope=False"])
    (axes,) = curves_of(runs, palette=palette).figure.axes
    colours = {line.get_label(): line.get_color() for line in axes.lines}
    assert (colours["model.rope=True"], axes.title.get_color()) == (COLOURS[1], COLOURS[1])
    assert QUIET in [line.get_color() for line in axes.lines]  # the baseline, whatever its own colour


def test_svg_file_has_a_ground_its_words_and_colours_that_any_program_reads(runs: list[Path], tmp_path: Path) -> None:
    text = curves_of(runs).save(tmp_path / "a.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    assert "var(" not in text
    assert re.search(rf'<g id="[\w-]*patch_1">\s*<path d="[^"]+" style="fill: {PAPER}', text)  # all of the picture
    title, described = (root.findtext(f"{{http://www.w3.org/2000/svg}}{name}") for name in ("title", "desc"))
    assert title is not None
    assert described is not None
    assert title.startswith("Validation loss, by optimizer step. Thick line: mean over a variant's seeds")
    assert "model.rope=False 1.620, model.rope=True 1.520" in described
    assert root.attrib["aria-label"] == described


@pytest.mark.parametrize(("ending", "starts"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<svg")])
@pytest.mark.thin(1)
def test_file_is_the_same_each_time(runs: list[Path], tmp_path: Path, ending: str, starts: bytes) -> None:
    first, second = (curves_of(runs).save(tmp_path / f"{name}.{ending}").read_bytes() for name in "ab")
    assert first == second
    assert first.startswith(starts)


def test_png_has_white_ground_and_the_colours_of_the_page(runs: list[Path], tmp_path: Path) -> None:
    shown = (imread(curves_of(runs).save(tmp_path / "a.png"))[..., :3] * 255).round().astype(int)
    assert (shown[0, 0] == 255).all()
    for colour in (COLOURS[1], QUIET):
        wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        assert (np.abs(shown - wanted).sum(-1) == 0).sum() > 50, colour


def test_caption_is_a_sentence_and_an_older_picture_is_named_by_its_file(runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    new = picture(curves_of(runs).save(tmp_path / "figures" / "a.svg"), tmp_path)
    assert new.caption.endswith("on the same text.")
    assert new.label.startswith("Validation loss against optimizer step.")
    older = tmp_path / "figures" / "window-bytes.svg"
    older.write_text("<svg><title>Bytes of windows.</title></svg>")
    assert (picture(older, tmp_path).caption, picture(older, tmp_path).label) == ("Window bytes", "Bytes of windows.")


# ---- letters and numbers


@pytest.fixture
def own_font_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine without a font for Chinese."""
    caches: list[Any] = [fonts.families, fonts._letters]
    monkeypatch.setattr(fonts, "FALLBACKS", ())
    for each in caches:
        each.cache_clear()
    yield
    for each in caches:
        each.cache_clear()


def test_letter_that_no_font_has_is_its_code_point(own_font_alone: None) -> None:
    assert fonts.plain("é中𠀀\n\x07$a$") == r"é\u4e2d\U00020000↵\x07\$a\$"
    assert heatmaps.token_name(" 中") == "␣\\u4e2d"


@pytest.mark.full
def test_names_in_any_script_are_drawn_without_a_warning(
    own_font_alone: None, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    result = comparison({"中文$": [make_run("a")], "日本\n語": [make_run("b", rope=True)]})
    drawn = figures.loss_curves(result)
    assert drawn is not None
    for ending in ("svg", "png", "pdf"):
        drawn.save(tmp_path / f"a.{ending}")  # warnings are errors here
    square = np.tril(np.ones((1, 2, 2)))
    save_picture(heatmaps.figure([square], ["中", "$"], 1, [None]), tmp_path / "b.png")
    assert (tmp_path / "b.png").is_file()
    assert heatmaps.draw_influence(square[0], ["中", "文"], "中 moves", tmp_path / "c.png").is_file()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((1e-17, "1e-17"), (1e-4, "1e-4"), (0.001, "0.001"), (0.05, "0.05"), (1.0, "1"), (64.0, "64"), (128, "128")),
        *((1000.0, "1k"), (1024.0, "1k"), (1500, "1.5k"), (16384, "16k"), (20000.0, "20k"), (262144, "256k")),
        *((1e6, "1M"), (4194304, "4M"), (5e6, "5M"), (0, "0")),
    ],
)
def test_ticks_are_plain_numbers(value: float, shown: str) -> None:
    assert short_number(value) == shown


# ---- the page of a lone run, and figures as files


@pytest.mark.full
def test_page_of_one_run_has_curve_settings_and_all_samples(make_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_run("a", sample="the last", window=16)
    samples = folder / "samples.jsonl"
    samples.write_text('{"step": 10, "prompt": "R", "text": "the first"}\n' + samples.read_text())
    defaults = {"system.seed": 1, "model.rope": False, "model.window": None, "model.pretrained_folder": None}
    (part,) = page.page_of([folder], {**defaults, "data.block_size": 8}).parts
    assert part.run is not None
    assert part.run.changed is not None
    assert part.run.changed["model.window"] == (16, None)
    assert not {"system.seed", "model.rope", "system.work_dir", "data.block_size"} & part.run.changed.keys()
    assert [step for step, _ in part.run.samples] == [30, 10]
    words = page.save(page.page_of([folder], defaults), tmp_path / "page.html").read_text(encoding="utf-8")
    for said in ("Settings that differ from the defaults", "All settings, ", "the last", "the first", "step 10<"):
        assert said in words, said
    drawn = curves_of([folder])
    labels = [line.get_label() for line in drawn.figure.axes[0].lines]
    assert labels[:2] == ["training loss, smoothed", "validation loss"]
    assert [text.get_text() for text in drawn.figure.axes[0].texts] == ["2-gram 1.80", "1-gram 2.50"]


def test_lone_run_with_one_evaluation_has_a_curve_beside_n_gram_lines(make_run: Callable[..., Path]) -> None:
    drawn = curves_of([make_run("a", curve=[1.9])])
    training, evaluated = drawn.figure.axes[0].lines[:2]
    assert len(training.get_xdata()) == 10
    assert list(evaluated.get_ydata()) == [1.9]
    assert [text.get_text() for text in drawn.figure.axes[0].texts] == ["2-gram 1.80"]


@pytest.mark.full
def test_report_writes_its_figures_as_files(
    runs: list[Path], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made").mkdir()
    assert main.main(["report", *map(str, runs), "--out=made/page.html", "--figures=png,pdf"]) == 0
    assert {path.name for path in (tmp_path / "made" / "figures").iterdir()} == {
        f"{name}.{ending}"
        for name in ("difference-from-baseline", *(f"validation-loss-by-{x}" for x in ("steps", "seconds", "flops")))
        for ending in ("png", "pdf")
    }
    out, err = capsys.readouterr()
    assert (out, "made/figures" in err) == ("made/page.html\n", True)


def test_report_of_an_experiment_writes_what_can_be_drawn_again(
    experiment_folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (experiment_folder / "figures").mkdir()
    (experiment_folder / "figures" / "far.svg").write_text("<svg><title>Far.</title></svg>")
    assert main.main(["report", str(experiment_folder), "--figures=png"]) == UsageError.exit_code
    assert "far.svg: is of no experiment that is known here" in capsys.readouterr().err
    (experiment_folder / "figures" / "far.svg").unlink()
    assert main.main(["report", str(experiment_folder), "--figures=png"]) == 0
    assert (experiment_folder / "figures" / "validation-loss-by-steps.png").is_file()


@pytest.mark.parametrize("formats", ["gif", "png,", "", "PNG"])
def test_report_rejects_another_format_before_it_writes(
    runs: list[Path], tmp_path: Path, capsys: Any, formats: str
) -> None:
    out = tmp_path / "page.html"
    assert main.main(["report", str(runs[0]), f"--out={out}", f"--figures={formats}"]) == UsageError.exit_code
    assert "must be of svg, png, pdf" in capsys.readouterr().err
    assert not out.exists()
