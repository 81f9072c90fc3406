"""The outcome of a run as a person sees it, markup or not, and the commands that follow."""

import io
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import mingpt
from mingpt.cli.options import SampleOptions
from mingpt.cli.results import risen, show_outcome
from mingpt.core.config_cli import Flags
from mingpt.core.run_files.reading import read_lines
from mingpt.core.shell import quoted

ODD = "shapes [1, 2] and [/bold] [red]at[/red] :warning: out/[a] " + "x" * 100
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(params=[False, True], ids=["lines", "terminal"])
def console(request: pytest.FixtureRequest) -> Console:
    return make_console(request.param)


def make_console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100 if terminal else 40, highlight=False)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_outcome_has_all_that_was_measured(console: Console, trained: Path) -> None:
    run = mingpt.load(trained)
    show_outcome(run, console, "python chargpt.py")
    shown, last = ESCAPE.sub("", printed(console)), run.last_record()
    assert (
        f"validation loss {last['val_loss']:.3f} nats per character, {last['bits_per_byte']:.3f} bits per byte" in shown
    )
    for order, loss in enumerate(run.baselines().values(), start=1):
        assert f"{order}-gram {loss:.2f}" in shown
    assert f"curve: {trained / 'loss.png'}\n" in shown  # its brackets and its space among it
    assert (trained / "loss.png").is_file()


def test_sample_of_the_outcome_is_the_last_one_and_cannot_steer_the_screen(
    console: Console, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = mingpt.load(trained)
    monkeypatch.setattr(run, "generate", lambda *args, **kwargs: pytest.fail("there is a sample already"))
    show_outcome(run, console, "chargpt")
    sampled = read_lines(trained / "samples.jsonl")[0]["text"]
    assert sampled in ESCAPE.sub("", printed(console))
    monkeypatch.setattr(
        "mingpt.cli.results._sample", lambda run, prompt: "O, [/] :warning: [red]\x1b[2J\x9b2J\u202eend"
    )
    show_outcome(run, console, "chargpt")
    assert "O, [/] :warning: [red]\\x1b[2J\\x9b2J\\u202eend" in ESCAPE.sub("", printed(console))


def test_run_without_a_last_sample_gets_a_new_one(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console, run = make_console(terminal=False), mingpt.load(trained)
    monkeypatch.setattr(run, "prompts", lambda: ["R"])  # of which there is none
    show_outcome(run, console, "chargpt")
    assert re.search(r"^R.{5}", printed(console), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("width", [30, 40, 62])
def test_narrow_terminal_breaks_no_number_and_no_command(trained: Path, width: int) -> None:
    console, run = make_console(terminal=True), mingpt.load(trained)
    console.width = width
    show_outcome(run, console, "python chargpt.py")
    shown = ESCAPE.sub("", printed(console)).splitlines()
    for name, loss in run.baselines().items():
        assert any(f"{name} {loss:.2f}" in line for line in shown)
    assert all(len(line) <= width for line in shown if "n-gram baselines" in line or "-gram" in line)
    assert f"  python chargpt.py sample --run={quoted(trained)} --prompt={quoted(run.prompts()[0])}" in shown


@pytest.mark.parametrize("prompt", ["ROMEO:", "\n", "'a\nb'\t\x1b", '"', "$HOME", "`", "!", "\\"])
@pytest.mark.thin(2)
def test_next_commands_are_single_lines_that_a_shell_understands(
    accepts: Any, cwd: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, prompt: str
) -> None:
    console, run = make_console(terminal=False), mingpt.load(trained)
    monkeypatch.setattr(run, "prompts", lambda: [prompt])
    monkeypatch.setattr(run, "generate", lambda *args, **kwargs: "")
    show_outcome(run, console, "chargpt")
    sample, train = printed(console).splitlines()[-2:]
    commands = [words_in_bash(line.removeprefix("  chargpt ")) for line in (sample, train)]
    verb, *words = commands[0]
    options = Flags("", "", {"": SampleOptions}).parse(words)[""]
    assert (verb, options.run, options.prompt) == ("sample", str(trained), prompt)
    for command in commands:
        assert accepts(*command).refusal == "accepted"


def words_in_bash(line: str) -> list[str]:
    """The words that bash makes of a line."""
    told = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True)
    return told.stdout.split("\0")[:-1]


@pytest.mark.parametrize(
    ("losses", "warned"),
    [([2.0, 1.401, 1.558], True), ([2.0, 1.55, 1.558], False), ([2.0, 1.5], False), ([], False)],
)
def test_a_loss_that_ends_above_its_lowest_is_reported(losses: list[float], warned: bool) -> None:
    part = [{"step": 100 * step, "val_loss_part": loss} for step, loss in enumerate(losses[:-1])]
    last = [{"step": 1500, "val_loss": loss} for loss in losses[-1:]]
    found = risen([{"step": 1, "train_loss": 9.0}, *part, *last])
    assert (found is not None) is warned
    if found:
        assert found.startswith("it was lowest, 1.401, at step 100: ")
