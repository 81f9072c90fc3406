"""Tiny runs that end in a blink, what two of them are compared by, and a disk that fails when it is told to."""

import errno
import functools
import io
import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mingpt.core.atomic_io import sha256
from mingpt.core.run_files.reading import read_lines
from mingpt.models.config import CONFIGS, ModelConfig
from mingpt.report import loss_plot
from mingpt.runs import checkpoint, summary
from mingpt.runs.config import Config
from mingpt.training.trainer_config import trainer_class

TINY: Mapping[str, Any] = {  # spelled out where a test counts on it: the defaults are free to follow what learns best
    "system.seed": 11,
    "data.block_size": 8,
    "data.val_fraction": 0.1,
    "model.n_layer": 1,
    "model.n_embd": 8,
    "model.n_query_head": 2,
    "model.rope": False,
    "model.norm": "layernorm",
    "model.mlp": "gelu",
    "model.bias": True,
    "model.embd_pdrop": 0.1,
    "model.resid_pdrop": 0.2,
    "model.attn_pdrop": 0.2,
    "trainer.max_iters": 12,
    "trainer.batch_size": 4,
    "trainer.accumulation": 2,
    "trainer.optimizer": "muon",
    "trainer.learning_rate": 3e-3,
    "trainer.weight_decay": 0.1,
    "trainer.schedule": "linear",
    "trainer.warmup_iters": 3,
    "trainer.decay_from": 0.0,
    "trainer.final_rate": 0.0,
    "trainer.device": "cpu",
    "trainer.eval_every": 0,
    "trainer.eval_tokens": 16,
    "trainer.sample_every": 0,
    "sample.tokens": 5,
    "trainer.save_every": 0,
    "wandb.mode": "disabled",
}
LEARNED = ("step", "tokens", "train_loss", "lr", "grad_norm")  # of a record: what no clock and no cadence decides


@contextmanager
def without_frills(*, power_cuts: bool = False) -> Iterator[None]:
    """Leaves out what costs most of a tiny run and decides nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summary, "peak_matmul_flops", lambda device: 1e9)
        patch.setattr(loss_plot, "draw", lambda folder: folder / "loss.png")
        if not power_cuts:
            patch.setattr(os, "fsync", lambda handle: None)  # `Disk` counts the calls; no test cuts the power
        yield


def write_text(path: Path) -> Path:
    """Some 900 characters of 11 different ones, each depending on the one before it."""
    draw, word, at = random.Random(5), "abcdefgh ,\n", [0]
    for _ in range(900):
        at.append((at[-1] + draw.choice((1, 1, 2, 5))) % len(word))
    path.write_text("".join(word[i] for i in at), encoding="utf-8")
    return path


def config_of(text: Path, folder: Path | None, changes: Mapping[str, Any] | None = None) -> Config:
    """The configuration of a tiny run on `text` in `folder`, with changes."""
    place = {"data.path": str(text), "system.work_dir": None if folder is None else str(folder)}
    changes = changes or {}
    own = Config(model=CONFIGS[changes.get("model.type", "gpt")]()).flat()
    return config_from({**{key: value for key, value in TINY.items() if key in own}, **place, **changes})


def config_from(flat: Mapping[str, Any]) -> Config:
    """The configuration of settings by their keys; defaults for the others."""
    groups: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in flat.items():
        group, _, name = key.partition(".")
        groups[group][name] = value
    model = ModelConfig(**groups["model"])
    kinds = {group.name: group.default_factory for group in fields(Config)} | {"trainer": trainer_class(model.type)}
    return Config(**{name: kind(**groups[name]) for name, kind in kinds.items()})  # type: ignore[misc, operator]


def trace_of(folder: Path) -> dict[str, Any]:
    """What a run has learned, bit by bit; equal for two runs that took one path."""
    newest = folder / "checkpoints" / f"step_{checkpoint.steps(folder)[0]:06d}"
    records = read_lines(folder / "metrics.jsonl")
    return {
        "records": [{name: record[name] for name in LEARNED} for record in records],
        "newest": newest.name,
        "weights": sha256((newest / "model.safetensors").read_bytes()),
        "optimizer": sha256((newest / "optimizer.safetensors").read_bytes()),
    }


@pytest.fixture(autouse=True, scope="module")
def no_slow_frills() -> Iterator[None]:
    """As `without_frills`."""
    with without_frills():
        yield


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `write_text`."""
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="session")
def tiny(text_file: Path) -> Callable[..., Config]:
    """`tiny(folder, {"trainer.max_iters": 3})`: the configuration of a tiny run, with changes."""
    return functools.partial(config_of, text_file)


@pytest.fixture(scope="session")
def trace() -> Callable[[Path], dict[str, Any]]:
    """`trace(folder)`: as `trace_of`."""
    return trace_of


@pytest.fixture(scope="session")
def listing() -> Callable[[Path], list[str]]:
    """`listing(folder)`: every path below it, so that nothing stray stays unseen."""
    return lambda folder: sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


class Killed(BaseException):
    """The end of a process, as far as the disk can tell."""


class Disk:
    """Counts the calls that change the disk, and from one of them on lets none (a kill) or no growth (full) happen.

    Half of a write that fails is written.
    """

    GROWS = ("open", "mkdir", "write", "fsync", "replace")
    OTHERS = ("rename", "chmod", "unlink", "rmdir")
    Killed = Killed

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._at, self._full, self._watching, self._number = -1, False, False, errno.ENOSPC

    @contextmanager
    def watched(self, killed_at: int = -1, full_at: int = -1, number: int = errno.ENOSPC) -> Iterator[list[str]]:
        """Watch what happens inside; the list has the name of each call.  A full disk raises an OSError of `number`."""
        self._number = number
        self.calls, self._at, self._full, self._watching = [], max(killed_at, full_at), full_at >= 0, True
        try:
            yield self.calls
        finally:
            self._watching = False

    def strike(self, name: str) -> None:
        if not self._watching:
            return
        self.calls.append(name)
        if 0 <= self._at < len(self.calls):
            if not self._full:
                raise Killed(name)
            if name in self.GROWS:
                raise OSError(self._number, os.strerror(self._number))

    def wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def struck(*args: Any, **kwargs: Any) -> Any:
            self.strike(name)
            return call(*args, **kwargs)

        return struck

    def fdopen(self, handle: int, mode: str) -> io.BufferedWriter:
        return HalfWriter(self, io.FileIO(handle, mode))


class HalfWriter(io.BufferedWriter):
    """A file of which a write can end halfway."""

    def __init__(self, disk: Disk, raw: io.FileIO) -> None:
        super().__init__(raw)
        self.disk = disk

    def write(self, content: Any) -> int:
        half = len(content) // 2
        super().write(content[:half])
        self.flush()
        self.disk.strike("write")
        return half + super().write(content[half:])


def watched_disk(patch: pytest.MonkeyPatch) -> Disk:
    """The disk under `os`, watched until `patch` is undone."""
    disk = Disk()
    for name in {*Disk.GROWS, *Disk.OTHERS} - {"write"}:
        patch.setattr(os, name, disk.wrapped(name, getattr(os, name)))
    patch.setattr(os, "fdopen", disk.fdopen)
    return disk


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """As `watched_disk`."""
    return watched_disk(monkeypatch)
