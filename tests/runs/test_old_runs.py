"""Run folders and config files of older versions load, whose config.yaml had the settings of every family."""

import shutil
from pathlib import Path

import pytest
import yaml

import mingpt
from mingpt.core.errors import UsageError
from mingpt.core.run_files.reading import read_lines
from mingpt.models.config import CONFIGS
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
        for path in (tmp_path / name / "config.yaml", tmp_path / name / "environment.json"):
            path.write_text(path.read_text().replace("text.txt", str(tmp_path / "text.txt")))
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
@pytest.mark.thin(2)
def test_old_run_generates_what_it_did_or_says_why_not(old: Path, family: str) -> None:
    loaded = mingpt.load(old / family, device="cpu")
    if family == "birnn":
        with pytest.raises(UsageError, match="isn't autoregressive, so it can't generate"):
            loaded.generate("stones", 5)
    else:
        line = read_lines(old / family / "samples.jsonl")[-1]
        sampling = {key: value for key, value in line.items() if key not in ("step", "prompt", "text")}
        assert loaded.generate(line["prompt"], loaded.config.sample.tokens, **sampling) == line["text"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.full
def test_old_run_resumes(old: Path, family: str) -> None:
    steps = [] if family == "ngram" else ["--trainer.max_iters=5"]
    steps.append("--trainer.resume_changed=True")
    words = [f"--config={old / family / 'config.yaml'}", f"--system.work_dir={old / family}", "--trainer.resume=True"]
    done = run.train(settings.parse([*words, *steps, "--trainer.device=cpu"]))
    assert done.progress.step == (1 if family == "ngram" else 5)
    assert "n_query_head" not in (old / family / "config.yaml").read_text() or family == "gpt"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.full
def test_old_config_file_starts_a_run(old: Path, family: str) -> None:
    words = [f"--config={old / family / 'config.yaml'}", f"--system.work_dir={old / 'new'}", "--trainer.device=cpu"]
    done = run.train(settings.parse(words))
    before, now = (yaml.safe_load((old / name / "config.yaml").read_text())["model"] for name in (family, "new"))
    usual = CONFIGS[family]()  # has what was no setting yet
    assert now == {key: before.get(key, getattr(usual, key)) for key in now}
    assert before.keys() - now.keys()
    assert done.model.config.type == family


def test_setting_of_another_family_is_dropped_from_a_file_at_its_default_alone(old: Path) -> None:
    path = old / "rnn" / "config.yaml"
    path.write_text(path.read_text().replace("order: 6", "order: 5"))
    with pytest.raises(UsageError, match=r"model\.order: no setting of model\.type=rnn; it belongs to ngram"):
        settings.read(path)


@pytest.mark.full
def test_old_and_new_runs_of_one_configuration_are_one_variant(old: Path) -> None:
    words = [f"--config={old / 'rnn' / 'config.yaml'}", f"--system.work_dir={old / 'new'}", "--system.seed=1"]
    run.train(settings.parse(words))
    (variant,) = comparison([old / "rnn", old / "new"]).variants
    assert variant.seeds == [1, 3407]


def test_earlier_name_of_a_kernel_is_read_from_files_alone(old: Path) -> None:
    path = old / "gpt" / "config.yaml"
    path.write_text(path.read_text().replace("kernel: auto", "kernel: wide"))
    assert mingpt.load(old / "gpt", device="cpu").config.model.kernel == "chunked_sdpa"  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"model\.kernel=wide: must be one of"):
        settings.parse(["--model.kernel=wide"])
