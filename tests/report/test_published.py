"""What is kept of experiments: small, of no machine, and enough to make every page, table and figure again."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from mingpt.cli import main
from mingpt.core.errors import CheckpointError, UsageError
from mingpt.core.run_files.reading import read_lines
from mingpt.experiments import commands
from mingpt.report import index, page
from mingpt.report.experiment_files import smallness, smallness_of
from mingpt.report.publish import portable, publish, unfinished

ROOT = Path(__file__).parents[2]
MARKED = "# x\n\n<!-- results -->\nold\n<!-- /results -->\nend\n"


@pytest.fixture
def results(experiment_folder: Path, tmp_path: Path) -> Path:
    publish(experiment_folder, tmp_path / "results" / "positions-quick")
    (tmp_path / "README.md").write_text(MARKED)
    (tmp_path / "ideas").mkdir()
    marks = "a\n<!-- verdict: positions -->\n<!-- /verdict -->\nb <!-- verdict: other -->none<!-- /verdict -->\n"
    (tmp_path / "ideas" / "rope.md").write_text(marks)
    return tmp_path / "results"


def made(results: Path) -> dict[str, bytes]:
    """All that is made from `results`, anew."""
    index.write(results, results.parent / "README.md", results.parent / "ideas")
    home = results.parent
    paths = [*results.rglob("*.html"), *results.rglob("*.svg"), *results.rglob("README.md"), *home.glob("README.md")]
    paths += (home / "ideas").glob("*.md")
    return {str(path): path.read_bytes() for path in paths}


def all_text(folder: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file())


def test_weights_or_texts_are_published_or_what_a_page_needs_is_not(results: Path) -> None:
    names = {path.relative_to(results / "positions-quick").as_posix() for path in results.rglob("*") if path.is_file()}
    run = ("baselines.json", "config.yaml", "environment.json", "metrics.jsonl", "samples.jsonl")
    runs = {
        f"cells/{a}/seed-{s}/stage-{n}/{f}" for a in ("rope", "learned") for s in (1, 2, 3) for n in (1, 2) for f in run
    }
    assert names == {"record.json", "summary.json", "measurements.jsonl", *runs}


def test_folder_of_this_machine_is_published(results: Path, tmp_path: Path) -> None:
    assert made(results)
    assert "t.txt" in (results / "positions-quick" / "record.json").read_text()
    for where in (str(tmp_path), str(Path.home()), str(Path.cwd())):
        assert where not in all_text(results).replace(":/", "")
    assert "a/b /c/d |*_" in all_text(results)  # what a model wrote is no path


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("--data=/home/me/a.txt --x", "--data=a.txt --x"),
        ("'~/my/a.txt'", "'a.txt'"),
        (r"C:\Users\me\a.txt", "a.txt"),
        ("/home/John Doe/a.txt", "a.txt"),
        ("--data=/home/John Doe/a.txt", "--data=a.txt"),
        ("chargpt '--data=/home/John Doe/a.txt' --x=/b/c", "chargpt '--data=a.txt' --x=c"),
        ("it is in /a/b and in /c/d", "it is in b and in d"),
        ("key/value heads, and/or 1/2", "key/value heads, and/or 1/2"),
        ("out/experiments/a", "out/experiments/a"),
        ("https://a.org/b/c", "https://a.org/b/c"),
        (["/a/b", {"c": "/d/e"}, 1.5, None], ["b", {"c": "e"}, 1.5, None]),
    ],
)
def test_path_stays_or_what_is_none_goes(said: Any, kept: Any) -> None:
    assert portable(said) == kept


def test_published_runs_say_something_else(experiment_folder: Path, results: Path) -> None:
    ours, theirs = (page.of_experiment(folder) for folder in (results / "positions-quick", experiment_folder))
    assert (ours.verdict, ours.figures) == (theirs.verdict, theirs.figures)
    assert ours.result is not None
    assert theirs.result is not None
    assert [v.sentence for v in ours.result.verdicts] == [v.sentence for v in theirs.result.verdicts]
    assert (
        ours.result.differing
        == theirs.result.differing
        == {"first stage: model.rope": [True, False]} | {"model.rope": [True, False]}
    )
    assert ours.result.arms[0].runs == [f"cells/rope/seed-{seed}/stage-2" for seed in (1, 2, 3)]


def test_unfinished_experiment_is_published(experiment_folder: Path, tmp_path: Path) -> None:
    (experiment_folder / "measurements.jsonl").unlink()
    assert unfinished(experiment_folder) == "it is unfinished: far not measured"
    (experiment_folder / "cells" / "rope" / "seed-1" / "stage-2" / "metrics.jsonl").unlink()
    with pytest.raises(UsageError, match="5 of 6 runs"):
        publish(experiment_folder, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_damaged_file_destroys_what_was_published(experiment_folder: Path, results: Path) -> None:
    target = results / "positions-quick"
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    (experiment_folder / "cells" / "rope" / "seed-3" / "stage-2" / "environment.json").write_text("{")
    with pytest.raises(CheckpointError):
        publish(experiment_folder, target)
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before
    assert [path.name for path in results.iterdir()] == [target.name]


def test_measurement_without_rows_is_never_published(experiment_folder: Path) -> None:
    (experiment_folder / "measurements.jsonl").unlink()
    summary = json.loads((experiment_folder / "summary.json").read_text())
    (experiment_folder / "summary.json").write_text(json.dumps({**summary, "measured": ["far"]}))
    assert unfinished(experiment_folder) is None


# ---- what is made from results/


def test_same_files_give_other_bytes(results: Path, tmp_path: Path) -> None:
    first = made(results)
    assert len(first) == 1 + 1 + 1 + 2 + 1 + 1  # page, index, two READMEs, two figures, an idea
    assert {path.partition("/results/")[2] for path in first if path.endswith("svg")} == {
        "positions-quick/figures/held-out-by-seconds.svg",
        "positions-quick/figures/held-out-by-steps.svg",
    }
    assert index.write(results, tmp_path / "README.md", tmp_path / "ideas") == []
    for path in first:
        if not path.endswith(("/x/README.md", "rope.md", f"{tmp_path.name}/README.md")):
            Path(path).unlink()
    assert made(results) == first


def test_report_of_the_copy_is_another_page(results: Path, monkeypatch: Any, capsys: Any) -> None:
    first = made(results)
    monkeypatch.chdir(results.parent)
    assert main.main(["report", "results/positions-quick"]) == 0
    assert made(results) == first


def test_readme_lacks_question_verdict_or_figure(results: Path) -> None:
    files = made(results)
    text = files[str(results.parent / "README.md")].decode()
    assert text.startswith("# x\n\n<!-- results -->\n")
    assert text.endswith("\n<!-- /results -->\nend\n")
    assert "old" not in text
    assert r"**RoPE \| learned?** Rotary wins.<br>[numbers](" in text
    assert "/report.html) (small, quick form)\n\n<img src=" in text
    assert "](results/README.md#positions-quick)" in text
    (shown,) = re.findall(r'<img src="(.*?)" width="\d+" alt="(.*?)">', text)
    assert (results.parent / shown[0]).is_file()
    assert "Rope is better than learned by 0.100 nats" in shown[1]
    assert "|" not in shown[1]
    numbers = files[str(results / "README.md")].decode()
    assert "| rope | 3 | 1.520 (1.495 to 1.545) |" in numbers
    assert "- Far is far." in numbers


def test_idea_lacks_its_verdict_or_another_gets_one(results: Path) -> None:
    text = made(results)[str(results.parent / "ideas" / "rope.md")].decode()
    assert "<!-- verdict: positions -->\nRotary wins. Quick form" in text
    assert "](../results/README.md#positions-quick)\n\n- Far is far.\n<!-- /verdict -->" in text
    assert "<!-- verdict: other -->none<!-- /verdict -->" in text


@pytest.mark.parametrize("text", ["<!-- results -->", "<!-- /results --> <!-- results -->", MARKED + MARKED])
def test_half_marked_readme_is_written(text: str) -> None:
    with pytest.raises(UsageError, match="once each"):
        index.with_results(text, "new")
    assert index.with_results("none", "new") == "none"


def test_full_form_is_hidden_by_the_quick_one(results: Path, experiment_folder: Path) -> None:
    record = json.loads((experiment_folder / "record.json").read_text())
    (experiment_folder / "record.json").write_text(json.dumps({**record, "quick": False}))
    publish(experiment_folder, results / "positions")
    files = made(results)
    assert "#positions)" in files[str(results.parent / "README.md")].decode()
    assert "#positions-quick)" not in files[str(results.parent / "README.md")].decode()
    content = files[str(results / "index.html")].decode()
    assert content.index('id="positions"') < content.index('id="positions-quick"')


def test_published_page_needs_torch(results: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from mingpt.report import index\n"
        f"index.write(Path({str(results)!r}), Path('none'), Path('none'))\n"
        "assert 'torch' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_committed_pages_are_older_than_their_files(tmp_path: Path) -> None:
    """Fails where results/, the README's table or docs/ideas were changed without `chargpt experiment publish`."""
    if not index.published(ROOT / "results"):
        pytest.skip("nothing is published yet")
    if matplotlib.__version__ not in (ROOT / "results" / "README.md").read_text(encoding="utf-8"):
        pytest.skip("drawn by another matplotlib than the one here")
    for name in ("results", "docs/ideas"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "README.md", tmp_path / "README.md")
    commands.redraw(tmp_path / "results")
    index.write(tmp_path / "results", tmp_path / "README.md", tmp_path / "docs" / "ideas")
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    other = [str(path) for path in files if (ROOT / path).read_bytes() != (tmp_path / path).read_bytes()]
    assert other == []


# ---- small things


def test_smallness_is_not_told() -> None:
    assert smallness({"quick": False}) == ""
    assert smallness({"quick": True}) == ""  # nothing says that it is smaller
    assert smallness({"quick": True, "smaller": ["4 texts", "2 repeats"]}) == "Quick form: 4 texts; 2 repeats"
    assert smallness({"quick": True, "arms": {"a": [{}]}}) == "Quick form: small sizes, few repeats"
    arms = {"a": [{"trainer.max_iters": 300, "model.n_layer": 2}] * 2, "b": [{"trainer.max_iters": 1200}]}
    told = smallness({"quick": True, "arms": arms, "seeds": 3})
    assert told == "Quick form: 600 to 1,200 steps of a 2-layer model, 3 seeds"
    assert smallness_of("64 positions", {"quick": True, "arms": arms}) == "Quick form: 64 positions"
    assert smallness_of("", {"quick": True, "arms": arms}) == smallness_of("64 positions", {"arms": arms}) == ""


def test_fewer_seeds_or_pseudo_nats_or_no_parameters_are_not_told(make_run: Any, tmp_path: Path) -> None:
    runs = [make_run(f"a{seed}", seed=seed, environment={"model": {"parameters": 0}}) for seed in (1, 2, 3)]
    path = runs[2] / "metrics.jsonl"
    path.write_text(path.read_text().replace('"val_loss": 1.5', '"pseudo_nats": 0.5').replace("val_loss", "x"))
    assert len(read_lines(path)) == 30
    words = page.write(runs, tmp_path / "page.html").read_text()
    for said in ("2 of 3 seeds", "none: counts", "pseudo-nats per token hidden", "0.500, 1 of 3 seeds"):
        assert said in words, said


# ---- what was stopped, cut or spoilt


def test_spare_seeds_stand_for_missing_ones_or_are_shown(experiment_folder: Path, tmp_path: Path) -> None:
    record = json.loads((experiment_folder / "record.json").read_text())
    (experiment_folder / "record.json").write_text(json.dumps({**record, "seeds": 2}))
    result = page.compared(experiment_folder)
    assert result is not None
    assert [arm.seeds for arm in result.arms] == [[1, 2], [1, 2]]
    publish(experiment_folder, tmp_path / "kept")
    assert {path.name for path in (tmp_path / "kept").glob("cells/*/*")} == {"seed-1", "seed-2"}
    shutil.rmtree(experiment_folder / "cells" / "rope" / "seed-2")
    assert unfinished(experiment_folder) == "it is unfinished: 3 of 4 runs"


def test_one_diverged_run_keeps_all_from_being_published(experiment_folder: Path, tmp_path: Path) -> None:
    path = experiment_folder / "cells" / "rope" / "seed-3" / "stage-2" / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:7]))
    assert unfinished(experiment_folder) == "it is unfinished: 5 of 6 runs"
    record = json.loads((experiment_folder / "record.json").read_text())
    record["hopeless"] = {"cells/rope/seed-3": "error: loss is nan"}
    (experiment_folder / "record.json").write_text(json.dumps(record))
    publish(experiment_folder, tmp_path / "kept")
    for folder in (experiment_folder, tmp_path / "kept"):
        result = page.compared(folder)
        assert result is not None
        assert [arm.seeds for arm in result.arms] == [[1, 2], [1, 2, 3]]
        assert result.left_out == [("cells/rope/seed-3", "error: loss is nan")]


@pytest.mark.parametrize("lost", ["<!-- /verdict -->", "<!-- verdict: b -->"])
def test_missing_mark_of_a_verdict_deletes_prose(lost: str) -> None:
    text = "<!-- verdict: a -->x<!-- /verdict -->\nprose\n<!-- verdict: b -->y<!-- /verdict -->\n"
    assert index.with_verdicts(text, [], Path("a.md")) == text
    with pytest.raises(UsageError, match=r"a\.md: must hold"):
        index.with_verdicts(text.replace(lost, "", 1), [], Path("a.md"))


def test_quick_form_by_its_name_is_stale_beside_the_full(results: Path, experiment_folder: Path) -> None:
    publish(experiment_folder, results / "positions")
    path = results.parent / "ideas" / "rope.md"
    path.write_text("<!-- verdict: positions-quick -->old<!-- /verdict -->")
    text = made(results)[str(path)].decode()
    assert "old" not in text
    assert "#positions-quick)" in text
