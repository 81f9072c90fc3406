"""The page compares as `chargpt compare`, and shows the records of experiments, whose files it doesn't trust."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mingpt.cli.play.catalogue import Catalogue
from mingpt.report import columns, tables

pytestmark = pytest.mark.full

RESULTS = Path(__file__).parents[3] / "results"


def test_comparison_is_that_of_the_command(client: Any, root: Path) -> None:
    found = client.post("compare", names=["gpt", "lstm"]).json
    expected = columns.table_of(tables.compared([root / "gpt", root / "lstm"]))
    assert found["columns"] == [head.replace("\n", " ") for head in expected.heads]
    assert found["rows"] == [list(row) for row in expected.rows]
    assert expected.note in found["notes"]
    assert "N-gram baselines" in expected.note


def test_what_can_not_be_compared_is_rejected_in_one_line(client: Any) -> None:
    assert "two or more are needed" in client.post("compare", names=["gpt"]).error
    assert client.post("compare", names=["gpt", "nothing"]).status == 404


def test_curve_has_the_losses_of_the_run(client: Any) -> None:
    found = client.get("curve", name="gpt").json
    assert found["steps"] == [1, 2, 3]
    assert len(found["train"]) == len(found["seconds"]) == 3
    assert found["val"][-1][0] == 3


def test_list_names_the_text_where_runs_have_several(root: Path, tmp_path: Path) -> None:
    for name in ("gpt", "other"):
        shutil.copytree(root / "gpt", tmp_path / "out" / name)
    runs = Catalogue(tmp_path / "out")
    assert all("data.path" not in run["settings"] for run in runs.list())
    assert [run["ideas"]["model.window"] for run in runs.list()] == [5, 5]  # equal, so no setting of the table
    environment = tmp_path / "out/other/environment.json"
    found = json.loads(environment.read_text()) | {"text_sha256": "0" * 64}
    environment.write_text(json.dumps(found))
    config = tmp_path / "out/other/config.yaml"
    config.write_text(
        config.read_text().replace("path:", "path: other.txt #", 1).replace("mode: disabled", "mode: null")
    )
    listed = {run["name"]: run for run in Catalogue(tmp_path / "out").list()}
    assert listed["other"]["settings"]["data.path"] == "other.txt"
    assert "data.path" in listed["gpt"]["settings"]
    assert not any(key.startswith("wandb.") for run in listed.values() for key in run["settings"])


@pytest.fixture
def records(serve: Any, tmp_path: Path) -> Any:
    """A page on a root with a published experiment."""
    root = tmp_path / "out"
    shutil.copytree(RESULTS / "gqa", root / "experiments/gqa")
    with serve(root) as client:
        yield client


def test_experiments_have_question_table_and_figures(records: Any) -> None:
    found = {each["name"]: each for each in records.get("experiments").json}["experiments/gqa"]
    assert found["question"].endswith("?")
    assert len(found["table"]["rows"]) >= 2
    for url in found["figures"]:
        figure = records.ask("GET", f"{url}&token={records.token}")
        assert (figure.status, figure.headers["content-type"]) == (200, "image/svg+xml")
        assert figure.headers["content-security-policy"].startswith("default-src 'none'")
        assert figure.headers["content-security-policy"].endswith("sandbox")
        assert records.ask("GET", url).status == 403
    assert found["figures"]


def test_figure_is_one_of_the_experiments_own(records: Any) -> None:
    folder = records.play.catalogue.root / "experiments/gqa"
    (folder / "figures/link.svg").symlink_to("/etc/passwd")
    for file in ("link.svg", "../record.jsonl", "README.md", "/etc/passwd", ""):
        found = records.ask("GET", f"/api/figure?name=experiments/gqa&file={file}&token={records.token}")
        assert found.status == 400
        assert b"root:" not in found.content
