"""The additions that CONTRIBUTING.md shows are complete, and need nothing else."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mingpt.experiments.base import FORMS
from mingpt.experiments.catalogue import EXPERIMENTS
from mingpt.experiments.trials import config_of

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", CONTRIBUTING, re.DOTALL | re.MULTILINE))
DIFFS = {
    name: found[1]
    for name, text in SECTIONS.items()
    if (found := re.search(r"^```diff\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
}


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the score added."""
    return with_diff(DIFFS["Adding a variant"], tmp_path_factory.mktemp("changed"))


def with_diff(diff: str, folder: Path) -> Path:
    """The project with the diff applied; as it is, where it has been applied already."""
    if shutil.which("git") is None:
        pytest.skip("needs git, to apply a diff")
    for name in ("mingpt", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("chargpt.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    if git_apply(folder, diff, "--reverse", "--check"):
        applied = git_apply(folder, diff)
        assert not applied, applied
    return folder


def git_apply(folder: Path, diff: str, *how: str) -> str:
    """What git complains of; nothing where it has nothing to complain of."""
    ended = subprocess.run(["git", "apply", *how, "-"], input=diff, cwd=folder, capture_output=True, text=True)
    return ended.stderr or "it failed" if ended.returncode else ""


def test_applied_diff_is_recognised(changed: Path) -> None:
    """So that the suite stays green for whoever does what CONTRIBUTING.md shows."""
    diff = DIFFS["Adding a variant"]
    assert not git_apply(changed, diff, "--reverse", "--check")
    assert git_apply(changed, diff, "--check")


@pytest.mark.full
def test_addition_is_listed_and_can_be_trained(changed: Path) -> None:
    (changed / "text.txt").write_text("It was the best of times, it was the worst of times.\n" * 9, encoding="utf-8")
    small = [
        "--data.path=text.txt",
        "--data.block_size=8",
        "--model.n_layer=1",
        "--model.n_embd=8",
        "--wandb.mode=disabled",
    ]
    command = [sys.executable, "chargpt.py"]
    helped = subprocess.run([*command, "train", "--help"], cwd=changed, capture_output=True, text=True, check=True)
    assert "cosine" in helped.stdout
    trained = subprocess.run(
        [*command, "--model.score=cosine", "--trainer.max_iters=2", *small], cwd=changed, capture_output=True, text=True
    )
    assert trained.returncode == 0, trained.stderr
    assert "score: cosine" in (changed / "out/chargpt/config.yaml").read_text(encoding="utf-8")


@pytest.mark.full
def test_addition_is_tested_with_its_kind(changed: Path) -> None:
    tests = ["tests/models/attention/test_kernels.py", "tests/models/attention/test_kv_cache.py", "-k", "cosine"]
    ran = subprocess.run([sys.executable, "-m", "pytest", *tests], cwd=changed, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert passed
    assert int(passed[1]) >= 10


@pytest.mark.full
def test_setting_shown_is_one(tmp_path: Path) -> None:
    """In few files: checked without PyTorch, in the help of its family alone, used, recorded, and tested."""
    diff = DIFFS["Adding a setting"]
    names = re.findall(r"^\+\+\+ b/(\S+)", diff, re.MULTILINE)
    assert sum(name.startswith("mingpt/") for name in names) <= 3
    assert sum(name.startswith("tests/") for name in names) == 1
    folder = with_diff(diff, tmp_path)
    (folder / "text.txt").write_text("It was the best of times, it was the worst of times.\n" * 9, encoding="utf-8")

    def chargpt(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "chargpt.py", *words], cwd=folder, capture_output=True, text=True)

    assert "--model.logit_cap" in chargpt("train", "--help").stdout
    assert "--model.logit_cap" not in chargpt("train", "--model.type=rnn", "--help").stdout
    assert "model.logit_cap=-1.0: must be above 0" in chargpt("--model.logit_cap=-1").stderr
    unknown = chargpt("--model.type=rnn", "--model.logit_cap=3").stderr
    assert "no setting of model.type=rnn; it belongs to gpt" in unknown
    small = ["--data.path=text.txt", "--data.block_size=8", "--model.n_layer=1", "--model.n_embd=8"]
    trained = chargpt(*small, "--model.logit_cap=3", "--trainer.max_iters=2", "--wandb.mode=disabled")
    assert trained.returncode == 0, trained.stderr
    assert "logit_cap: 3.0" in (folder / "out/chargpt/config.yaml").read_text(encoding="utf-8")
    tests = ["tests/models/test_gpt.py", "tests/runs/test_old_runs.py", "-k", "logit_cap or old_config_file"]
    ran = subprocess.run([sys.executable, "-m", "pytest", *tests], cwd=folder, capture_output=True)
    assert ran.returncode == 0, ran.stdout


USE_METRIC = """
import mingpt
from mingpt.cli.main import main
from mingpt.runs.config import parse
small = "--data.path=text.txt --data.block_size=8 --model.n_layer=1 --model.n_embd=8 --trainer.max_iters=2".split()
runs = [
    str(mingpt.train(parse([*small, f"--model.rope={rope}", f"--system.work_dir={name}"])).folder)
    for name, rope in (("a", True), ("b", False))
]
for form in ([], ["--json"], ["--csv"]):
    print("====")
    main(["compare", *form, *runs])
main(["report", "--out=page.html", *runs])
"""


@pytest.mark.full
def test_metric_shown_is_in_every_output(tmp_path: Path) -> None:
    folder = with_diff(DIFFS["Adding a metric"], tmp_path)
    (folder / "text.txt").write_text("It was the best of times, it was the worst of times.\n" * 9, encoding="utf-8")
    ran = subprocess.run([sys.executable, "-c", USE_METRIC], cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    _, table, as_json, as_csv = ran.stdout.split("====\n")
    norms = [row["weight_norm"] for row in json.loads(as_json)["rows"]]
    assert all(norm > 1 for norm in norms)
    assert [float(row["weight_norm"]) for row in csv.DictReader(as_csv.splitlines()[:3])] == norms
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert "weight" in table.splitlines()[0]
    assert "weight" in page
    for norm in norms:
        assert f"{norm:.3f}" in table
        assert f'<td class="number">{norm:.3f}</td>' in page


def test_experiment_shown_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that CONTRIBUTING.md shows registers, and every setting of its variants is valid in both forms."""
    shown = re.search(r"^```python\n(.*?)^```", CONTRIBUTING, re.DOTALL | re.MULTILINE)
    assert shown
    monkeypatch.setattr(EXPERIMENTS, "entries", dict(EXPERIMENTS.entries))
    exec(compile(shown[1], "norms.py", "exec"), {})
    found = EXPERIMENTS["norms"]
    for form in FORMS:
        stages = found.stages(form).values()
        assert {config_of(each).model.norm for (each,) in stages} == {"layernorm", "rmsnorm"}
    fields = {
        name for line in re.findall(r"^\| `.*", CONTRIBUTING, re.MULTILINE) for name in re.findall(r"`(\w+)`", line)
    }
    assert {*vars(found)} <= fields
