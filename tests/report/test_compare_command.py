"""`chargpt compare`: what it prints, and refuses."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mingpt.cli import main
from mingpt.cli.compare import show
from mingpt.report.compare import comparison

ROOT = Path(__file__).parents[2]


def test_pairs_without_the_baseline_have_a_table_where_they_were_tested(make_run: Any) -> None:
    runs = {name: [make_run(f"{name}{seed}", seed=seed, score=name) for seed in (1, 2, 3)] for name in "abc"}
    for every_pair in (True, False):
        said = io.StringIO()
        show(comparison(runs, every_pair=every_pair), Console(file=said, width=200))
        pairs = [line.split()[:2] for line in said.getvalue().splitlines()]
        assert (["c", "b"] in pairs) is every_pair


def test_equal_time_is_shown_only_with_a_result(six: list[Path], make_run: Any) -> None:
    early = [make_run(f"early-{seed}", seed=seed, curve=[3.0], second=0.05, score="dot") for seed in (1, 2)]
    for folders, shown in [(six, True), (early + six[:2], False)]:
        said = io.StringIO()
        show(comparison(folders), Console(file=said, width=200))
        assert (said.getvalue().count("at 3 s") == 2) == shown


def test_file_of_the_table_is_named(six: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.csv"
    assert main.main(["compare", f"--csv={table}", *map(str, six)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"table: {table}"
    assert len(table.read_text().splitlines()) == 3


def test_narrow_terminal_breaks_neither_names_nor_numbers(six: list[Path]) -> None:
    said = io.StringIO()
    show(comparison(six), Console(file=said, width=80, force_terminal=True, color_system=None))
    lines = said.getvalue().splitlines()
    names = [line.split()[0] for line in lines if line.startswith("model.")]
    assert names == ["model.rope=False", "model.rope=True"]
    assert max(map(len, lines[:4])) <= 80
    assert not any("MFLOP" in line for line in lines[:2])
    assert any(line.startswith("no room for ") and "MFLOP per token" in " ".join(lines) for line in lines)
    assert "differ in: model.rope (False, True)" in lines


def test_compare_prints_the_table_and_the_baselines(six: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["compare", *map(str, six)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    rows = [line.split() for line in out.splitlines()]
    assert ["model.rope=False", "3"] in [row[:2] for row in rows]
    assert "16,044" in out
    assert "n-gram baselines (Kneser-Ney): 1-gram 2.50, 2-gram 1.80" in out
    assert "baseline: model.rope=False; MDE: minimum detectable effect (power 0.8)" in out


def test_json_is_all_that_is_printed(six: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["compare", "--json", *map(str, six)]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found.pop("rows")
    assert (found, err) == (json.loads(json.dumps(comparison(six).to_json())), "")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["learned-1"], 2, "1 run folder: two or more are needed"),
        ([], 2, "0 run folders"),
        (["learned-1", "nowhere"], 4, "nowhere: no run here"),
        (["nowhere"], 4, "nowhere: no run here"),
        (["lerned-1"], 4, "lerned-1: no run here (it has no config.yaml) (did you mean 'learned-1'?)"),
        (["no/such/place"], 4, "place: no run here (it has no config.yaml)\n"),
        (["learned-1", "rope-1", "--jsn"], 2, "--jsn: there is no such setting (did you mean 'json'?)"),
        (["learned-1", "--zz=1"], 2, "--zz: there is no such setting; `chargpt compare --help` lists all"),
        (["learned-1", "other"], 3, "another text"),
        (["learned-1", ""], 2, "folder='': must name a folder"),
    ],
)
def test_rejection_is_a_single_line(
    six: list[Path], make_run: Any, capsys: Any, monkeypatch: Any, words: list[str], code: int, said: str
) -> None:
    make_run("other", text="u")
    monkeypatch.chdir(six[0].parent)
    assert main.main(["compare", *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.full
def test_compare_and_report_need_no_torch(six: list[Path], tmp_path: Path) -> None:
    script = (
        "import sys; from mingpt.cli.main import main\n"
        f"assert main(['compare', *{list(map(str, six))!r}]) == 0\n"
        f"assert main(['report', *{list(map(str, six))!r}, '--out', {str(tmp_path / 'r.html')!r}]) == 0\n"
        "assert 'torch' not in sys.modules, 'torch'"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_variant_is_named_by_settings_of_its_family_alone(make_run: Any) -> None:
    both = {"model": {"parameters": 0, "flops_per_token": 1, "reads": ["model.type", "model.cell"]}}
    one = {"model": {"parameters": 5, "flops_per_token": 1, "reads": ["model.type", "model.n_layer"]}}
    runs = [make_run("r", type="rnn", cell="gru", n_layer=4, environment=both)]
    runs.append(make_run("g", type="gpt", cell="elman", n_layer=2, environment=one))
    assert [each.name for each in comparison(runs).variants] == [
        "model.type=rnn",
        "model.type=gpt",
    ]
