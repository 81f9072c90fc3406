"""What the documents tell people to type is what the command takes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from mingpt.cli import main
from mingpt.core.config_cli import Flags
from mingpt.core.errors import DataError
from mingpt.runs import config

ROOT = Path(__file__).parents[2]
MOST_LINES, MOST_WORDS = 160, 1_300  # of README.md
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [README, *(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("docs/*.md")))]
SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(markdown: str) -> Iterator[list[str]]:
    """The words after `chargpt` or `python chargpt.py`, of each such command in a fenced block of shell lines."""
    for block in SHELL.findall(markdown):
        for line in block.replace("\\\n", " ").splitlines():
            if "chargpt" not in line:
                continue
            words = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;<>")
            words.whitespace_split = True
            command: list[str] = []
            for word in [*words, ";"]:
                if not set(word) <= set("|&;<>"):
                    command.append(word)
                    continue
                while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):
                    del command[0]
                called = 1 if command[:1] == ["chargpt"] else 2 if command[:2] == ["python", "chargpt.py"] else 0
                if called:
                    yield command[called:]
                command = []


def inline_settings(markdown: str) -> Iterator[str]:
    """Yield what stands between single backticks and is flags `--group.key=value` alone."""
    for code in re.findall(r"(?<!`)`(--[^`\n]+)`(?!`)", FENCED.sub("", markdown)):
        if all(re.match(r"--\w+\.\w+=", word) for word in code.split()):
            yield code


@pytest.fixture
def parsed_only(chargpt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return `chargpt` that ends once a verb's settings are checked, where the files that pages name exist."""
    parse = Flags.parse

    def stop(self: Flags, argv: Any, *how: Any) -> None:
        parse(self, argv, *how)
        raise DataError("parsed")

    def call(*words: str) -> Any:
        with mock.patch.object(Flags, "parse", stop):
            return chargpt(*words)

    settings = tmp_path / "out" / "chargpt" / "config.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text("{}")
    (tmp_path / "CLONE").mkdir()
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path)
    return call


def test_no_command_of_a_page_is_overlooked() -> None:
    document = (
        "```sh\n$ pip install x && python chargpt.py\nchargpt sample --prompt 'a b' | head # chargpt no\n"
        "OMP_NUM_THREADS=1 chargpt \\\n  --model.rope=True > log\n```\n`chargpt eval`\n```\ncargo chargpt\n```\n"
    )
    assert list(commands(document)) == [[], ["sample", "--prompt", "a b"], ["--model.rope=True"]]
    assert list(inline_settings("`--a.b=1 --c.d=2`, `--e`\n```\n`--f.g=3`\n```\n")) == ["--a.b=1 --c.d=2"]


@pytest.mark.parametrize("words", list(commands("".join(PAGES))), ids=" ".join)
def test_command_of_a_page_is_accepted(parsed_only: Any, words: list[str]) -> None:
    ended = parsed_only(*words)
    if ended.code or not {"list", "--print_config"} & {*words}:
        assert ended.refusal == "parsed"


@pytest.mark.parametrize("code", sorted({code for page in PAGES for code in inline_settings(page)}))
def test_settings_of_a_page_are_accepted_together(parsed_only: Any, code: str) -> None:
    assert parsed_only(*shlex.split(code)).refusal == "parsed"


def test_pages_name_settings_and_commands_that_exist() -> None:
    pages = "".join(PAGES)
    named = re.findall(r"--((?:data|model|trainer|system|sample|wandb|dist)\.\w+)", pages)
    assert len(named) > 10
    assert {*named} <= config.defaults().keys()
    verbs = re.findall(r"chargpt(?:\.py)? ([a-z_]+)", " ".join(re.findall(r"`+[^`]+`+", pages)))
    assert {*verbs} <= main.COMMANDS.keys()
    assert {"sample", "eval"} <= {*verbs}


def test_readme_is_short_and_starts_with_its_two_commands() -> None:
    assert README.count("\n") <= MOST_LINES
    assert len(README.split()) <= MOST_WORDS
    first = FENCED.search(README)
    assert first
    assert first[1].splitlines() == ["pip install -r requirements.txt", "python chargpt.py"]


@pytest.mark.parametrize("name", config.PRESETS)
def test_every_preset_is_accepted_and_changes_something(name: str) -> None:
    assert config.parse([f"--preset={name}"]) != config.Config()
    mentioned = re.findall(r"--(\w+\.\w+)", config.PRESETS[name].read_text(encoding="utf-8"))
    assert {*mentioned} <= config.defaults().keys()
