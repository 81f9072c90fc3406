"""What a person sees of training: lines in a pipe, a log or where TERM asks for them; a live view in a terminal."""

import io
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.cells import cell_len
from rich.console import Console

from mingpt.cli import progress
from mingpt.cli.live import fit
from mingpt.cli.progress import Watch
from mingpt.cli.terminal import can_redraw, stdout_console
from mingpt.cli.terminal_plot import History, draw
from mingpt.core.phases import Phases
from mingpt.report.formatting import duration
from mingpt.training.trainer_config import TrainerConfig

ODD = "shapes [1, 2] and [/bold] [red]at[/red] :warning: out/[a] " + "x" * 40
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
BASELINES = {"1-gram": 3.9, "2-gram": 3.5, "3-gram": 3.45, "4-gram": 3.2, "5-gram": 3.19, "6-gram": 3.18}
Looks = Mapping[int, Mapping[str, Any]]


@pytest.fixture(params=[False, True], ids=["lines", "terminal"])
def console(request: pytest.FixtureRequest) -> Console:
    return make_console(request.param)


def make_console(terminal: bool, width: int = 100, height: int = 30, **environ: str) -> Console:
    environ = {"TERM": "xterm-256color", **environ}
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=width, height=height, highlight=False, _environ=environ)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def last_frame(console: Console) -> list[str]:
    """The lines of the view as it was left."""
    text = ESCAPE.sub("", printed(console).rpartition("\x1b[2K")[2])
    return text.rstrip().split("\n")


def watch_steps(
    console: Console,
    steps: int,
    *,
    looks: Looks | None = None,
    during: Callable[[Watch], None] | None = None,
    **how: Any,
) -> None:
    """Show a made-up run of so many steps; `looks`: what the records of some steps have, too."""
    config, phases = TrainerConfig(max_iters=steps), Phases()
    with Watch(console) as watch:
        for step in range(1, steps + 1):
            done = SimpleNamespace(step=step)
            trainer: Any = SimpleNamespace(config=config, device=torch.device("cpu"), phases=phases, progress=done)
            trainer.last = trainer.finished = step == steps
            record = {"step": step, "train_loss": 4 - step / steps, "tokens_per_second": 12345.6, "seconds": 2.0 * step}
            watch(trainer, record | dict((looks or {}).get(step, {})))
            if during and step == steps // 2:
                during(watch)


@pytest.mark.parametrize(("steps", "lines"), [(1, 1), (7, 7), (100, 20), (1000, 20)])
def test_output_that_is_no_terminal_gets_some_lines(steps: int, lines: int) -> None:
    console = make_console(terminal=False)
    watch_steps(console, steps)
    shown = printed(console).splitlines()
    assert len(shown) == lines
    assert not ESCAPE.search(printed(console))
    assert shown[-1] == f"step {steps:,}/{steps:,} · loss 3.000 · 12,346 tokens/s · 0 s left"


def test_lines_have_the_validation_loss_where_it_is_new_and_time_left() -> None:
    console = make_console(terminal=False)
    watch_steps(console, 100, looks={33: {"val_loss_part": 3.25}})
    shown = printed(console).splitlines()
    assert "step 33/100 · loss 3.670 · validation 3.250 · 12,346 tokens/s · 2 min 14 s left" in shown
    assert "validation" not in shown[0]
    assert "validation" not in shown[-1]  # evaluated long before


def test_time_left_of_lines_is_of_this_process_and_includes_evaluations() -> None:
    console, phases = make_console(terminal=False), Phases()
    phases.spent["evaluation"], phases.after["evaluation"] = 40.0, 0.0
    trainer: Any = SimpleNamespace(config=TrainerConfig(max_iters=20), phases=phases, last=False)
    trainer.device = torch.device("cpu")
    with Watch(console) as watch:
        for step, seconds in ((11, 1000.0), (12, 1002.0)):  # resumed, on a faster machine
            watch(trainer, {"step": step, "train_loss": 3.0, "tokens_per_second": 1.0, "seconds": seconds})
    first, second = printed(console).splitlines()
    assert "left" not in first
    assert second.endswith(" · 2 min 56 s left")  # eight steps of 2 s and of half of 40 s


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TTY_INTERACTIVE": "0"}])
def test_terminal_that_asks_for_plain_text_gets_lines(environ: dict[str, str]) -> None:
    console = make_console(terminal=True, **environ)
    watch_steps(console, 7)
    assert len(printed(console).splitlines()) == 7
    assert "\x1b" not in printed(console)


@pytest.mark.parametrize("environ", [{"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}, {}])
def test_log_gets_no_escapes_whatever_the_environment_forces(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    console = stdout_console()
    console.rule("a title", style="red")
    watch_steps(console, 7)
    assert not can_redraw(console)
    assert "\x1b" not in printed(console)
    monkeypatch.setattr(sys, "stdout", None)  # as with >&-
    assert not can_redraw(stdout_console())


def test_other_processes_and_notebooks_and_other_encodings_get_no_view() -> None:
    assert can_redraw(make_console(terminal=True))
    assert not can_redraw(Console(file=io.StringIO(), force_terminal=True, quiet=True))
    assert not can_redraw(Console(file=io.StringIO(), force_jupyter=True))
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert not can_redraw(Console(file=latin, force_terminal=True))


def test_view_has_curve_baselines_sample_and_time_left() -> None:
    console, frames = make_console(terminal=True), []
    looks = {
        5: {"val_loss_part": 3.25, "baselines": BASELINES},
        6: {"samples": [{"prompt": "ROMEO:", "text": "ROMEO:\nAy me!\x1b[2J"}]},
    }

    def remember(watch: Watch) -> None:
        frames.append(last_frame(console))

    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(progress, "EVERY_S", 0)
        patch.setattr(progress, "SHARE", 1e9)  # each step is shown
        watch_steps(console, 20, looks=looks, during=remember)
    facts, *rest = frames[0]
    assert facts == "step 10/20 · loss 3.500 · validation loss 3.250 · 12,346 tokens/s · training 20 s left"
    text = "\n".join(rest)
    for name, loss in BASELINES.items():
        assert f"{name} {loss:.2f}" in text
    assert "20 steps" in text
    assert "●" in text
    assert re.search("[\u2801-\u28ff]{3}", text)
    assert "── sample after step 6 ──" in text
    assert "Ay me!\\x1b[2J" in text
    assert last_frame(console)[0].startswith("step 20/20 · loss 3.000")
    assert printed(console).rstrip("\x1b[?25h").endswith("\n")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (40, 12), (20, 5), (9, 2), (300, 90)])
def test_view_fits_any_terminal(width: int, height: int) -> None:
    console = make_console(True, width, height)
    sample = {"prompt": "道", "text": "道可道，非常道。" * 30 + "word " * 90 + "\t" + "y" * 400}
    watch_steps(console, 300, looks={100: {"val_loss_part": 3.2, "baselines": BASELINES}, 150: {"samples": [sample]}})
    lines = last_frame(console)
    assert len(lines) <= max(height - 1, 1)
    assert max(map(cell_len, lines)) < width


def test_terminal_of_another_size_is_cleared_and_notices_are_printed_again() -> None:
    console = make_console(terminal=True)

    def shrink(watch: Watch) -> None:
        watch.message("a notice")
        console.size = console.size._replace(width=50, height=20)  # type: ignore[assignment]
        watch._next = 0

    watch_steps(console, 20, during=shrink)
    before, cleared, after = printed(console).partition("\x1b[2J\x1b[H")
    assert cleared
    assert "a notice" in before
    assert after.startswith("a notice\n")
    assert max(map(cell_len, last_frame(console))) < 50


@pytest.mark.parametrize("fails", [False, True])
def test_cursor_is_never_left_hidden(fails: bool) -> None:
    console = make_console(terminal=True)

    def look(watch: Watch) -> None:
        assert printed(console).rfind("\x1b[?25h") > printed(console).rfind("\x1b[?25l")  # a kill comes any time
        if fails:
            raise RuntimeError("in the middle")

    if fails:
        with pytest.raises(RuntimeError, match="in the middle"):
            watch_steps(console, 10, during=look)
    else:
        watch_steps(console, 10, during=look)
    assert printed(console).rfind("\x1b[?25h") > printed(console).rfind("\x1b[?25l")
    assert printed(console).count("\x1b[?25l") == 1


def test_updates_take_a_small_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which each look at it takes a second: an update takes some, a step one."""
    now = iter(range(10**6))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(now)))
    console = make_console(terminal=True)
    watch_steps(console, 1000)
    assert 2 <= printed(console).count("nats per token") <= 1000 // 50


def test_notice_is_printed_as_it_is_above_the_view(console: Console) -> None:
    watch_steps(console, 10, during=lambda watch: watch.message(ODD))
    assert ODD in ESCAPE.sub("", printed(console)).replace("\r", "\n").split("\n")


def test_notice_wraps_between_words_in_a_terminal_but_for_commands() -> None:
    console = make_console(True, 30)
    Watch(console).message(
        "about 12,345,678 s and 1,234 GB of it\n  chargpt --trainer.resume=True --system.work_dir=out/a"
    )
    assert printed(console).splitlines() == [
        "about 12,345,678 s and 1,234 ",
        "GB of it",
        "  chargpt --trainer.resume=True --system.work_dir=out/a",
    ]


def test_resumed_run_has_its_earlier_curve(tmp_path: Path) -> None:
    lines = [f'{{"step": {step}, "train_loss": 3.5, "val_loss_part": 3.4}}\n' for step in range(1, 4)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    console = make_console(terminal=True)
    with Watch(console, tmp_path) as watch:
        config, phases = TrainerConfig(max_iters=9), Phases()
        trainer: Any = SimpleNamespace(config=config, device=torch.device("cpu"), last=False, phases=phases)
        watch(trainer, {"step": 3, "train_loss": 3.0, "tokens_per_second": 1.0, "seconds": 3.0})
        assert watch._view
        assert [step for step, _ in watch._view.history.training] == [1, 2, 3]
        assert watch._view.history.validation == [(1, 3.4), (2, 3.4)]


def test_phase_after_the_last_step_is_named() -> None:
    console = make_console(terminal=True)
    config, phases = TrainerConfig(max_iters=9), Phases()
    phases.after["evaluation"] = 7.0
    trainer: Any = SimpleNamespace(config=config, device=torch.device("cpu"), last=False, finished=False, phases=phases)
    trainer.progress = SimpleNamespace(step=9)
    with Watch(console) as watch:
        watch(trainer, {"step": 8, "train_loss": 3.0, "tokens_per_second": 1.0, "seconds": 3.0})
        assert "now evaluation" not in printed(console)
        trainer.finished = True
        with phases.timed("evaluation"):
            assert last_frame(console)[0].endswith("now evaluation, about 7 s")
            assert last_frame(console)[0].startswith("step 9/9 · ")


@pytest.mark.parametrize("losses", [[4.0], [4.0, 1e30, 2.0], [1e-9] * 5, [float(n % 7) for n in range(2000)]])
def test_plot_of_any_losses_has_its_size(losses: list[float]) -> None:
    history = History(len(losses))
    for step, loss in enumerate(losses, start=1):
        history.add(step, loss, loss if step % 3 == 0 else None)
    for height in (4, 9, 20):
        lines = draw(history, 40, height)
        assert len(lines) == height
        assert max(len(line.plain) for line in lines) <= 40


def test_plot_puts_losses_at_their_heights() -> None:
    history = History(10)
    for step in range(1, 11):
        history.add(step, 4.0 if step <= 5 else 2.0)
    history.baselines = {"1-gram": 3.0}
    rows = [line.plain for line in draw(history, 60, 11)][1:-1]
    at = {row: found.start() for row, line in enumerate(rows) if (found := re.search("[\u2801-\u28ff]{5}", line))}
    dotted = [*at]
    (dashed,) = [row for row, line in enumerate(rows) if "╌╌╌" in line]
    assert (dotted[0], dashed, dotted[-1]) == (0, len(rows) // 2, len(rows) - 1)
    assert rows[dashed].endswith(" 1-gram 3.00")
    assert at[dotted[0]] < at[dotted[-1]]  # the higher losses were the first


def test_plot_of_many_steps_has_their_mean_losses() -> None:
    history = History(10_000)
    for step in range(1, 10_001):
        history.add(step, 2.0)
    assert {round(loss, 9) for _, loss in history.training} == {2.0}
    assert len(history.training) < 1000


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_are_printed_in_two_units_at_most(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_phrases_are_never_broken() -> None:
    assert fit(["one 1", "two 2", "three 3"], 13) == ["one 1 · two 2", "three 3"]
    assert fit(["one 1", "two 2"], 3) == ["one 1", "two 2"]
