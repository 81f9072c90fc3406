"""A disk that is full, read-only, or takes no more than so many bytes of a file, at any call of a save."""

import contextlib
import errno
import os
import random
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mingpt.runs import checkpoint
from mingpt.runs.checkpoint import MANIFEST
from tests.campaign.children import start
from tests.campaign.kills import RESUME
from tests.campaign.runs import LONG, differences, whole, words_of
from tests.campaign.tally import Tally, campaign
from tests.runs.conftest import Disk, watched_disk, without_frills

FILES = [*checkpoint.FILES, MANIFEST]
FULL = (errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT)


def save(folder: Path, step: int, val_loss: float | None = None) -> Path:
    """A checkpoint that holds its step everywhere."""
    return checkpoint.save(
        folder,
        model={"w": torch.full((3,), float(step))},
        optimizer={"w/m": torch.full((3,), float(-step))},
        state={"step": step, "val_loss": val_loss},
        tokenizer=f"tokenizer of {step}",
    )


def newest_step(folder: Path) -> int:
    """The step of the newest whole checkpoint, all four files of which say the same."""
    found = checkpoint.newest(folder)
    step: int = found.state["step"]
    assert found.model["w"].tolist() == [step] * 3
    assert found.optimizer["w/m"].tolist() == [-step] * 3
    assert found.tokenizer == f"tokenizer of {step}"
    return step


def two_saves(folder: Path) -> Path:
    """Checkpoints of steps 1, 2 and 3, of which the best is the first: the next save has one to drop."""
    folder.mkdir()
    for step, loss in ((1, 1.0), (2, 2.0), (3, 2.0)):
        save(folder, step, loss)
    return folder


def calls_of_a_save(folder: Path, disk: Disk) -> list[str]:
    """The calls that change the disk during a save that drops a checkpoint."""
    two_saves(folder)
    with disk.watched() as calls:
        save(folder, 4, 2.0)
    assert [calls.count(name) for name in ("write", "replace")] == [len(FILES), len(FILES) + 1], "a write unseen"
    assert "rmdir" in calls
    return list(calls)


def listing(folder: Path) -> list[str]:
    """Every path below it, so that nothing stray stays unseen."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@contextlib.contextmanager
def failing_disk() -> Iterator[Disk]:
    with without_frills(), pytest.MonkeyPatch.context() as patch:
        yield watched_disk(patch)


@campaign("the disk full, read-only, failing or over quota from any call of a save on", whole=4, quick=1)
def full_disks(home: Path, trials: int) -> Tally:
    """`trials` kinds of failure, each from every call that needs room on."""
    tally = Tally()
    with failing_disk() as disk:
        calls = calls_of_a_save(home / "whole", disk)
        for number in FULL[:trials]:
            for at in [at for at, name in enumerate(calls) if name in disk.GROWS]:
                folder, name = two_saves(home / str(at)), f"{errno.errorcode[number]} at call {at}, {calls[at]}"
                raised, kept = None, 0
                try:
                    with disk.watched(full_at=at, number=number):
                        save(folder, 4, 2.0)
                except OSError as error:
                    raised = error.errno
                with contextlib.suppress(Exception):
                    kept = newest_step(folder)
                save(folder, 4, 2.0)
                clean = listing(folder) == listing(home / "whole")
                tally.trial(name, raised == number and kept in (3, 4) and clean, (raised, kept, clean))
                shutil.rmtree(folder)
    return tally


def limit(size: int) -> None:
    """No file of this process grows beyond `size`, by the kernel."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@campaign("the kernel lets no file grow beyond a random size during a run, then it does", whole=20, quick=1)
def small_disks(home: Path, trials: int) -> Tally:
    draw, tally = random.Random(19), Tally()
    begun = {**LONG, "trainer.schedule": "constant"}
    undisturbed = whole(home, "constant", begun)
    largest = max(path.stat().st_size for path in undisturbed.rglob("*") if path.is_file())
    while tally.trials < trials:
        folder = home / f"run{tally.trials}"
        words = words_of(home, folder, {**begun, "trainer.max_iters": 3})
        start(words, home / "begun").wait()
        before = checkpoint.newest(folder).state["step"]
        words = words_of(home, folder, begun)
        size = draw.choice((draw.randrange(largest), draw.randrange(4000)))
        again = [*words, RESUME, f"--system.work_dir={folder}"]
        failed = start(again, home / "failed", limit, size)
        code = failed.wait()
        wrong = "" if code == 1 and one_line(failed.complained) else f"exit {code}: {failed.complained} "
        if not wrong and checkpoint.newest(folder).state["step"] < before:
            wrong = "an older checkpoint than before "
        resumed = start(again, home / "resumed")
        wrong += differences(folder, undisturbed) if resumed.wait() == 0 else resumed.complained
        tally.trial(f"{size} bytes", not wrong, wrong)
        shutil.rmtree(folder)
    return tally


def one_line(complaint: str) -> bool:
    return complaint.count("\n") == 1 and complaint.startswith("error: ") and os.strerror(errno.EFBIG) in complaint
