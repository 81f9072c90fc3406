"""Run folders and config files of older versions load, whose config.yaml had the settings of every family."""

import shutil
from pathlib import Path

import pytest
import yaml

import mingpt
from mingpt.core.errors import UsageError
from mingpt.core.run_files.reading import read_lines
from mingpt.report.compare import comparison
from mingpt.runs import config as settings
from mingpt.runs import run

OLD = Path(__file__).parents[1] / "old_runs"
FAMILIES = ("gpt", "rnn", "birnn", "ngram")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The old run folders, and their text where they say that it is."""
    for name in FAMILIES:
        shutil.copytree(OLD / name, tmp_path / name)
        path = tmp_path / name / "config.yaml"
        path.write_text(path.read_text().replace("path: text.txt", f"path: {tmp_path / 'text.txt'}"))
    shutil.copy(OLD / "text.txt", tmp_path)
    return tmp_path


@pytest.mark.parametrize("family", FAMILIES)
def test_old_run_evaluates_as_it_did(old: Path, family: str) -> None:
    loaded = mingpt.load(old / family, device="cpu")
    recorded = read_lines(old / family / "metrics.jsonl")[-1]
    if family == "birnn":
        assert loaded.pseudo_likelihood().pseudo_nats == pytest.approx(recorded["pseudo_nats"], abs=1e-5)
    else:
        assert loaded.evaluate().nats == pytest.approx(recorded["val_loss"], abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_old_run_generates_what_it_did_or_says_why_not(old: Path, family: str) -> None:
    loaded = mingpt.load(old / family, device="cpu")
    if family == "birnn":
        with pytest.raises(UsageError, match="needs the text to come"):
            loaded.generate("stones", 5)
    else:
        last = [line for line in read_lines(old / family / "samples.jsonl") if line["step"] == loaded.progress.step][0]
        prompt, text = last["prompt"], last["text"]
        tokens = len(text.removeprefix(prompt))
        assert loaded.generate(prompt, tokens, seed=loaded.config.system.seed) in (text, prompt + text)


@pytest.mark.parametrize("family", FAMILIES)
def test_old_run_resumes(old: Path, family: str) -> None:
    steps = [] if family == "ngram" else ["--trainer.max_iters=5", "--trainer.resume_changed=True"]
    words = [f"--config={old / family / 'config.yaml'}", f"--system.work_dir={old / family}", "--trainer.resume=True"]
    done = run.train(settings.parse([*words, *steps, "--trainer.device=cpu"]))
    assert done.progress.step == (1 if family == "ngram" else 5)
    assert "n_query_head" not in (old / family / "config.yaml").read_text() or family == "gpt"


@pytest.mark.parametrize("family", FAMILIES)
def test_old_config_file_starts_a_run(old: Path, family: str) -> None:
    words = [f"--config={old / family / 'config.yaml'}", f"--system.work_dir={old / 'new'}", "--trainer.device=cpu"]
    done = run.train(settings.parse(words))
    before, now = (yaml.safe_load((folder / "config.yaml").read_text())["model"] for folder in (old / family, old / "new"))
    assert now == {key: before[key] for key in now}
    assert now.keys() < before.keys()
    assert done.model.config.type == family


def test_setting_of_another_family_is_dropped_from_a_file_at_its_default_alone(old: Path) -> None:
    path = old / "rnn" / "config.yaml"
    path.write_text(path.read_text().replace("order: 6", "order: 5"))
    with pytest.raises(UsageError, match=r"model\.order: no setting of model\.type=rnn; it is one of ngram"):
        settings.read(path)


def test_old_and_new_runs_of_one_configuration_are_one_variant(old: Path) -> None:
    words = [f"--config={old / 'rnn' / 'config.yaml'}", f"--system.work_dir={old / 'new'}", "--system.seed=1"]
    run.train(settings.parse(words))
    (variant,) = comparison([old / "rnn", old / "new"]).variants
    assert variant.seeds == [1, 3407]
