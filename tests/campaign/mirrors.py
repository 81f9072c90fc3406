"""wandb that is missing, mute, slow or broken, in whole processes: the same run, little time lost, nothing asked."""

import os
import sys
import time
from pathlib import Path

from mingpt.core.run_files.reading import read_lines
from tests.campaign.children import start
from tests.campaign.runs import differences, words_of
from tests.campaign.tally import Tally, campaign

FAKES = Path(__file__).parents[1] / "fakes"
STEPS, LOST = 12, 5.0  # seconds that a mirror may cost
WAYS = {  # how it fails -> the mode that is asked for, and what the run says of it
    "missing": ("online", "wandb stopped (wandb is not installed"),
    "import hangs": ("offline", "wandb did not finish in time"),
    "import exits": ("offline", "wandb stopped ("),
    "init raises": ("offline", "wandb stopped (no such project)"),
    "init hangs": ("offline", "wandb did not finish in time"),
    "init exits": ("online", "wandb stopped ("),
    "log raises": ("offline", "wandb stopped (no such project)"),
    "log hangs": ("offline", "wandb did not finish in time"),
    "finish hangs": ("offline", "wandb did not finish in time"),
    "no key": ("online", "wandb stopped (no API key"),
}


def broken(way: str) -> None:
    """In a child: put such a wandb in the place of the installed one."""
    os.environ |= {"PYTHONPATH": str(FAKES), "FAKE_WANDB": way}
    sys.stdin = None  # type: ignore[assignment]  # whoever prompts, fails


@campaign("wandb missing, raising, hanging or exiting", whole=len(WAYS), quick=2, limits={"seconds lost": LOST})
def mirrors(home: Path, trials: int) -> Tally:
    tally = Tally()
    plain, undisturbed = {"trainer.max_iters": STEPS, "trainer.save_every": 4}, home / "disabled"
    for folder in (home / "first", undisturbed):  # the first also waits until everything is loaded
        began = time.monotonic()
        start(words_of(home, folder, plain), folder).wait()
        usual = time.monotonic() - began
    for number, (way, (mode, says)) in enumerate(list(WAYS.items())[:: -(-len(WAYS) // trials)]):
        folder = home / f"run{number}"
        words = words_of(home, folder, {**plain, "wandb.mode": mode})
        began = time.monotonic()
        child = start(words, folder, broken, way)
        try:
            code = child.wait()
        except TimeoutError as stuck:
            tally.trial(way, held=False, why=stuck)
            continue
        lost = time.monotonic() - began - usual
        tally.saw("seconds lost", lost)
        wrong = differences(folder, undisturbed) or child.complained
        told = [line for line in child.said.splitlines() if line.startswith("wandb")]
        complete = [line["step"] for line in read_lines(folder / "metrics.jsonl")] == list(range(1, STEPS + 1))
        held = not wrong and code == 0 and lost <= LOST and complete and len(told) == 1 and told[0].startswith(says)
        tally.trial(way, held, f"exit {code}, {lost:.1f} s, {wrong}, {told}")
    return tally
