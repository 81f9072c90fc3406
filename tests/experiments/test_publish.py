"""`chargpt experiment publish`: what is finished is kept, what isn't is named, and figures follow from rows."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mingpt.cli import main
from mingpt.experiments import arguments, summarize
from mingpt.experiments.base import DEFAULTS, Experiment, Measurement
from mingpt.experiments.catalogue import EXPERIMENTS
from mingpt.experiments.runner import ExperimentOptions, carry_out
from mingpt.experiments.trials import Text, changes, defined
from mingpt.report.experiment_files import read_record, smallness
from mingpt.report.palette import Palette


def _draw(rows: list[dict[str, Any]], figure: Any, look: Palette) -> None:
    axes = figure.subplots()
    axes.plot([1, 2], [row["loss"] for row in rows])
    axes.set(ylabel="validation loss, nats per token", xlabel="times the block", title="Farther is worse")


far = Measurement(
    "far", lambda lab: [{"loss": 3.0}, {"loss": 2.0}], _draw, lambda rows: [{"fall": rows[0]["loss"] - 2}]
)


@pytest.fixture
def known(experiment: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Experiment:
    monkeypatch.chdir(tmp_path)
    wanted = experiment(measurements=(far,))
    monkeypatch.setitem(EXPERIMENTS.entries, wanted.name, wanted)
    monkeypatch.setattr(arguments, "questions", lambda: {wanted.name: wanted.question})
    return wanted


def carried_out(known: Experiment, text_file: Path, here: Any) -> None:
    options = ExperimentOptions(
        folder=Path("out/experiments/tiny"), command=f"chargpt --data={text_file}", data=str(text_file)
    )
    end = partial(summarize.summarize, show=lambda result, tables: None)
    carry_out(known, options, summarize=end, launch=here)


@pytest.mark.full
def test_finished_experiment_is_kept_and_drawn(known: Experiment, text_file: Path, here: Any, capsys: Any) -> None:
    carried_out(known, text_file, here)
    assert main.main(["experiment", "publish", "tiny"]) == 0
    first = {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}
    drawn = first[Path("results/tiny/figures/far.svg")].decode()
    for said in ("Farther is worse.", "validation loss, nats per token"):
        assert said.lower() in drawn.lower(), said
    assert read_record(Path("results/tiny"))["tables"] == {"far": [{"fall": 1.0}]}
    assert "# Which?" in first[Path("results/tiny/README.md")].decode()
    assert not any(path.suffix == ".html" for path in first)
    assert not any(path.suffix == ".safetensors" for path in first)
    assert all(str(Path.cwd()).encode() not in content for content in first.values())
    capsys.readouterr()
    assert main.main(["experiment", "publish"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "out/experiments/tiny -> results/tiny"
    assert {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()} == first


@pytest.mark.full
def test_texts_alone_can_be_changed(known: Experiment, text_file: Path, here: Any, capsys: Any) -> None:
    carried_out(known, text_file, here)
    publish = ["experiment", "publish", "tiny", "--text_only"]
    assert main.main(publish) == 2
    assert "text_only=True: needs answer or hypothesis_outcome" in capsys.readouterr().err
    assert main.main([*publish, "--answer=RoPE."]) == 2
    assert "results/tiny: nothing is published here" in capsys.readouterr().err
    assert main.main(["experiment", "publish", "tiny"]) == 0
    rows = Path("results/tiny/record.jsonl").read_text().splitlines()[1:]
    Path("out").rename("elsewhere")
    assert main.main([*publish, "--answer=RoPE.", "--hypothesis_outcome=It held."]) == 0
    record = read_record(Path("results/tiny"))
    assert (record["answer"], record["hypothesis_outcome"]) == ("RoPE.", "It held.")
    assert Path("results/tiny/record.jsonl").read_text().splitlines()[1:] == rows


@pytest.mark.full
def test_texts_that_stay_with_new_numbers_are_named(known: Experiment, text_file: Path, here: Any, capsys: Any) -> None:
    carried_out(known, text_file, here)
    assert main.main(["experiment", "publish", "tiny", "--answer=RoPE."]) == 0
    assert main.main(["experiment", "publish", "tiny"]) == 0
    assert "are new" not in capsys.readouterr().out
    with Path("out/experiments/tiny/measurements.jsonl").open("a") as file:
        file.write('{"measurement": "other", "value": 1}\n')
    assert main.main(["experiment", "publish", "tiny"]) == 0
    assert "results/tiny: its numbers are new, but answer as before" in capsys.readouterr().out


@pytest.mark.full
def test_record_of_variants_with_other_names_keeps_its_figures(
    known: Experiment, text_file: Path, here: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried_out(known, text_file, here)
    assert main.main(["experiment", "publish", "tiny"]) == 0
    first = {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}
    renamed = {f"new {name}": stages for name, stages in known.variants.items()}
    changed = replace(known, variants=renamed, measurements=(replace(far, table=lambda rows: []),))
    monkeypatch.setitem(EXPERIMENTS.entries, "tiny", changed)
    capsys.readouterr()
    assert main.main(["experiment", "publish", "tiny"]) == 2
    assert "have other names by now; run it again" in capsys.readouterr().err
    assert main.main(["experiment", "publish"]) == 0
    assert f"since it has no variant {', '.join(known.variants)}" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()} == first


def test_unfinished_experiment_is_named_and_not_kept(known: Experiment, capsys: Any) -> None:
    folder = Path("out/experiments/tiny")
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps({"name": "tiny", "arms": {"a": []}, "seeds": 2}))
    assert main.main(["experiment", "publish", "tiny"]) == 2
    assert "out/experiments/tiny: it is unfinished: 0 of 2 runs" in capsys.readouterr().err
    assert main.main(["experiment", "publish"]) == 0
    assert "left out: out/experiments/tiny: it is unfinished" in capsys.readouterr().out
    assert not Path("results").exists()


def test_publish_says_when_there_is_nothing_to_publish(known: Experiment, capsys: Any) -> None:
    assert main.main(["experiment", "publish"]) == 0
    assert capsys.readouterr().out.startswith("nothing to publish: no finished experiment in out/experiments; ")
    assert not Path("results").exists()


def test_show_prints_the_result_of_a_finished_experiment(
    known: Experiment, text_file: Path, here: Any, capsys: Any
) -> None:
    assert main.main(["experiment", "show", "tiny"]) == 0
    assert "result" not in capsys.readouterr().out
    carried_out(known, text_file, here)
    for home in ("out/experiments/tiny", "results/tiny"):
        assert main.main(["experiment", "show", "tiny"]) == 0
        shown = capsys.readouterr().out
        assert f"result, from {home}:\n" in shown
        assert ["RoPE", "2"] in [line.split()[:2] for line in shown.splitlines()]
        assert "not tested" in shown
        assert shown.endswith("far\nfall\n   1\n")
        main.main(["experiment", "publish", "tiny"])
        capsys.readouterr()
        Path("out").rename("elsewhere") if Path("out").exists() else None


@pytest.mark.parametrize("quick", [True, False])
def test_smallness_counts_settings_of_runs_alone(quick: bool) -> None:
    definition = defined(EXPERIMENTS["rnn"], Text("t.txt", "0", 9), "quick" if quick else "full")
    said = smallness({**definition, "seeds": 3})
    assert said == ("Quick form: 800 steps of a 1 to 2-layer model, 3 seeds" if quick else "")
    (counting,) = definition["arms"]["6-gram"]
    assert counting["model.order"] == 6
    assert not {"model.n_layer", "trainer.max_iters", "model.cell"} & {*counting}
    whole = {variant: [{**DEFAULTS, **each} for each in stages] for variant, stages in definition["arms"].items()}
    assert changes({**definition, "arms": whole}, definition) == []  # as older records have it


def test_form_that_was_meant_is_published(known: Experiment, capsys: Any) -> None:
    for name in ("tiny", "tiny-full"):
        folder = Path("out/experiments") / name
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps({"name": "tiny", "arms": {"a": []}, "seeds": 2}))
    said = {}
    for words in ((), ("--full",), ("tiny",), ("tiny", "--full"), ("--full", "tiny")):
        main.main(["experiment", "publish", *words])
        told = "".join(capsys.readouterr())
        said[words] = [name for name in ("tiny", "tiny-full") if f"out/experiments/{name}: it is" in told]
    assert said == {
        (): ["tiny", "tiny-full"],
        ("--full",): ["tiny-full"],
        ("tiny",): ["tiny"],
        ("tiny", "--full"): ["tiny-full"],
        ("--full", "tiny"): ["tiny-full"],
    }
