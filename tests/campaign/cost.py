"""What all this care costs a default run: the share of its time that is spent in it.

    python -m tests.campaign.cost [SETTINGS]

Clocks run around everything that a careless loop would leave out, in one run of the whole command; a save counts
whole, although a careless loop would save, too.  Their sum is compared with the time of that run's training loop.
"""

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mingpt import trainer
from mingpt.cli import main
from mingpt.runs import run, run_dir, summary
from mingpt.runs.callbacks import Guard, Saver
from mingpt.runs.metrics_log import JsonLines

CARE: dict[str, tuple[Any, str]] = {  # what is timed: name -> where it is looked up
    "checkpoints: draft, fsync, sha256, rename": (Saver, "__call__"),
    "no update with a number that is none": (Guard, "__call__"),
    "metrics.jsonl flushed at every step": (JsonLines, "write"),
    "a seed for every step's dropout": (trainer, "derived_seed"),
    "the lock": (run_dir, "locked"),
    "settings and environment written whole": (summary, "describe"),
    "does it look ahead?": (run, "require_autoregressive"),
    "does the checkpoint fit?": (run, "_refuse_misfit"),
}


def clocked(spent: dict[str, float], name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            spent[name] += time.perf_counter() - began

    return timed


def measured(words: list[str]) -> tuple[dict[str, float], float]:
    """Seconds spent in each kind of care, and in the whole loop."""
    spent: dict[str, float] = defaultdict(float)
    for name, (place, attribute) in CARE.items():
        setattr(place, attribute, clocked(spent, name, getattr(place, attribute)))
    trainer.Trainer.run = clocked(spent, "loop", trainer.Trainer.run)  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as home:
        assert main.main([*words, f"--system.work_dir={Path(home) / 'run'}"]) in (0, 143)  # as far as it came
    return spent, spent.pop("loop")


if __name__ == "__main__":
    care, loop = measured(sys.argv[1:])
    print(f"\n{loop:.1f} s in the loop, of which care takes")
    for name, seconds in sorted(care.items(), key=lambda item: -item[1]):
        print(f"  {seconds:8.4f} s  {100 * seconds / loop:6.3f} %  {name}")
    print(f"  {sum(care.values()):8.4f} s  {100 * sum(care.values()) / loop:6.3f} %  in all")
