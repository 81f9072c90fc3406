"""`chargpt experiment publish`: what is finished is kept, what isn't is named, and figures follow from rows."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mingpt import cli
from mingpt.experiments import conclude
from mingpt.experiments.base import EXPERIMENTS, Experiment, Measurement
from mingpt.experiments.runner import Wish, carry_out


def _draw(rows: list[dict[str, Any]], figure: Any) -> None:
    axes = figure.subplots()
    axes.plot([1, 2], [row["loss"] for row in rows])
    axes.set(ylabel="held-out loss, nats per token", xlabel="times the block", title="Farther is worse")


far = Measurement(
    "far", lambda lab: [{"loss": 3.0}, {"loss": 2.0}], _draw, lambda rows: f"it falls by {rows[0]['loss'] - 2:g}"
)


@pytest.fixture
def known(experiment: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Experiment:
    monkeypatch.chdir(tmp_path)
    wanted = experiment(measurements=(far,))
    monkeypatch.setitem(EXPERIMENTS._entries, wanted.name, wanted)
    return wanted


def carried_out(known: Experiment, text_file: Path, here: Any) -> None:
    wish = Wish(folder=Path("out/experiments/tiny"), command=f"chargpt --data={text_file}", data=str(text_file))
    end = partial(conclude.conclude, show=lambda result: None)
    carry_out(known, wish, say=lambda line: None, conclude=end, launch=here)


def test_finished_experiment_is_not_kept_or_drawn(known: Experiment, text_file: Path, here: Any, capsys: Any) -> None:
    Path("README.md").write_text("<!-- results -->\n<!-- /results -->\n")
    carried_out(known, text_file, here)
    assert cli.main(["experiment", "publish", "tiny"]) == 0
    first = {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}
    drawn = first[Path("results/tiny/figures/far.svg")].decode()
    for said in ("It falls by 1.", "Farther is worse.", "held-out loss, nats per token"):
        assert said.lower() in drawn.lower(), said
    assert json.loads(first[Path("results/tiny/summary.json")])["findings"] == ["It falls by 1"]
    assert "Which?" in Path("README.md").read_text()
    assert not any(path.suffix == ".safetensors" for path in first)
    assert all(str(Path.cwd()).encode() not in content for content in first.values())
    capsys.readouterr()
    assert cli.main(["experiment", "publish"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "out/experiments/tiny -> results/tiny"
    assert {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()} == first


def test_unfinished_experiment_is_kept_or_silently_left_out(known: Experiment, capsys: Any) -> None:
    folder = Path("out/experiments/tiny")
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps({"name": "tiny", "arms": {"a": []}, "seeds": 2}))
    assert cli.main(["experiment", "publish", "tiny"]) == 2
    assert "out/experiments/tiny: it is unfinished: 0 of 2 runs" in capsys.readouterr().err
    assert cli.main(["experiment", "publish"]) == 0
    assert "left out: out/experiments/tiny: it is unfinished" in capsys.readouterr().out
    assert not Path("results").exists()
