"""The table of a comparison: the same rows as CSV, JSON, data frame and text, of runs as of a sweep."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mingpt
from mingpt.cli import main
from mingpt.core.errors import UsageError
from mingpt.report import page
from mingpt.report.columns import COLUMNS, compute_of, names, outcomes_of, records_of, table_of, to_csv
from mingpt.report.compare import comparison
from mingpt.report.table import Table, to_html, to_markdown
from mingpt.report.tables import ComparisonTable


def test_row_has_the_numbers_of_the_comparison(six: list[Path]) -> None:
    result = comparison(six)
    first, second = records_of(result)
    (test,) = result.tests
    assert test.difference
    assert [*first] == names()
    assert (first["variant"], first["seeds"], first["parameters"]) == ("model.rope=False", 3, 16_044)
    assert (first["difference"], first["p_holm"], first["outcome"]) == (None, None, None)
    assert second["difference"] == pytest.approx(second["val_loss"] - first["val_loss"])
    assert (second["difference_low"], second["difference_high"]) == (test.difference.low, test.difference.high)
    assert (second["p_holm"], second["outcome"]) == (test.p, "better")
    assert second["minimum_detectable_effect"] == test.difference.mde
    assert second["outcome_at_seconds"] == "worse"  # rope is twice as slow
    assert (second["loss_at_flops"], second["outcome_at_flops"]) == (second["val_loss"], "better")  # of one size
    assert second["training_flops"] == pytest.approx(3 * 2.5e6 * 240)
    assert (second["steps"], second["bits_per_byte"]) == (30, pytest.approx(second["val_loss"] / math.log(2)))


def test_every_table_has_the_same_columns(six: list[Path], tmp_path: Path, capsys: Any) -> None:
    """Terminal, Markdown, HTML and notebook show the headings of COLUMNS that have values, and nothing else."""
    table = table_of(comparison(six))
    titles = [" ".join(head.split()) for head in table.heads]
    assert main.main(["compare", *map(str, six)]) == 0
    printed = capsys.readouterr().out
    markdown, html = to_markdown(table), page.write(six, tmp_path / "page.html").read_text()
    for title in titles:
        assert title in markdown
        assert title.split()[-1] in printed
        assert f">{title.split()[0]}" in html
    assert len(titles) == len(markdown.splitlines()[0].split(" | ")) == to_html(table).count('scope="col"')
    # The text's baselines end at the 2-gram, and these runs are older than CPU seconds.
    absent = {"pseudo-nats per\nmasked token", "below\n4-gram", "CPU\ntime"}
    assert len(titles) == len([column for column in COLUMNS if column.title and column.title not in absent])


def test_page_parts_the_columns_into_outcomes_and_compute(six: list[Path], tmp_path: Path) -> None:
    """Each column is in one of the two tables, each with a note about its own; a lone run has one table."""
    result = comparison(six)
    outcomes, compute, both = outcomes_of(result), compute_of(result), table_of(result)
    assert sorted([*outcomes.heads, *compute.heads[1:]]) == sorted(both.heads)
    assert "validation loss" in outcomes.heads[2]
    assert {"training\nFLOPs", "wall\ntime", "steps"} <= {*compute.heads}
    assert "Validation loss: " in outcomes.note
    assert "wall time" not in outcomes.note
    assert compute.note.endswith("on part of the validation set.")
    shown = page.write(six, tmp_path / "page.html").read_text()
    assert shown.index("<summary>Compute</summary>") < shown.index(f'<p class="soft">{compute.note}</p>')
    alone = page.write(six[:1], tmp_path / "alone.html").read_text()
    assert "<summary>Compute</summary>" not in alone
    assert "Times are those inside training steps" in alone
    assert "a schedule of that length" not in alone


def test_cpu_time_is_the_mean_over_the_seeds(six: list[Path]) -> None:
    for seed, run in enumerate(six):
        lines = (run / "metrics.jsonl").read_text().splitlines()
        lines[-1] = json.dumps({**json.loads(lines[-1]), "cpu_seconds": 10.0 + seed})
        (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert [row["cpu_seconds"] for row in records_of(comparison(six))] == [12.0, 13.0]


def test_column_says_which_variant_ends_below_the_4_gram(six: list[Path]) -> None:
    for run in six:
        (run / "baselines.json").write_text('{"3-gram": 1.9, "4-gram": 1.6}')
    result = comparison(six)  # 1.62 and 1.516
    assert [row["below_4_gram"] for row in records_of(result)] == [False, True]
    table = table_of(result)
    place = list(table.heads).index("below\n4-gram")
    assert [row[place] for row in table.rows] == ["no", "yes"]
    assert [row["below_4_gram"] for row in records_of(replace(result, baselines={}))] == [None, None]


def test_losses_at_equal_flops_are_under_what_was_spent(costly: dict[str, list[Path]]) -> None:
    table = table_of(comparison(costly))
    heads = list(table.heads)
    cheap, dear = table.rows
    assert dear[heads.index("loss\nat 720 MFLOP")].startswith("2.500")
    assert dear[heads.index("outcome\nat 720 MFLOP")] == "worse"
    assert (cheap[heads.index("training\nFLOPs")], dear[heads.index("training\nFLOPs")]) == ("720 MFLOP", "1.44 GFLOP")


def test_cell_can_not_leave_its_place_in_markdown_or_html() -> None:
    odd = "a|b <i>*x*</i>\n`y` & [z](u)"
    table = Table(heads=["name", "value"], rows=[[odd, odd]], title=odd)
    head, rule, row = to_markdown(table).splitlines()
    assert (head, rule) == ("| name | value |", "| --- | ---: |")
    assert row.replace("\\|", "").count("|") == 3
    assert "<" not in row
    assert "<i>" not in to_html(table)
    assert to_html(table).count("&lt;i&gt;") == 3


@pytest.mark.parametrize("runs", [7, [7, 8], {"a": 7}, None, [None]])
def test_what_is_no_run_is_rejected_in_one_line(runs: Any) -> None:
    with pytest.raises(UsageError, match=r"^runs=(7|None): must be run folders, Runs, or lists of these"):
        mingpt.compare(runs)


def test_csv_is_printed_alone_or_written_beside_the_table(six: list[Path], tmp_path: Path, capsys: Any) -> None:
    folders = list(map(str, six))
    assert main.main(["compare", "--csv", *folders]) == 0
    printed, err = capsys.readouterr()
    assert (printed, err) == (to_csv(records_of(comparison(six))), "")
    read = list(csv.DictReader(io.StringIO(printed)))
    assert [float(row["val_loss"]) for row in read] == [row["val_loss"] for row in records_of(comparison(six))]
    assert read[0]["difference"] == ""
    assert main.main(["compare", *folders, f"--csv={tmp_path / 'table.csv'}"]) == 0
    assert (tmp_path / "table.csv").read_text() == printed
    assert "model.rope=True" in capsys.readouterr().out
    for words in (["--csv", str(tmp_path / "spaced.csv"), *folders], [*folders, "--csv", str(tmp_path / "spaced.csv")]):
        assert main.main(["compare", *words]) == 0
        assert capsys.readouterr().out.endswith("spaced.csv\n")
        assert (tmp_path / "spaced.csv").read_text() == printed
        (tmp_path / "spaced.csv").unlink()
    assert main.main(["compare", *folders, "--csv=nowhere/table.csv"]) == 2
    assert main.main(["compare", *folders, "--csv", "--json"]) == 2


def test_json_holds_the_rows(six: list[Path], capsys: Any) -> None:
    assert main.main(["compare", "--json", *map(str, six)]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == json.loads(json.dumps(records_of(comparison(six))))


@pytest.mark.parametrize("kind", ["folders", "names", "runs", "named"])
def test_compare_takes_folders_and_runs(six: list[Path], kind: str) -> None:
    runs: Any = {
        "folders": six,
        "names": list(map(str, six)),
        "runs": [SimpleNamespace(folder=folder) for folder in six],
        "named": {"model.rope=False": six[::2], "model.rope=True": six[1::2]},
    }[kind]
    assert mingpt.compare(runs).rows == records_of(comparison(six))


def test_table_is_shown_in_a_terminal_and_a_notebook(six: list[Path]) -> None:
    table = mingpt.compare(six)
    lines = repr(table).splitlines()
    assert [line.split()[:2] for line in lines[-3:-1]] == [["model.rope=False", "3"], ["model.rope=True", "3"]]
    assert "1.620 ± 0.025" in lines[-3]
    assert "-0.104 ± 0.005" in lines[-2].replace("0.0050", "0.005")
    assert lines[-1] == "baseline: model.rope=False"
    html = table._repr_html_()
    assert html.count("<tr>") == 3
    odd = ComparisonTable(comparison({"<b>": six[::2]}))
    assert "<b>" not in odd._repr_html_()
    assert "&lt;b&gt;" in odd._repr_html_()


def test_data_frame_has_the_rows(six: list[Path]) -> None:
    pandas = pytest.importorskip("pandas")
    frame = mingpt.compare(six).to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == names()
    assert math.isnan(frame["difference"][0])


def test_one_run_is_rejected(six: list[Path]) -> None:
    with pytest.raises(UsageError, match="1 run folder: two or more are needed"):
        mingpt.compare(six[0])


def test_experiment_is_compared_by_its_folder(experiment_folder: Path, six: list[Path], capsys: Any) -> None:
    assert main.main(["compare", str(experiment_folder)]) == 0
    shown = capsys.readouterr().out
    table = mingpt.compare(experiment_folder)
    assert "worse" in shown
    assert table.folder == experiment_folder
    assert {row["variant"] for row in table.rows} == set(
        json.loads((experiment_folder / "record.json").read_bytes())["arms"]
    )
