"""SIGTERM and SIGINT at random moments, inside a save, and twice: the last finished step is saved, and goes on as if
nothing had happened."""

import random
import shutil
import signal
import time
from pathlib import Path

from mingpt.core.run_files.reading import read_lines
from mingpt.runs import checkpoint
from tests.campaign.children import Child, start
from tests.campaign.kills import RESUME, duration, saving
from tests.campaign.runs import LONG, differences, whole, words_of
from tests.campaign.tally import Tally, campaign

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
WAYS = ("at a random time", "inside a save", "twice")


@campaign(
    "SIGTERM, SIGINT: at a random time, inside a save, twice",
    whole=30,
    quick=2,
    needed={"inside a save": 8, "twice": 8},
    limits={"seconds to end": 5.0},
)
def signals(home: Path, trials: int) -> Tally:
    draw, tally = random.Random(17), Tally()
    undisturbed, seconds = whole(home, "whole", LONG), duration(home, LONG)
    while tally.trials < trials:
        way = WAYS[tally.trials % len(WAYS)]
        number = list(CODES)[tally.trials // len(WAYS) % 2]
        folder = home / f"run{tally.trials}"
        words = words_of(home, folder, LONG)
        child = start(words, home / "signalled")
        child.wait_for(lambda folder=folder: checkpoint.steps(folder) != [])  # handlers are there by now
        time.sleep(draw.uniform(0, seconds / 2))
        inside = way == "inside a save" and child.wait_for(lambda folder=folder: saving(folder))
        began, steps = time.monotonic(), made(folder)
        child.kill(number)
        if way == "twice":
            time.sleep(draw.uniform(0, 0.02))
            child.kill(number)
        code = child.wait()
        if code == 0:  # it had ended by itself: no trial
            shutil.rmtree(folder)
            continue
        tally.count("inside a save", inside)
        tally.count("twice", way == "twice")
        tally.saw("seconds to end", time.monotonic() - began)
        tally.saw("steps to end", made(folder) - steps)
        wrong = ending(folder, child, code, number, way)
        again = start([*words, RESUME, f"--system.work_dir={folder}"], home / "resumed")
        wrong += differences(folder, undisturbed) if again.wait() == 0 else again.complained
        tally.trial(f"{signal.Signals(number).name} {way}, {folder.name}", not wrong, wrong)
        shutil.rmtree(folder)
    return tally


def made(folder: Path) -> int:
    """Steps on record."""
    return len(read_lines(folder / "metrics.jsonl"))


def ending(folder: Path, child: Child, code: int, number: int, way: str) -> str:
    """What was wrong with how it ended; empty where nothing."""
    if made(folder) == LONG["trainer.max_iters"] and code in (130, -number):  # all was made and saved before it came
        return "" if child.complained in ("", "error: interrupted\n") else f"said {child.complained!r} "
    if child.complained:
        return f"said {child.complained!r} "
    at_once = code == -number or (code == CODES[signal.Signals(number)] and "stopped by" not in child.said)
    if way == "twice" and at_once:  # what was valid before still is
        return "" if checkpoint.newest(folder).state["step"] >= 1 else "nothing valid "
    if code != CODES[signal.Signals(number)]:
        return f"ended with {code} "
    last, told = made(folder), f"stopped by {signal.Signals(number).name} after step"
    if checkpoint.newest(folder).state["step"] != last:
        return f"step {last} was made and not saved "
    return "" if f"{told} {last}" in child.said else f"said {child.said[-200:]!r} "
