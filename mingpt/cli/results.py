"""Output of `train` after the last step, of `eval`, and the pictures of `attention` and `causality`."""

import sys
import textwrap
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from rich.console import Console

from mingpt.cli.live import fit
from mingpt.cli.options import EvalOptions
from mingpt.cli.terminal import plain
from mingpt.core import paths
from mingpt.core.errors import require
from mingpt.core.phases import breakdown
from mingpt.core.run_files.reading import Line, Record, each_line, evaluated_loss
from mingpt.core.run_files.records import Sample
from mingpt.core.shell import quoted, visible
from mingpt.core.statistics import MARGIN
from mingpt.data.tokenizer_base import shown
from mingpt.inference.causality import CausalityResult, causality_result
from mingpt.inference.past_block import PastBlockLoss
from mingpt.report import heatmaps
from mingpt.report.formatting import seconds
from mingpt.runs.trained_run import Run

TITLE = 90  # characters that fit over a picture


def show_outcome(run: Run, console: Console, program: str, began: float | None = None) -> None:
    """Print a sample, the validation loss and the n-gram baselines, times, the curve's path, and commands to try next.

    Args:
        began: time.perf_counter() at the start of the program that trained it; None: no time is shown.
    """
    if not run.model.autoregressive:  # the reason was logged at the start
        _show_pseudo_likelihood(run, console)
        _show_time(run, console, began)
        if run.model.infills:
            masked = quoted(f"--fill={run.prompts()[0][:-1]}_")
            folder = quoted(paths.shown(run.folder))
            plain(console, f"fill in masked tokens:\n  {program} sample --run={folder} {masked}")
        return
    prompt = run.prompts()[0]
    line = "─" if console.encoding.startswith("utf") else "-"
    console.rule("sample", characters=line, style="dim")
    plain(console, visible(_sample(run, prompt)))
    console.rule(characters=line, style="dim")
    loss = run.last_record()
    if "val_loss" not in loss:  # stopped at the very step that max_iters was then set to
        found = run.evaluate()
        loss = {"val_loss": found.nats, "bits_per_byte": found.bits_per_byte}
    lines = [f"{name} {loss:.2f}" for name, loss in run.baselines().items()]
    unit = run.tokenizer.unit
    plain(console, f"validation loss {loss['val_loss']:.3f} nats per {unit}, {loss['bits_per_byte']:.3f} bits per byte")
    if warning := risen(each_line(run.folder / "metrics.jsonl")):
        plain(console, warning)
    if "val_loss_carried" in loss:
        plain(
            console, f"{loss['val_loss_carried']:.3f} nats per {unit} with the recurrent state kept from block to block"
        )
    if lines:
        width = console.width if console.is_terminal else sys.maxsize
        plain(console, "\n".join(fit([f"n-gram baselines: {lines[0]}", *lines[1:]], width)))
    _show_time(run, console, began)
    plain(console, "\nnext:")
    prompted = f" --prompt={quoted(prompt)}" if prompt else ""
    plain(console, f"  {program} sample --run={quoted(paths.shown(run.folder))}{prompted}")
    again = quoted(f"--config={paths.shown(run.folder / 'config.yaml')}")
    if hasattr(run.config.model, "rope"):
        plain(console, f"  {program} {again} --model.rope={not run.config.model.rope}")


def risen(metrics: Iterable[Record]) -> str | None:
    """Return when the validation loss was lowest, if it ended more than 0.05 nats above that; None: it did not.

    Args:
        metrics: lines of metrics.jsonl; before the last, a validation loss is that of part of the validation set.
    """
    losses = [(loss, line["step"]) for line in metrics if (loss := evaluated_loss(line)) is not None]
    if not losses:
        return None
    (lowest, step), (last, _) = min(losses), losses[-1]
    if last - lowest <= MARGIN:
        return None
    return f"it was lowest, {lowest:.3f}, at step {step:,}: try fewer steps, more dropout or a longer text"


def _show_time(run: Run, console: Console, began: float | None) -> None:
    plain(console, f"{seconds(run.progress.seconds)} of training; curve: {paths.shown(run.folder / 'loss.png')}")
    if began is not None:
        plain(console, f"time: {breakdown(run.spent, time.perf_counter() - began)}")


def _sample(run: Run, prompt: str) -> str:
    """Return the text sampled from the prompt after the last step, or a new sample if there is none."""
    lines = each_line(run.folder / "samples.jsonl", Line, Sample)
    found = [line["text"] for line in lines if (line["step"], line["prompt"]) == (run.progress.step, prompt)]
    return found[-1] if found else run.generate(prompt, run.config.sample.tokens, seed=run.config.system.seed)


def _show_pseudo_likelihood(run: Run, console: Console) -> None:
    pseudo = run.last_record().get("pseudo_nats")
    if pseudo is not None:
        plain(console, f"pseudo-likelihood: {pseudo:.3f} pseudo-nats per token hidden; no loss, no perplexity")


def show_evaluation(run: Run, options: EvalOptions) -> None:
    """Print the validation loss of a model, or the pseudo-likelihood of one that infills, as plain lines for scripts.

    Raises:
        UsageError, DataError: as `run.evaluate`, `run.pseudo_likelihood` and `run.past_block_loss`.
    """
    text, split, unit = options.text, options.split, run.tokenizer.unit
    where = f"{text or f'the {split} set'}, {paths.shown(run.folder)}"
    if run.model.infills and not run.model.autoregressive:
        for name in ("context", "stride", "tokens"):
            value, usual = getattr(options, name), getattr(type(options), name)
            require(value == usual, name, value, "has no effect with a model that infills")
        pseudo = run.pseudo_likelihood(text, split=split)
        print(
            f"pseudo-likelihood: {pseudo.pseudo_nats:.4f} pseudo-nats per token, {pseudo.pseudo_bits_per_byte:.4f} "
            f"pseudo-bits per byte\nover {pseudo.tokens:,} of {pseudo.of:,} tokens, each hidden in turn from its block"
            f", of {where}\n"
            "each guess saw the text on both sides: not comparable with a loss or a perplexity"
        )
    elif options.context == "generation":
        _show_past_block(run.past_block_loss(text, split=split), unit, where)
    else:
        how = {name: getattr(options, name) for name in ("split", "context", "stride", "tokens")}
        loss = run.evaluate(text, **how)
        losses = f"{loss.nats:.4f} nats per {unit}, {loss.bits_per_byte:.4f} bits per byte"
        print(f"{losses}, perplexity {loss.perplexity:.3f}\ncontext: {_context(run, options)}")
        print(f"over {loss.tokens:,} tokens of {where}")


def _context(run: Run, options: EvalOptions) -> str:
    """Return what precedes each scored token, in words."""
    size = run.model.config.block_size
    if options.context == "carried":
        return "all tokens before, by the state kept from block to block"
    fewest = size - (options.stride or size)
    return f"{fewest + 1} to {size} tokens" + (
        f", fewer at the start of the text (stride={options.stride})" if fewest else ""
    )


def _show_past_block(found: PastBlockLoss, unit: str, where: str) -> None:
    for name, nats in found.nats.items():
        fewest, most = found.context[name]
        context = f"{most}" if fewest == most else f"{fewest} to {most}"
        print(f"past_block={name}: {nats:.4f} nats per {unit}, {context} tokens of context")
    off = found.difference
    print(f"half - exact: {off.mean:+.4f} nats (95 % CI {off.low:+.4f} to {off.high:+.4f})")
    print(f"over {found.tokens:,} tokens past block_size of {where}")


def draw_causality(run: Run, text: str, path: Path) -> CausalityResult:
    """Draw `run.dependency_map(text)` into `path`; returns what is found, which is also its title.

    Raises:
        UsageError: as `run.dependency_map`; a path that can't be a picture.
    """
    paths.require_picture(path)
    moved, ids = run.dependency_map(text), run.tokenizer.encode(text)
    found = causality_result(run.model, torch.from_numpy(ids.astype("int64")), moved)
    heatmaps.draw_influence(
        moved.numpy(), [shown(run.tokenizer, int(token)) for token in ids], textwrap.fill(found.sentence, TITLE), path
    )
    return found
