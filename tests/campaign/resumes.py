"""Going on at many steps of a run with dropout, accumulation and a schedule: every later number is the same."""

import dataclasses
import random
import shutil
from pathlib import Path
from typing import Any

from mingpt.runs import config as settings
from mingpt.runs import run
from mingpt.training.optim import OPTIMIZERS, SCHEDULES
from tests.campaign.runs import differences, words_of
from tests.campaign.tally import Tally, campaign
from tests.runs.conftest import config_of, without_frills

STEPS, BRIEF = 60, 12


@campaign("resume at 20 of 60 steps, by optimizer x schedule x parts of a step", whole=20, quick=1)
def resumes(home: Path, trials: int) -> Tally:
    """`trials` steps to resume at, of each combination."""
    draw, tally, steps = random.Random(11), Tally(), STEPS if trials > 1 else BRIEF
    parts = {schedule: 1 + n % 2 for n, schedule in enumerate(SCHEDULES)}
    for optimizer in OPTIMIZERS:
        for schedule in SCHEDULES:
            name = f"{optimizer}-{schedule}-{parts[schedule]}"
            changes: dict[str, Any] = {
                "trainer.max_iters": steps,
                "trainer.save_every": 1,
                "trainer.optimizer": optimizer,
                "trainer.schedule": schedule,
                "trainer.accumulation": 2 * parts[schedule],
            }
            at = {1, steps - 1} if trials > 1 else set()
            at |= set(draw.sample(range(2, steps - 1), trials - len(at)))
            with without_frills():
                resumed_at(home, name, changes, at, tally)
    return tally


def resumed_at(home: Path, name: str, changes: dict[str, Any], at: set[int], tally: Tally) -> None:
    """One run, copied as it stands after each of the steps `at`, and gone on with from each copy."""
    folder = home / name
    words_of(home, folder, changes)

    def keep(trainer: Any, record: dict[str, Any]) -> None:
        if record["step"] in at:
            shutil.copytree(folder, home / f"{name}-{record['step']}")

    run.train(config_of(home / "text.txt", folder, changes), callbacks=[keep])
    for step in sorted(at):
        copy = home / f"{name}-{step}"
        config = settings.read(copy / "config.yaml")
        config = dataclasses.replace(
            config,
            system=dataclasses.replace(config.system, work_dir=str(copy)),
            trainer=dataclasses.replace(config.trainer, resume=True, save_every=0),
        )
        run.train(config)
        other = differences(copy, folder)
        tally.trial(f"{name} at {step}", not other, other)
        shutil.rmtree(copy)
    shutil.rmtree(folder)
