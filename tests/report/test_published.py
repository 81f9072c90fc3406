"""Published records: small, without names of a machine, and enough to make every page, table and figure again."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from mingpt.core.errors import CheckpointError, UsageError
from mingpt.core.run_files.reading import read_lines
from mingpt.experiments import commands
from mingpt.report import index, page
from mingpt.report.experiment_files import read_packed, smallness, smallness_of
from mingpt.report.publish import portable, publish, rewrite, unfinished

ROOT = Path(__file__).parents[2]


@pytest.fixture
def results(experiment_folder: Path, tmp_path: Path) -> Path:
    publish(experiment_folder, tmp_path / "results" / "positions-quick")
    return tmp_path / "results"


def made(results: Path) -> dict[str, bytes]:
    """All that is made from `results`."""
    index.write(results)
    return {str(path): path.read_bytes() for path in [*results.rglob("*.svg"), *results.rglob("README.md")]}


def all_text(folder: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file())


def test_neither_weights_nor_texts_are_published_but_what_a_page_needs(results: Path) -> None:
    assert [path.name for path in (results / "positions-quick").iterdir()] == ["record.jsonl"]
    packed = read_packed(results / "positions-quick")
    assert [(trial["variant"], trial["seed"], len(trial["stages"])) for trial in packed.trials] == [
        (variant, seed, 2) for variant in ("rope", "learned") for seed in (1, 2, 3)
    ]
    assert packed.rows == [{"measurement": "far", "times": 2, "loss": 2.12346}]


@pytest.mark.parametrize(
    ("margin", "outcome", "said"), [({}, "equivalent", "±0.05"), (0.006, "inconclusive", "±0.006")]
)
def test_equivalence_is_within_the_margin_of_the_record_before_and_after_publishing(
    make_run: Any, experiment_folder: Path, tmp_path: Path, margin: float | None, outcome: str, said: str
) -> None:
    shutil.rmtree(experiment_folder / "cells")
    for variant, losses in {"rope": (1.60, 1.62, 1.61), "learned": (1.604, 1.616, 1.61)}.items():  # -+0.004: +-0.01
        for seed, loss in enumerate(losses, start=1):
            make_run(str(experiment_folder / "cells" / variant / f"seed-{seed}"), seed=seed, curve=[loss], rope=variant)
    record = json.loads((experiment_folder / "record.json").read_text())
    (experiment_folder / "record.json").write_text(json.dumps({**record, **({"margin": margin} if margin else {})}))
    publish(experiment_folder, tmp_path / "results" / "positions-quick")
    for folder in (experiment_folder, tmp_path / "results" / "positions-quick"):
        part = page.of_experiment(folder)
        assert part.result is not None
        assert [test.outcome for test in part.result.tests] == [outcome]
        assert part.variants is not None
        assert f"lies inside {said};" in part.variants.note


@pytest.mark.full
def test_no_folder_of_this_machine_is_published(results: Path, tmp_path: Path) -> None:
    assert made(results)
    assert "t.txt" in (results / "positions-quick" / "record.jsonl").read_text()
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
def test_paths_go_and_what_is_none_stays(said: Any, kept: Any) -> None:
    assert portable(said) == kept


@pytest.mark.full
def test_published_runs_say_the_same(experiment_folder: Path, results: Path) -> None:
    ours, theirs = (page.of_experiment(folder) for folder in (results / "positions-quick", experiment_folder))
    assert (ours.answer, ours.figures) == (theirs.answer, theirs.figures)
    assert ours.result is not None
    assert theirs.result is not None
    for our, their in zip(ours.result.variants, theirs.result.variants, strict=True):
        assert our.losses == pytest.approx(their.losses)
    assert [test.outcome for test in ours.result.tests] == [test.outcome for test in theirs.result.tests]
    assert (
        ours.result.differing
        == theirs.result.differing
        == {"first stage: model.rope": [True, False]} | {"model.rope": [True, False]}
    )
    assert ours.result.variants[0].runs == [f"cells/rope/seed-{seed}" for seed in (1, 2, 3)]


def test_unfinished_experiment_is_not_published(experiment_folder: Path, tmp_path: Path) -> None:
    (experiment_folder / "measurements.jsonl").unlink()
    assert unfinished(experiment_folder) == "it is unfinished: far not measured"
    (experiment_folder / "cells" / "rope" / "seed-1" / "stage-2" / "metrics.jsonl").unlink()
    with pytest.raises(UsageError, match="5 of 6 runs"):
        publish(experiment_folder, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_damaged_file_keeps_what_was_published(experiment_folder: Path, results: Path) -> None:
    target = results / "positions-quick"
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    (experiment_folder / "cells" / "rope" / "seed-3" / "stage-2" / "environment.json").write_text("{")
    with pytest.raises(CheckpointError):
        publish(experiment_folder, target)
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before
    assert [path.name for path in results.iterdir()] == [target.name]


def test_measurement_without_rows_is_never_published(experiment_folder: Path) -> None:
    (experiment_folder / "measurements.jsonl").unlink()
    record = json.loads((experiment_folder / "record.json").read_text())
    (experiment_folder / "record.json").write_text(json.dumps({**record, "measured": ["far"]}))
    assert unfinished(experiment_folder) is None


# ---- what is made from results/


@pytest.mark.full
def test_same_files_give_the_same_bytes(results: Path) -> None:
    first = made(results)
    assert {path.partition("/results/")[2] for path in first} == {
        "README.md",
        "positions-quick/README.md",
        "positions-quick/figures/difference-from-baseline.svg",
        "positions-quick/figures/validation-loss-by-flops.svg",
        "positions-quick/figures/validation-loss-by-seconds.svg",
        "positions-quick/figures/validation-loss-by-steps.svg",
    }
    assert index.write(results) == []
    for path in first:
        Path(path).unlink()
    assert made(results) == first


def test_readme_has_question_answer_figure_tables_and_command(results: Path) -> None:
    files = made(results)
    text = files[str(results / "positions-quick" / "README.md")].decode()
    assert text.startswith("# RoPE \\| learned?\n")
    for said in ("**Rotary wins.**", "before the runs: RoPE.", "## Far", "| rope | 2.123 |", "--data=t.txt\n```"):
        assert said in text, said
    assert re.search(r"^\| learned \| 3 \| 1\.620 ± 0\.025 \| \+0\.100 ± .* worse \|", text, re.MULTILINE)
    (shown,) = re.findall(r'<img src="(.*?)" width="\d+" alt="(.*?)">', text)[:1]
    assert (results / "positions-quick" / shown[0]).is_file()
    assert "learned +0.100 ± " in shown[1]
    order = [
        "**Rotary wins.**",
        'src="figures/difference',
        "| variant |",
        "before the runs",
        "## Far",
        "## Validation losses",
    ]
    places = [text.index(each) for each in order]
    assert places == sorted(places)  # question, answer, its figure, the table, then details
    listed = files[str(results / "README.md")].decode()
    assert r"- [RoPE \| learned?](positions-quick/README.md) Rotary wins." in listed


def test_record_names_the_figure_that_answers(results: Path) -> None:
    folder = results / "positions-quick"
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "figures" / "far.svg").write_text("<svg><title>Far.</title><desc>Far away.</desc></svg>")
    before = page.of_experiment(folder)
    assert before.figure is not None
    assert before.figure.name == "difference-from-baseline"
    lines = (folder / "record.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    record["experiment"]["figure"] = "far"
    (folder / "record.jsonl").write_text("\n".join([json.dumps(record), *lines[1:]]) + "\n")
    after = page.of_experiment(folder)
    assert after.figure is not None
    assert after.figure.name == "far"
    assert {each.name for each in after.all_figures} == {each.name for each in before.all_figures}
    text = made(results)[str(folder / "README.md")].decode()
    assert text.index("Far away.") < text.index("| variant |") < text.index("difference-from-baseline.svg")


def test_texts_after_one_prompt_stand_side_by_side(results: Path) -> None:
    folder = results / "positions-quick"
    rows = [{"measurement": "samples", "arm": name, "prompt": "Fie?", "text": f"Fie?\n<b>{name}|"} for name in "ab"]
    with (folder / "record.jsonl").open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    text = made(results)[str(folder / "README.md")].decode()
    assert "## After “Fie?”" in text
    assert "| a | b |\n| --- | --- |\n| Fie?<br>&lt;b>a\\| | Fie?<br>&lt;b>b\\| |" in text
    html = page.write([folder], results / "page.html").read_text(encoding="utf-8")
    assert html.index("<h4>a</h4>") < html.index("Fie?\n&lt;b&gt;a|") < html.index("<h4>b</h4>")


@pytest.mark.full
def test_answer_stays_until_another_is_given(results: Path, experiment_folder: Path) -> None:
    target = results / "positions-quick"
    record = json.loads((experiment_folder / "record.json").read_text())
    (experiment_folder / "record.json").write_text(json.dumps({k: v for k, v in record.items() if k != "answer"}))
    assert publish(experiment_folder, target) == []
    assert page.of_experiment(target).answer == "Rotary wins."
    with (experiment_folder / "measurements.jsonl").open("a") as file:
        file.write('{"measurement": "lengths", "length": 32, "loss": 1.0}\n')
    assert publish(experiment_folder, target) == ["answer"]
    assert publish(experiment_folder, target) == []
    metrics = next((experiment_folder / "cells").rglob("metrics.jsonl"))
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join([*lines[:-1], json.dumps({**json.loads(lines[-1]), "val_loss": 9.0})]) + "\n")
    assert publish(experiment_folder, target) == ["answer"]
    assert publish(experiment_folder, target, {"answer": "Neither wins.", "hypothesis_outcome": None}) == []
    assert page.of_experiment(target).answer == "Neither wins."


def test_hand_written_texts_are_changed_alone(results: Path) -> None:
    target = results / "positions-quick"
    before = (target / "record.jsonl").read_text().splitlines()[1:]
    rewrite(target, {"answer": None, "hypothesis_outcome": "It was <wrong>."})
    changed = page.of_experiment(target)
    assert (changed.answer, changed.hypothesis_outcome) == ("Rotary wins.", "It was <wrong>.")
    assert (target / "record.jsonl").read_text().splitlines()[1:] == before
    assert "What became of it: It was &lt;wrong>." in made(results)[str(target / "README.md")].decode()
    assert "What became of it: It was &lt;wrong&gt;." in page.write([target], results / "page.html").read_text()
    with pytest.raises(UsageError, match="other: nothing is published here"):
        rewrite(results / "other", {"answer": "It does."})


@pytest.mark.full
def test_full_form_replaces_the_quick_one_in_the_list(results: Path, experiment_folder: Path) -> None:
    publish(experiment_folder, results / "positions")
    listed = made(results)[str(results / "README.md")].decode()
    assert listed.index("(positions/") < listed.index("(positions-quick/")


@pytest.mark.full
def test_published_page_needs_no_torch(results: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from mingpt.report import index\n"
        f"index.write(Path({str(results)!r}))\n"
        "assert 'torch' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.full
def test_committed_figures_and_tables_are_those_of_their_records(tmp_path: Path) -> None:
    """Fails where results/ was changed without `chargpt experiment publish`."""
    if matplotlib.__version__ not in (ROOT / "results" / "README.md").read_text(encoding="utf-8"):
        pytest.skip("drawn by another matplotlib than the one here")
    shutil.copytree(ROOT / "results", tmp_path / "results", ignore=shutil.ignore_patterns("*.html"))
    commands.redraw(tmp_path / "results")
    index.write(tmp_path / "results")
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    other = [str(path) for path in files if (ROOT / path).read_bytes() != (tmp_path / path).read_bytes()]
    assert other == []


# ---- small things


def test_smallness_is_stated() -> None:
    assert smallness({"quick": False}) == ""
    assert smallness({"quick": True}) == ""  # nothing says that it is smaller
    assert smallness({"quick": True, "smaller": ["4 texts", "2 repeats"]}) == "Quick form: 4 texts; 2 repeats"
    assert smallness({"quick": True, "arms": {"a": [{}]}}) == "Quick form: small sizes, few repeats"
    variants = {"a": [{"trainer.max_iters": 300, "model.n_layer": 2}] * 2, "b": [{"trainer.max_iters": 1200}]}
    told = smallness({"quick": True, "arms": variants, "seeds": 3})
    assert told == "Quick form: 600 to 1,200 steps of a 2-layer model, 3 seeds"
    assert smallness_of("64 positions", {"quick": True, "arms": variants}) == "Quick form: 64 positions"
    assert smallness_of("", {"quick": True, "arms": variants}) == smallness_of("64 positions", {"arms": variants}) == ""


def test_fewer_seeds_pseudo_nats_and_no_parameters_are_stated(make_run: Any, tmp_path: Path) -> None:
    runs = [make_run(f"a{seed}", seed=seed, environment={"model": {"parameters": 0}}) for seed in (1, 2, 3)]
    path = runs[2] / "metrics.jsonl"
    path.write_text(path.read_text().replace('"val_loss": 1.5', '"pseudo_nats": 0.5').replace("val_loss", "x"))
    assert len(read_lines(path)) == 30
    words = page.write(runs, tmp_path / "page.html").read_text()
    for said in ('<td class="number">2</td>', '<td class="number">0</td>', "pseudo-nats per", "0.500"):
        assert said in words, said


# ---- what was stopped, cut or spoilt


def test_spare_seeds_neither_stand_for_missing_ones_nor_are_shown(experiment_folder: Path, tmp_path: Path) -> None:
    record = json.loads((experiment_folder / "record.json").read_text())
    (experiment_folder / "record.json").write_text(json.dumps({**record, "seeds": 2}))
    result = page.compared(experiment_folder)
    assert result is not None
    assert [each.seeds for each in result.variants] == [[1, 2], [1, 2]]
    publish(experiment_folder, tmp_path / "kept")
    assert {trial["seed"] for trial in read_packed(tmp_path / "kept").trials} == {1, 2}
    shutil.rmtree(experiment_folder / "cells" / "rope" / "seed-2")
    assert unfinished(experiment_folder) == "it is unfinished: 3 of 4 runs"
    (experiment_folder / "record.json").write_text(json.dumps({**record, "seeds": 1}))
    assert unfinished(experiment_folder) == "it has one seed, so that no difference has an interval"


def test_one_diverged_run_does_not_keep_all_from_being_published(experiment_folder: Path, tmp_path: Path) -> None:
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
        assert [each.seeds for each in result.variants] == [[1, 2], [1, 2, 3]]
        assert result.left_out == [("cells/rope/seed-3", "error: loss is nan")]
