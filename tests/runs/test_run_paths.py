"""Paths of a run hold from wherever the next command is started, and no run learns another text without a word."""

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from mingpt.cli import main
from mingpt.core.errors import CheckpointError, DataError, UsageError
from mingpt.core.paths import absolute, expanded, shown
from mingpt.data import shakespeare, text_files
from mingpt.data.downloads import DOWNLOADS
from mingpt.interop import exporting
from mingpt.runs import config as settings
from mingpt.runs import run, run_dir, text_origin

OTHER = "hgfedcba ,\n" * 80


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny: Any, text_file: Path) -> Path:
    """A folder with `text.txt` and a run of it, `run`, that was started there with relative paths."""
    home = tmp_path_factory.mktemp("made")
    shutil.copy(text_file, home / "text.txt")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        steps = {"trainer.max_iters": 2, "trainer.schedule": "constant"}
        run.train(tiny(Path("run"), {"data.path": "text.txt", **steps}))
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it whose run names that copy's text; the current folder is another, with another `text.txt`."""
    copy = Path(shutil.copytree(made, tmp_path / "home"))
    for name in ("config.yaml", "environment.json"):
        content = (copy / "run" / name).read_text(encoding="utf-8")
        (copy / "run" / name).write_text(content.replace(str(made), str(copy)), encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("text.txt").write_text(OTHER, encoding="utf-8")
    return copy


def make_old(folder: Path) -> None:
    """Give the run the relative path that was stored once."""
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    (folder / "config.yaml").write_text(config.replace(str(folder.parent / "text.txt"), "text.txt"), encoding="utf-8")
    assert "path: text.txt\n" in (folder / "config.yaml").read_text(encoding="utf-8")


def resumed(folder: Path, *words: str) -> run.Run:
    argv = ["--trainer.resume=True", f"--system.work_dir={folder}", "--trainer.max_iters=3", *words]
    return run.train(run_dir.resume_settings(argv, settings.parse(argv)))


def test_run_stores_absolute_paths_and_shows_relative_ones(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings.read(made / "run" / "config.yaml")
    assert config.data.path == str(made / "text.txt")
    monkeypatch.chdir(made)
    assert run.load("run").folder == made / "run"
    assert main.main(["eval", "--run=run"]) == 0
    assert capsys.readouterr().out.endswith("of the validation set, run\n")


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.thin(1)
def test_settings_of_a_run_name_its_own_text_from_any_folder(home: Path, old: bool) -> None:
    if old:
        make_old(home / "run")
    for words in ([], ["--model.rope=True"]):
        config = settings.parse([f"--config={home / 'run/config.yaml'}", *words])
        assert config.data.path == str(home / "text.txt")
    assert settings.read(home / "run" / "config.yaml").data.path == str(home / "text.txt")
    relative = os.path.relpath(home / "run/config.yaml")
    assert settings.parse([f"--config={relative}", "--data.path=text.txt"]).data.path == "text.txt"


@pytest.mark.parametrize("old", [False, True])
def test_run_goes_on_from_any_folder(home: Path, old: bool) -> None:
    if old:
        make_old(home / "run")
    assert resumed(home / "run").progress.step == 3
    assert sorted(path.name for path in Path().iterdir()) == ["text.txt"]


def test_changed_text_of_settings_is_an_error_that_says_so(home: Path) -> None:
    (home / "text.txt").write_text(OTHER, encoding="utf-8")
    config = f"--config={home / 'run/config.yaml'}"
    with pytest.raises(DataError, match=r"text\.txt: no longer the text that .*run was trained on"):
        settings.parse([config])
    with pytest.raises(CheckpointError, match="no longer the text that it began with"):
        resumed(home / "run")
    assert settings.parse([config, f"--data.path={home / 'text.txt'}"]).data.path == str(home / "text.txt")


@pytest.mark.full
def test_moved_text_is_an_error_that_says_how_to_name_it(home: Path) -> None:
    (home / "text.txt").rename(home / "moved.txt")
    for act in (lambda: settings.parse([f"--config={home / 'run/config.yaml'}"]), lambda: resumed(home / "run")):
        with pytest.raises(DataError, match=r"run: its text is no longer at .*text\.txt; name it with --data\.path"):
            act()
    assert resumed(home / "run", f"--data.path={home / 'moved.txt'}").progress.step == 3
    assert settings.read(home / "run/config.yaml").data.path == str(home / "moved.txt")
    with pytest.raises(CheckpointError, match="no longer the text"):
        resumed(home / "run", "--data.path=text.txt", "--trainer.max_iters=4")


def test_run_without_a_checkpoint_goes_on_with_its_own_text_alone(home: Path) -> None:
    shutil.rmtree(home / "run" / "checkpoints")
    with pytest.raises(CheckpointError, match="no longer the text"):
        resumed(home / "run", "--data.path=text.txt")


def test_edited_copy_of_settings_may_name_another_text(home: Path) -> None:
    edited = (home / "run/config.yaml").read_text().replace(str(home / "text.txt"), str(Path("text.txt").absolute()))
    (home / "run/mine.yaml").write_text(edited)
    assert settings.parse([f"--config={home / 'run/mine.yaml'}"]).data.path == str(Path("text.txt").absolute())


def test_damaged_environment_lets_a_model_be_loaded_but_not_its_settings_be_trained(home: Path) -> None:
    make_old(home / "run")
    (home / "run/environment.json").write_text("[")
    assert run.load(home / "run").config.data.path == "text.txt"
    with pytest.raises(CheckpointError, match=r"environment\.json"):
        settings.parse([f"--config={home / 'run/config.yaml'}"])


def test_default_text_is_written_where_a_run_begins_and_nowhere_else(
    tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shakespeare, "rendered_plays", lambda: OTHER)
    monkeypatch.setattr(shakespeare, "SHAKESPEARE_SHA256", hashlib.sha256(OTHER.encode()).hexdigest())
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    folder = run.train(tiny(tmp_path / "run", {"data.path": "input.txt", "trainer.max_iters": 1})).folder
    assert settings.read(folder / "config.yaml").data.path == str(tmp_path / "a" / "input.txt")
    monkeypatch.chdir(tmp_path)
    assert settings.parse([f"--config={folder / 'config.yaml'}"]).data.path == str(tmp_path / "a" / "input.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "run"]


# ---- files of settings that are no run's


def test_relative_path_of_a_file_is_where_it_is_found_and_never_one_of_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipes").mkdir()
    recipe = tmp_path / "recipes" / "mine.yaml"
    recipe.write_text("data:\n  path: a.txt\n")
    monkeypatch.chdir(tmp_path)
    assert settings.parse([f"--config={recipe}"]).data.path == "a.txt"
    (tmp_path / "recipes" / "a.txt").write_text("beside")
    assert settings.parse([f"--config={recipe}"]).data.path == str(tmp_path / "recipes" / "a.txt")
    (tmp_path / "a.txt").write_text("here")
    with pytest.raises(UsageError, match=r"data\.path=a\.txt of recipes/mine\.yaml: lies both .* or --data\.path=rec"):
        settings.parse([f"--config={recipe}"])
    assert settings.parse([f"--config={recipe}", "--data.path=a.txt"]).data.path == "a.txt"
    monkeypatch.chdir(tmp_path / "recipes")
    assert settings.parse(["--config=mine.yaml"]).data.path == "a.txt"


def test_start_of_a_file_is_found_like_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes" / "first").mkdir(parents=True)
    recipe = tmp_path / "recipes" / "mine.yaml"
    recipe.write_text("model:\n  pretrained_folder: first\ndata:\n  path: tinyshakespeare\n")
    monkeypatch.chdir(tmp_path)
    config = settings.parse([f"--config={recipe}"])
    assert config.model.pretrained_folder == str(tmp_path / "recipes" / "first")
    assert config.data.path == "tinyshakespeare"


# ---- `~`, names, lists


def test_tilde_is_the_home_in_every_path(
    home: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(home))
    short = {"trainer.max_iters": 1, "data.path": "~/text.txt"}
    assert run.train(tiny("~/again", short)).folder == home / "again"
    assert main.main(["eval", "--run=~/again", "--text=~/text.txt"]) == 0
    assert main.main(["attention", "--run=~/again", "--text=abc", "--out=~/seen.png"]) == 0
    assert (home / "seen.png").is_file()
    exporting.export(run.load("~/again"), "~/exported")
    assert (home / "exported" / "config.json").is_file()
    assert run.load("~/again").folder == home / "again"
    assert settings.parse(["--config=~/again/config.yaml"]).data.path == str(home / "text.txt")
    start = settings.resolved(settings.parse(["--model.pretrained_folder=~/run", "--data.path=text.txt,~/text.txt"]))
    assert start.model.pretrained_folder == str(home / "run")
    assert start.data.path == f"{Path('text.txt').absolute()},{home / 'text.txt'}"
    assert not Path("~").exists()
    capsys.readouterr()


def test_unknown_home_and_odd_names_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("~no-such-user/x", "./~/x", "~\0", "a b=c#d", "-x", "é", ""):
        assert expanded(path) == path
    for name in ("-x", "a b=c#d", "é", "..", "../x"):
        assert shown(absolute(name)) == name
    assert shown(tmp_path / "a") == "a"
    assert shown(tmp_path) == "."
    assert shown(tmp_path.parent) == str(tmp_path.parent)
    assert shown("/") == "/"


@pytest.mark.parametrize("name", ["plain", "a,b", "[ab]", "a*"])
def test_list_in_a_folder_of_an_odd_name_stays_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for folder in (name, "a", "b"):
        (tmp_path / folder).mkdir(exist_ok=True)
        for file in ("x.txt", "y.txt"):
            (tmp_path / folder / file).write_text(f"{folder}/{file}\n")
    monkeypatch.chdir(tmp_path / name)
    for path, content in {
        "x.txt,y.txt": f"{name}/x.txt\n{name}/y.txt\n",
        "x.txt": f"{name}/x.txt\n",
        "*.txt": f"{name}/x.txt\n{name}/y.txt\n",
        ".": f"{name}/x.txt\n{name}/y.txt\n",
    }.items():
        named = text_files.absolute(path)
        assert text_files.shown(named) == path
        assert text_files.absolute(named) == named
        with monkeypatch.context() as patch:
            patch.chdir("/")
            assert "".join(Path(file).read_text() for file in text_files.files_of(named)) == content
    assert not text_origin.is_there(text_files.absolute("z.txt"))


def test_path_is_shown_so_that_it_means_the_same_when_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for special in ("-", "tinyshakespeare", "input.txt"):
        assert text_files.shown(special) == text_files.absolute(special) == special
        assert text_files.shown(text_files.absolute(f"./{special}")) == f"./{special}"
    for typed in ("./~", "./~/a.txt", "./~*.txt", "a.txt,./~/b.txt"):
        assert text_files.shown(text_files.absolute(typed)) == typed
        assert shown(absolute(typed)) == typed
    Path("~").mkdir()
    Path("~/a.txt").touch()
    assert text_files.shown(text_files.absolute("./~/a.txt")) == "./~/a.txt"


def test_removed_current_folder_is_reported(tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    os.rmdir(tmp_path / "gone")
    with pytest.raises(UsageError, match="the current folder was removed; change to one that exists"):
        run.train(tiny(Path("run"), {"trainer.max_iters": 1}))
    assert shown("/x") == "/x"


def test_text_of_a_cache_that_moved_is_found_again(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What has a name is wherever it is kept."""
    own = json.loads((home / "run/environment.json").read_text())["text_sha256"]
    monkeypatch.setitem(DOWNLOADS, "tinyshakespeare", dataclasses.replace(DOWNLOADS["tinyshakespeare"], sha256=own))
    config = (home / "run/config.yaml").read_text().replace(str(home / "text.txt"), "tinyshakespeare")
    (home / "run/config.yaml").write_text(config)
    environment = (home / "run/environment.json").read_text().replace(str(home / "text.txt"), "/old/tiny.txt")
    (home / "run/environment.json").write_text(environment)
    (home / "mingpt").mkdir()
    shutil.copy(home / "text.txt", home / "mingpt" / "tinyshakespeare.txt")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    assert main.main(["eval", f"--run={home / 'run'}"]) == 0
    capsys.readouterr()
