"""What a terminal shows while a model trains: where it is, time left, the loss curve, and the latest sample."""

from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.text import Text

from mingpt.cli.terminal_plot import WIDE, History, draw
from mingpt.core.shell import visible
from mingpt.report.formatting import duration

PARTED = " · "
LEAST_PLOT = 4  # rows, its axis included; where there are fewer there is none
MOST_PLOT, LEAST_SAMPLE, MOST_SAMPLE = 20, 3, 14
LEFT_FREE = 2  # rows: the cursor's, and one so that the top of the frame stays in sight


@dataclass
class View:
    """What is known of a run that is going on.

    Attributes:
        step, steps: made, and to make in all.
        history: its losses.
        validation: the name of its measure, as `validation loss`, with its last value.
        speed: tokens per second, and what else is said of it.
        left: seconds until the last step; None: not known yet.
        then: seconds that each phase takes after the last step, as far as known.
        doing: the phase that is going on after the last step.
        sample: the last one, with its step, its prompt, and its text.
    """

    steps: int
    history: History
    step: int = 0
    training: float = 0.0
    validation: tuple[str, float] | None = None
    speed: str = ""
    left: float | None = None
    then: dict[str, float] = field(default_factory=dict)
    doing: str = ""
    sample: tuple[int, str, str] | None = None

    def frame(self, console: Console) -> Group:
        """All of it, no larger than the terminal."""
        width, height = console.size.width - 1, console.size.height - LEFT_FREE
        lines = [*map(Text, fit(self.facts(short=width < WIDE), width))]
        rows = max(height - len(lines), 0)
        of_sample = min(max(rows // 3, LEAST_SAMPLE), MOST_SAMPLE) if self.sample else 0
        of_plot = min(rows - of_sample, MOST_PLOT)
        if of_plot >= LEAST_PLOT:
            lines += draw(self.history, width, of_plot)
        if self.sample and rows >= of_sample:
            lines += self._sampled(console, width, of_sample)
        for line in lines[:height]:
            line.no_wrap, line.overflow = True, "crop"
        return Group(*lines[:height], "")

    def facts(self, short: bool) -> list[str]:
        """Where the run is, in phrases that stay in one line each."""
        found = [f"step {self.step:,}/{self.steps:,}", f"loss {self.training:.3f}"]
        if self.validation:
            name, value = self.validation
            found.append(f"{name.removesuffix(' loss') if short else name} {value:.3f}")
        found.append(self.speed)
        if self.doing:
            expected = self.then.get(self.doing, 0)
            return [*found, f"now {self.doing}{f', about {duration(expected)}' if expected >= 1 else ''}"]
        if self.left is not None:
            found.append(f"{duration(self.left)} left" if short else f"training {duration(self.left)} left")
        later = {name: seconds for name, seconds in self.then.items() if seconds >= 0.5}
        if later:
            parts = ", ".join(f"{name} {duration(seconds)}" for name, seconds in later.items())
            total = f"then {duration(sum(later.values()))}"
            found.append(total if short else f"then {parts}")
        return found

    def _sampled(self, console: Console, width: int, rows: int) -> list[Text]:
        """The latest sample, wrapped at words, as far as it has room."""
        assert self.sample
        step, prompt, text = self.sample
        title = f"── sample after step {step:,} "
        shown = Text(visible(text).expandtabs(4))
        shown.stylize("bold", 0, len(visible(prompt).expandtabs(4)))
        wrapped = shown.wrap(console, width, overflow="fold")[: rows - 1]
        return [Text(title[:width].ljust(width, "─"), "bright_black"), *wrapped]


def time_left(trainer: Any, first: dict[str, Any], record: dict[str, Any]) -> float | None:
    """Seconds until the last step, what comes between steps included; None before there is something to go by.

    Args:
        first: the record of this process's first step, which is slower than others.
    """
    made, to_make = record["step"] - first["step"], trainer.config.max_iters - record["step"]
    if not made:
        return None if to_make else 0.0
    between = trainer.phases.between_steps / (made + 1)
    return float(((record["seconds"] - first["seconds"]) / made + between) * to_make)


def fit(phrases: list[str], width: int) -> list[str]:
    """Lines of phrases, as many in each as fit; a line breaks between two of them only."""
    lines = [phrases[0]]
    for phrase in phrases[1:]:
        if len(lines[-1]) + len(PARTED) + len(phrase) <= width:
            lines[-1] += PARTED + phrase
        else:
            lines.append(phrase)
    return lines
