"""One bit of a checkpoint is another, an end is missing, or a file is gone: seen, told, and the one before used."""

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch

from mingpt.core.errors import CheckpointError
from mingpt.core.log_output import messages
from mingpt.runs import checkpoint, run
from mingpt.runs.checkpoint import MANIFEST, Checkpoint
from tests.campaign.runs import words_of
from tests.campaign.tally import Tally, campaign
from tests.runs.conftest import config_of, without_frills

FILES = (*checkpoint.FILES, MANIFEST)
CUTS = (0.0, 1, 8, 0.5, 0.99, -1)  # a share of the file, or bytes, from the end where negative


def saved(home: Path) -> Path:
    """A run with checkpoints of steps 2 and 4."""
    folder, changes = home / "run", {"trainer.max_iters": 4, "trainer.save_every": 2}
    words_of(home, folder, changes)
    with without_frills():
        run.train(config_of(home / "text.txt", folder, changes))
    return folder


def equal(one: Checkpoint, other: Checkpoint) -> bool:
    tensors = [{**each.model, **{f"o/{name}": t for name, t in each.optimizer.items()}} for each in (one, other)]
    same = tensors[0].keys() == tensors[1].keys() and all(torch.equal(t, tensors[1][n]) for n, t in tensors[0].items())
    return same and (one.state, one.tokenizer) == (other.state, other.tokenizer)


def tried(folder: Path, harm: Callable[[Path], None], path: Path, name: str, tally: Tally) -> None:
    """Harm one file of the newest checkpoint; the one before must be found, bit by bit, and one line say why."""
    whole, before = path.read_bytes(), checkpoint.read(folder / "checkpoints" / "step_000002")
    harm(path)
    said: list[str] = []
    began = time.perf_counter()
    try:
        with messages(said.append):
            found = checkpoint.newest(folder)
        told = len(said) == 1 and "step_000004" in said[0] and "falling back" in said[0] and "\n" not in said[0]
        tally.trial(name, told and equal(found, before), said)
    except CheckpointError as lost:
        tally.trial(name, held=False, why=lost)
    tally.saw("seconds", time.perf_counter() - began)
    path.write_bytes(whole)


def flip(bit: int) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)

    return harm


def cut(kept: float) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        size = path.stat().st_size
        os.truncate(path, int(kept * size) if isinstance(kept, float) else kept % size)

    return harm


@campaign("one random bit of a checkpoint flipped", whole=200, quick=40)
def bit_flips(home: Path, trials: int) -> Tally:
    """Half in any file, half in proportion to the files' sizes."""
    draw, tally, folder = random.Random(13), Tally(), saved(home)
    newest = folder / "checkpoints" / "step_000004"
    sizes = [(newest / name).stat().st_size for name in FILES]
    for trial in range(trials):
        name = draw.choice(FILES) if trial % 2 else draw.choices(FILES, sizes)[0]
        bit = draw.randrange(8 * (newest / name).stat().st_size)
        tried(folder, flip(bit), newest / name, f"bit {bit} of {name}", tally)
    return tally


@campaign("every file cut at 0, 1, 8 bytes, 50 %, 99 %, size - 1, and deleted", whole=1, quick=1)
def cuts(home: Path, trials: int) -> Tally:
    tally, folder = Tally(), saved(home)
    for name in FILES:
        path = folder / "checkpoints" / "step_000004" / name
        for kept in CUTS:
            tried(folder, cut(kept), path, f"{name} cut at {kept}", tally)
        tried(folder, Path.unlink, path, f"{name} deleted", tally)
    nothing_left(folder, tally)
    return tally


def nothing_left(folder: Path, tally: Tally) -> None:
    """Without a valid checkpoint: one error that ends the command with 4, and no file touched."""
    for each in (folder / "checkpoints").iterdir():
        (each / "state.json").unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    refused = None
    try:
        run.load(folder, device="cpu")
    except CheckpointError as error:
        refused = error
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    held = refused is not None and refused.exit_code == 4 and "\n" not in str(refused) and after == before
    tally.trial("no checkpoint left", held, refused)
    shutil.rmtree(folder)
