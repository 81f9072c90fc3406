"""What a person sees: lines where nobody watches, a bar where somebody does, and text as it is, markup or not."""

import io
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

import mingpt
from mingpt.console import Watch, show_outcome
from mingpt.flags import Flags
from mingpt.options import SampleOptions
from mingpt.training_settings import TrainerConfig

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


def watch_steps(
    console: Console, steps: int, *, held_out_at: int = 0, during: Callable[[Watch], None] | None = None
) -> None:
    """Show a made-up run of so many steps."""
    config = TrainerConfig(max_iters=steps)
    with Watch(console) as watch:
        for step in range(1, steps + 1):
            trainer: Any = SimpleNamespace(config=config, device=torch.device("cpu"), last=step == steps)
            record = {"step": step, "train_loss": 4 - step / steps, "tokens_per_second": 12345.6, "seconds": 2.0 * step}
            if step == held_out_at:
                record["val_loss_part"] = 3.25
            watch(trainer, record)
            if during and step == steps // 2:
                during(watch)


@pytest.mark.parametrize(("steps", "lines"), [(1, 1), (7, 7), (100, 20), (1000, 20)])
def test_output_that_is_no_terminal_gets_a_bar_or_a_line_per_step(steps: int, lines: int) -> None:
    console = make_console(terminal=False)
    watch_steps(console, steps)
    shown = printed(console).splitlines()
    assert len(shown) == lines
    assert not ESCAPE.search(printed(console))
    assert shown[-1] == f"step {steps:,}/{steps:,} · loss 3.000 · 12,346 tokens/s · 0 s left"


def test_held_out_loss_or_time_left_is_not_shown() -> None:
    console = make_console(terminal=False)
    watch_steps(console, 100, held_out_at=33)
    shown = printed(console).splitlines()
    assert "step 33/100 · loss 3.670 · held out 3.250 · 12,346 tokens/s · 134 s left" in shown
    assert "held out" not in shown[0]
    assert "held out" not in shown[-1]  # judged long before


def test_terminal_gets_lines_instead_of_a_bar() -> None:
    console = make_console(terminal=True)
    watch_steps(console, 10, held_out_at=5)
    plain = ESCAPE.sub("", printed(console))
    assert "step 10/10" not in plain
    assert "10/10" in plain
    assert "held out 3.250" in plain
    assert printed(console).count("\x1b[?25l") == printed(console).count("\x1b[?25h") == 1  # the cursor comes back


def test_bar_outlives_an_error() -> None:
    console = make_console(terminal=True)

    def fail(watch: Watch) -> None:
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        watch_steps(console, 10, during=fail)
    assert printed(console).endswith("\x1b[?25h")


def test_notice_is_read_as_markup_or_emoji_or_broken_over_lines(console: Console) -> None:
    watch_steps(console, 10, during=lambda watch: watch.say(ODD))
    assert ODD in ESCAPE.sub("", printed(console)).replace("\r", "\n").split("\n")


def test_outcome_leaves_out_what_was_measured(console: Console, trained: Path) -> None:
    run = mingpt.load(trained)
    show_outcome(run, console, "python chargpt.py")
    shown, last = ESCAPE.sub("", printed(console)), run.last_record()
    assert (
        f"held-out loss {last['val_loss']:.3f} nats per character, {last['bits_per_byte']:.3f} bits per byte" in shown
    )
    for order, loss in enumerate(run.baselines().values(), start=1):
        assert f"{order}-gram {loss:.2f}" in shown
    assert f"curve: {trained / 'loss.png'}\n" in shown  # its brackets and its space among it
    assert (trained / "loss.png").is_file()


def test_sample_of_the_outcome_is_changed_on_its_way_to_the_screen(
    console: Console, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = mingpt.load(trained)
    written = f"ROMEO:\n{ODD}  \n\nO, [/] end."
    monkeypatch.setattr(run, "generate", lambda *args, **kwargs: written)
    show_outcome(run, console, "chargpt")
    assert written in ESCAPE.sub("", printed(console))


@pytest.mark.parametrize("prompt", ["ROMEO:", "\n", '"', "$HOME", "`", "!", "\\"])
def test_next_commands_are_one_line_each_as_a_shell_reads_it(
    accepts: Any, cwd: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, prompt: str
) -> None:
    monkeypatch.setattr("mingpt.console.prompts_for", lambda tokenizer: [prompt])
    console, run = make_console(terminal=False), mingpt.load(trained)
    monkeypatch.setattr(run, "generate", lambda *args, **kwargs: "")
    show_outcome(run, console, "chargpt")
    sample, train = re.findall(r"^  chargpt (.*)$", printed(console), re.MULTILINE)
    verb, *words = shlex.split(sample)
    options = Flags("", "", {"": SampleOptions}).parse(words)[""]
    usual = prompt if prompt != "\n" else ""  # after the end of a line is where a sample begins by default
    assert (verb, options.run, options.prompt) == ("sample", str(trained), usual)
    for command in (sample, train):
        assert accepts(*shlex.split(command)).refusal == "accepted"
