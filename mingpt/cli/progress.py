"""What a person sees while a model trains: a live view in a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.control import Control
from rich.live import Live

from mingpt.cli.live import View, time_left
from mingpt.cli.terminal import can_redraw, plain
from mingpt.cli.terminal_plot import History
from mingpt.core.run_files.curves import moving_average
from mingpt.core.run_files.reading import Line, each_line, evaluated_loss
from mingpt.core.run_files.records import TrainedStep
from mingpt.report.formatting import duration
from mingpt.runs.summary import mfu_of
from mingpt.trainer import Record, Trainer

LINES = 20  # of a whole run, where the output is no terminal
EVERY_S = 0.25  # between two updates of the view, at least
SHARE = 0.01  # of the time, at most, that updates take
NOTICES = 50  # that are kept, to be printed again where a resized terminal is cleared


class Watch:
    """A callback that shows how training goes; a context, so that the view ends with it.

    Args:
        past: the run folder whose earlier steps belong to the curve, of a run that is resumed.
    """

    def __init__(self, console: Console, past: Path | None = None) -> None:
        self.console, self._past = console, past
        self._next, self._speed = 0.0, moving_average()
        self._mfu_of: Callable[[float], float] | None = None
        self._live: Live | None = None
        self._size = console.size
        self._notices: list[str] = []
        self._view: View | None = None
        self._first: Record = {}

    def message(self, line: str) -> None:
        """Print a message, above the view where there is one."""
        self._notices = [*self._notices[1 - NOTICES :], line]
        plain(self.console, line)

    def __call__(self, trainer: Trainer, record: Record) -> None:
        self._first = self._first or record
        if can_redraw(self.console) and trainer.config.max_iters > 1:
            self._update(trainer, record)
        else:
            self._line(trainer, record)

    def _line(self, trainer: Trainer, record: Record) -> None:
        """Print a line every so often, and with every evaluation."""
        loss, pseudo = evaluated_loss(record), evaluated_loss(record, "pseudo_nats")
        found = "" if loss is None else f" · validation {loss:.3f}"
        found = found if pseudo is None else f" · pseudo-nats {pseudo:.3f}"
        often = max(trainer.config.max_iters // LINES, 1)
        if not (trainer.last or found or record["step"] % often == 0):
            return
        seconds = time_left(trainer, self._first, record)
        left = "" if seconds is None else f" · {duration(seconds)} left"
        self.message(
            f"step {record['step']:,}/{trainer.config.max_iters:,} · loss {record['train_loss']:.3f}{found} · "
            f"{record['tokens_per_second']:,.0f} tokens/s{self._mfu(trainer, record['tokens_per_second'])}{left}"
        )

    def _update(self, trainer: Trainer, record: Record) -> None:
        """Take what the record has, and show it, unless that was done a moment ago."""
        view = self._view or self._begin(trainer, record)
        loss, pseudo = evaluated_loss(record), evaluated_loss(record, "pseudo_nats")
        view.history.add(record["step"], record["train_loss"], loss)
        view.history.baselines = record.get("baselines", view.history.baselines)
        if loss is not None:
            view.validation = "validation loss", loss
        elif pseudo is not None:
            view.validation = "pseudo-nats", pseudo
        if record.get("samples"):
            view.sample = (record["step"], record["samples"][0]["prompt"], record["samples"][0]["text"])
        speed = self._speed(record["tokens_per_second"])
        view.step, view.training, view.doing = record["step"], record["train_loss"], ""
        if trainer.last or time.perf_counter() >= self._next:
            view.speed = f"{speed:,.0f} tokens/s{self._mfu(trainer, speed)}"
            view.left = None if trainer.last else time_left(trainer, self._first, record)
            view.then = {} if trainer.last else trainer.phases.after
            self._draw(view)

    def _begin(self, trainer: Trainer, record: Record) -> View:
        """Begin a view."""
        steps = trainer.config.max_iters
        history = History(steps)
        for line in each_line(self._past / "metrics.jsonl", Line, TrainedStep) if self._past else ():
            if line["step"] < record["step"]:
                history.add(line["step"], line["train_loss"], evaluated_loss(line))
        view = self._view = View(steps, history)

        def begins(phase: str) -> None:
            if trainer.finished:
                view.step, view.doing = trainer.progress.step, phase
                self._draw(view)

        trainer.phases.begins = begins
        return view

    def _draw(self, view: View) -> None:
        began = time.perf_counter()
        if self._live and self.console.size != self._size:
            self._clear(self._live)
        self._size = self.console.size
        if not self._live:
            self._live = Live(console=self.console, auto_refresh=False)
            self._live.start()
            self.console.show_cursor(True)  # so that a process that is killed does not leave it hidden
        self._live.update(view.frame(self.console), refresh=True)
        took = time.perf_counter() - began
        self._next = began + max(EVERY_S, took / SHARE)

    def _clear(self, live: Live) -> None:
        """Start on a clean screen after its size changed, as lines may have moved; what was said is said again."""
        live.transient = True
        live.stop()
        self._live = None
        self.console.control(Control.clear(), Control.home())
        for line in self._notices:
            plain(self.console, line)

    def _mfu(self, trainer: Trainer, tokens_per_second: float) -> str:
        """Return the model FLOPs utilisation of GPUs, for a line; nothing for a CPU."""
        if trainer.device.type != "cuda":
            return ""
        self._mfu_of = self._mfu_of or mfu_of(trainer)
        return f" · MFU {self._mfu_of(tokens_per_second):.0%}"

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
