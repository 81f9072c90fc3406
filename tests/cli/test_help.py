"""Help and version are there in every spelling that people try, of every verb and of what verbs have inside."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mingpt.benchmarks import BENCHMARKS
from mingpt.cli import main
from mingpt.core import shell
from mingpt.core.version import VERSION

ROOT = Path(__file__).parents[2]
INSIDE = [
    *(("experiment", action) for action in ("list", "run", "show", "publish")),
    *(("experiment", action, "gqa") for action in ("run", "show", "publish")),
    *(("bench", name) for name in BENCHMARKS),
]


@pytest.mark.parametrize("words", [*((verb,) for verb in main.COMMANDS), *INSIDE], ids=" ".join)
@pytest.mark.usefixtures("untouched")
def test_every_command_has_help(chargpt: Any, words: tuple[str, ...]) -> None:
    asked = [chargpt(*words, "--help"), chargpt(*words, "-h"), chargpt("help", *words)]
    assert {(ended.code, ended.err) for ended in asked} == {(0, "")}
    assert "usage: " in asked[0].out
    assert len({ended.out for ended in asked}) == 1


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_general_help_lists_every_command(chargpt: Any, words: list[str]) -> None:
    ended = chargpt(*words)
    assert (ended.code, ended.err) == (0, "")
    assert all(f"\n  {verb} " in ended.out for verb in main.COMMANDS)


def test_help_of_no_command_names_the_nearest(chargpt: Any) -> None:
    ended = chargpt("help", "swep")
    assert ended.code == 2
    assert "did you mean 'sweep'?" in ended.refusal


@pytest.mark.parametrize("word", ["--version", "-V", "version"])
def test_version_is_printed(chargpt: Any, word: str) -> None:
    assert chargpt(word) == (chargpt("--version"))
    assert chargpt(word).out == f"{VERSION}\n"


def test_module_is_the_command() -> None:
    ended = subprocess.run([sys.executable, "-m", "mingpt", "version"], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{VERSION}\n", "")


@pytest.mark.parametrize(
    ("started", "called"),
    [
        ("a/chargpt.py", "python chargpt.py"),
        ("a/mingpt/__main__.py", "python -m mingpt"),
        ("a/pytest/__main__.py", "python __main__.py"),
        ("bin/chargpt", "chargpt"),
    ],
)
def test_program_is_called_as_it_was_started(monkeypatch: pytest.MonkeyPatch, started: str, called: str) -> None:
    monkeypatch.setattr(sys, "argv", [started])
    assert shell.program() == called
