"""Messages for a lack of memory or disk space in training: which settings to lower, how to resume."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mingpt.core.errors import OutOfMemoryError, memory_asked_for
from mingpt.core.paths import shown
from mingpt.core.shell import quoted
from mingpt.runs import checkpoint
from mingpt.runs.config import Config

FULL = (errno.ENOSPC, errno.EDQUOT)
SIZES = ("n_layer", "n_embd", "order")  # of a model, as far as its family has them


@contextmanager
def explained(config: Config, folder: Path) -> Iterator[None]:
    """Turn any error inside that means a lack of memory into one line; of a full disk, note how to resume the run.

    Nothing is saved then: the update that failed may be half made.  The run resumes from the last checkpoint.

    Raises:
        OutOfMemoryError: in the place of MemoryError, torch.OutOfMemoryError and what PyTorch's allocators raise.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL and checkpoint.steps(folder):
            error.add_note(f"make room, and resume from the last checkpoint with {_again(folder)}")
        raise
    except (MemoryError, RuntimeError) as error:
        asked = memory_asked_for(error)
        if asked is None:
            raise
        raise OutOfMemoryError(f"out of memory: {asked}; {_remedy(config, folder)}") from error


def _remedy(config: Config, folder: Path) -> str:
    model, trainer = config.model, config.trainer
    smaller = [f"data.block_size={config.data.block_size}"]
    smaller += [f"model.{name}={getattr(model, name)}" for name in SIZES if hasattr(model, name)]
    if model.count_based:
        return f"lower {', '.join(smaller[1:])}, or take a shorter text"
    smaller.insert(0, f"trainer.batch_size={trainer.batch_size}")
    parts = next((n for n in range(trainer.accumulation + 1, trainer.batch_size + 1) if not trainer.batch_size % n), 0)
    fewer = f"--trainer.accumulation={parts}" if parts else f"a --trainer.batch_size below {trainer.batch_size}"
    lower = f"lower {', '.join(smaller)}"
    if not checkpoint.steps(folder):
        return f"{lower}" + (f", or take {fewer}, which computes a step in more micro-batches" if parts else "")
    again = _again(folder)
    if config.data.stateful:
        return f"resume from the last checkpoint, where there is more memory, with {again}; a new run can {lower}"
    changed = f"{again} --trainer.resume_changed=True"
    return f"resume from the last checkpoint with {changed} and {fewer}; a new run can {lower}"


def _again(folder: Path) -> str:
    return f"--trainer.resume=True --system.work_dir={quoted(shown(folder))}"
