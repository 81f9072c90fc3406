"""SIGKILL at random moments of a run that saves after every step; then it goes on unaided."""

import random
import shutil
import signal
import time
from pathlib import Path

from tests.campaign.children import start
from tests.campaign.runs import KINDS, LONG, differences, whole, words_of
from tests.campaign.tally import Tally, campaign

RESUME = "--trainer.resume=True"


def duration(home: Path, changes: dict[str, object]) -> float:
    """Seconds from the first file of an undisturbed run to its end."""
    folder = home / "timed"
    child = start(words_of(home, folder, changes), home / "timed")
    child.wait_for((folder / "config.yaml").exists)
    began = time.monotonic()
    child.wait()
    shutil.rmtree(folder)
    return time.monotonic() - began


def saving(folder: Path) -> bool:
    """Whether a save is under way, or was when its process died."""
    return any((folder / "checkpoints").glob(".step_*"))


@campaign(
    "kill -9 at a random moment, then --trainer.resume=True",
    whole=50,
    quick=1,
    needed={"inside a save": 15},
)
def kills(home: Path, trials: int) -> Tally:
    draw, tally = random.Random(7), Tally()
    runs = {name: {**LONG, **changes} for name, changes in KINDS.items()}
    undisturbed: dict[str, Path] = {}
    seconds: dict[str, float] = {}
    while tally.trials < trials:
        name = draw.choice(list(runs))
        if name not in undisturbed:
            undisturbed[name] = whole(home, f"whole{len(undisturbed)}", runs[name])
            seconds[name] = duration(home, runs[name])
        folder = home / f"run{tally.trials}"
        words = words_of(home, folder, runs[name])
        child = start(words, home / "killed")
        child.wait_for((folder / "config.yaml").exists)
        time.sleep(draw.uniform(0, seconds[name]))
        if tally.trials % 2:  # of the moments, half are looked for inside a save
            child.wait_for(lambda folder=folder: saving(folder))
            time.sleep(draw.uniform(0, 0.02))
        child.kill()
        if child.wait() != -signal.SIGKILL:  # it had ended by itself: no trial
            shutil.rmtree(folder)
            continue
        tally.count("inside a save", saving(folder))
        began = time.monotonic()
        again = start([*words, RESUME, f"--system.work_dir={folder}"], home / "resumed")
        code = again.wait()
        tally.saw("seconds to resume and end", time.monotonic() - began)
        other = differences(folder, undisturbed[name])
        tally.trial(f"{name}, {folder.name}", code == 0 and not other, f"exit {code}, {other} {again.complained}")
        shutil.rmtree(folder, ignore_errors=True)
    return tally
