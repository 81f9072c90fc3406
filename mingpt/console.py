"""What a person sees while a model trains: a progress bar in a terminal, plain lines elsewhere, and the outcome."""

import shlex
import textwrap
from pathlib import Path
from types import TracebackType

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mingpt import paths
from mingpt.errors import require
from mingpt.events import prompts_for
from mingpt.influence import Finding, finding
from mingpt.probe import matrix_rate
from mingpt.report import heatmaps
from mingpt.report.reading import judged
from mingpt.report.words import seconds
from mingpt.text.tokens import shown
from mingpt.trained import Run
from mingpt.trainer import Record, Trainer

PICTURES = (".png", ".svg", ".pdf")
TITLE = 90  # characters that fit over a picture
LINES = 20  # of a whole run, where the output is no terminal


class Watch:
    """An event that shows how training goes; a context, so that the bar ends with it."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._held_out, self._peak_rate = "", 0.0
        self._bar: Progress | None = None

    def say(self, line: str) -> None:
        """Print a notice, above the bar where there is one."""
        _plain(self.console, line)

    def __call__(self, trainer: Trainer, record: Record) -> None:
        loss = judged(record)
        pseudo = judged(record, "pseudo_nats")
        fresh = ""  # what this step was judged to be; a bar shows the last that was
        if loss is not None:
            fresh = f" · held out {loss:.3f}"
        elif pseudo is not None:
            fresh = f" · pseudo-nats {pseudo:.3f}"
        self._held_out = fresh or self._held_out
        held_out = self._held_out if self.console.is_terminal else fresh
        text = (
            f"loss {record['train_loss']:.3f}{held_out} · {record['tokens_per_second']:,.0f} tokens/s"
            f"{self._share(trainer, record)}"
        )
        if self.console.is_terminal:
            self._show(trainer, record["step"], text)
        elif (
            trainer.last
            or loss is not None
            or pseudo is not None
            or record["step"] % max(trainer.config.max_iters // LINES, 1) == 0
        ):
            left = record["seconds"] / record["step"] * (trainer.config.max_iters - record["step"])
            self.say(f"step {record['step']:,}/{trainer.config.max_iters:,} · {text} · {left:.0f} s left")

    def _show(self, trainer: Trainer, step: int, text: str) -> None:
        if self._bar is None:
            columns = (BarColumn(24), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self.console)
            self._bar.add_task("", total=trainer.config.max_iters, completed=step - 1)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=step, description=text)

    def _share(self, trainer: Trainer, record: Record) -> str:
        """Model FLOPs utilisation: of the card's own matrix rate, measured once (Chowdhery et al. 2022, appendix B)."""
        if trainer.device.type != "cuda":
            return ""
        self._peak_rate = self._peak_rate or matrix_rate(trainer.device)
        used = 3 * trainer.model.flops_per_token() * record["tokens_per_second"]
        return f" · MFU {used / (trainer.ranks.size * self._peak_rate):.0%}"

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def show_outcome(run: Run, console: Console, program: str) -> None:
    """A sample, the held-out loss beside the n-gram lines, where the curve is, and what to do next."""
    if not run.model.autoregressive:  # why that is so has been said at the start
        _show_pseudo_likelihood(run, console)
        _plain(console, f"{seconds(run.progress.seconds)} of training; curve: {paths.shown(run.folder / 'loss.png')}")
        if run.model.fills:
            gapped = shlex.quote(f"--fill={prompts_for(run.tokenizer)[0][:-1]}_")
            _plain(console, f"it fills gaps:\n  {program} sample --run={shlex.quote(paths.shown(run.folder))} {gapped}")
        return
    prompt = prompts_for(run.tokenizer)[0]
    console.rule("what it writes now", style="dim")
    _plain(console, run.generate(prompt, 400, seed=run.config.system.seed))
    console.rule(style="dim")
    loss = run.last_record()
    if "val_loss" not in loss:  # stopped at the very step that max_iters was then set to
        found = run.evaluate()
        loss = {"val_loss": found.nats, "bits_per_byte": found.bits_per_byte}
    lines = " · ".join(f"{name} {loss:.2f}" for name, loss in run.baselines().items())
    unit = run.tokenizer.unit
    _plain(console, f"held-out loss {loss['val_loss']:.3f} nats per {unit}, {loss['bits_per_byte']:.3f} bits per byte")
    if "val_loss_carried" in loss:
        _plain(console, f"{loss['val_loss_carried']:.3f} nats per {unit} with the state carried from block to block")
    if lines:
        _plain(console, f"counting alone: {lines}")
    _plain(console, f"{seconds(run.progress.seconds)} of training; curve: {paths.shown(run.folder / 'loss.png')}")
    _plain(console, "\nnext:")
    prompted = f" --prompt={shlex.quote(prompt)}" if prompt.isprintable() and prompt else ""  # "\n" is the default's
    _plain(console, f"  {program} sample --run={shlex.quote(paths.shown(run.folder))}{prompted}")
    again = shlex.quote(f"--config={paths.shown(run.folder / 'config.yaml')}")
    if "rope" in run.model.reads:
        _plain(console, f"  {program} {again} --model.rope={not run.config.model.rope}")


def _show_pseudo_likelihood(run: Run, console: Console) -> None:
    pseudo = run.last_record().get("pseudo_nats")
    if pseudo is not None:
        _plain(console, f"pseudo-likelihood: {pseudo:.3f} pseudo-nats per token hidden; no loss, no perplexity")


def draw_attention(run: Run, text: str, path: Path, layer: int | None = None) -> Path:
    """Draw `run.attention(text)` into `path`, all of it or one layer, from 0; returns the path.

    Raises:
        UsageError: as `run.attention`; no such layer; a path that can't be a picture.
    """
    maps, model = run.attention(text), run.model.config
    require(layer is None or 0 <= layer < len(maps), "layer", layer, f"must be 0 to {len(maps) - 1}, or null")
    _require_picture(path)
    first, last = (0, len(maps)) if layer is None else (layer, layer + 1)
    return heatmaps.draw(
        [weights[0].float().numpy() for weights in maps[first:last]],
        [shown(run.tokenizer, int(token)) for token in run.tokenizer.encode(text)],
        model.key_heads,
        [model.of_layer(number).window for number in range(first, last)],
        path,
        first_layer=first,
    )


def draw_leaks(run: Run, text: str, path: Path) -> Finding:
    """Draw `run.influence(text)` into `path`; returns what is found, which is also its title.

    Raises:
        UsageError: as `run.influence`; a path that can't be a picture.
    """
    _require_picture(path)
    moved, ids = run.influence(text), run.tokenizer.encode(text)
    found = finding(run.model, torch.from_numpy(ids.astype("int64")), moved)
    heatmaps.draw_influence(
        moved.numpy(), [shown(run.tokenizer, int(token)) for token in ids], textwrap.fill(found.sentence, TITLE), path
    )
    return found


def _require_picture(path: Path) -> None:
    require(path.suffix in PICTURES, "out", path, f"must end in {', '.join(PICTURES)}")
    paths.require_writable(path)


def _plain(console: Console, text: str) -> None:
    """As it is: no markup, no emoji names, no line broken."""
    console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
