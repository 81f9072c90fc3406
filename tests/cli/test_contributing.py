"""The addition that CONTRIBUTING.md shows is one, and needs nothing else."""

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
DIFF = re.search(r"^```diff\n(.*?)^```", CONTRIBUTING, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the diff applied; as it is, where somebody has applied it already."""
    assert DIFF
    if shutil.which("git") is None:
        pytest.skip("needs git, to apply a diff")
    folder = tmp_path_factory.mktemp("changed")
    for name in ("mingpt", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("chargpt.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    if git_apply(folder, DIFF[1], "--reverse", "--check"):
        applied = git_apply(folder, DIFF[1])
        assert not applied, applied
    return folder


def git_apply(folder: Path, diff: str, *how: str) -> str:
    """What git complains of; nothing where it has nothing to complain of."""
    ended = subprocess.run(["git", "apply", *how, "-"], input=diff, cwd=folder, capture_output=True, text=True)
    return ended.stderr or "it failed" if ended.returncode else ""


def test_applied_diff_is_recognised(changed: Path) -> None:
    """So that the suite stays green for whoever does what CONTRIBUTING.md shows."""
    assert DIFF
    assert not git_apply(changed, DIFF[1], "--reverse", "--check")
    assert git_apply(changed, DIFF[1], "--check")


def test_addition_is_not_listed_or_can_not_be_trained(changed: Path) -> None:
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


def test_addition_escapes_the_tests_of_its_kind(changed: Path) -> None:
    tests = ["tests/attention/test_kernels.py", "tests/attention/test_cache.py", "-k", "cosine"]
    ran = subprocess.run([sys.executable, "-m", "pytest", *tests], cwd=changed, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert passed
    assert int(passed[1]) >= 10


def test_experiment_shown_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that CONTRIBUTING.md shows registers, and every setting of its variants is valid in both forms."""
    shown = re.search(r"^```python\n(.*?)^```", CONTRIBUTING, re.DOTALL | re.MULTILINE)
    assert shown
    monkeypatch.setattr(EXPERIMENTS, "_entries", dict(EXPERIMENTS._entries))
    exec(compile(shown[1], "norms.py", "exec"), {})
    found = EXPERIMENTS["norms"]
    for form in FORMS:
        stages = found.stages(form).values()
        assert {config_of(each).model.norm for (each,) in stages} == {"layernorm", "rmsnorm"}
    fields = {
        name for line in re.findall(r"^\| `.*", CONTRIBUTING, re.MULTILINE) for name in re.findall(r"`(\w+)`", line)
    }
    assert {*vars(found)} <= fields
