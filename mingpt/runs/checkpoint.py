"""Save and find valid checkpoints, and reject damaged ones.

    checkpoints/step_000600/
        model.safetensors      weights by name; tied tensors once
        optimizer.safetensors  `parameter/slot`: what the optimizers remember
        carried.safetensors    recurrent state that the next step starts from; of truncated BPTT alone
        state.json             step, seconds, tokens, model settings, ...
        tokenizer.json
        MANIFEST.json          bytes and sha256 of each of the above, written last

A checkpoint is written into a hidden folder that is renamed once all of it is on the disk.  Reading verifies every
checksum first and parses the very bytes that were verified.  Nothing is ever unpickled.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor
from typing_extensions import TypedDict

from mingpt.core.atomic_io import sha256, sync_folder, write_atomic
from mingpt.core.errors import CheckpointError
from mingpt.core.paths import shown
from mingpt.core.safe_parsing import (
    JSON_BYTES,
    TOKENIZER_BYTES,
    Count,
    Finite,
    Named,
    Whole,
    fault,
    parse_json,
    read_at_most,
    require_at_most,
    require_modest_header,
)
from mingpt.models.base import LanguageModel

logger = logging.getLogger(__name__)

MANIFEST = "MANIFEST.json"
FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "tokenizer.json")
CARRIED = "carried.safetensors"  # not in every checkpoint; where it is, the manifest lists it
FORMAT = 1


class _Entry(TypedDict):
    bytes: Count
    sha256: str


class _Manifest(TypedDict):
    format: Whole
    files: Named[_Entry]


class _State(TypedDict, total=False):
    step: Count
    tokens: Count
    seconds: Finite
    cpu_seconds: Finite
    wall_seconds: Finite
    val_loss: Finite | None
    wandb_id: str
    model: dict[str, Any]
    special: dict[str, Any]


_NAME = re.compile(r"step_(\d{6,})")


@dataclass(frozen=True)
class Checkpoint:
    """One verified checkpoint, in memory."""

    folder: Path
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]
    tokenizer: str
    carried: dict[str, Tensor]


def save(
    run_dir: Path,
    *,
    model: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
    state: Mapping[str, Any],
    tokenizer: str,
    carried: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write `checkpoints/step_NNNNNN` at once, then drop what is older than the last two and not the best.

    Args:
        state: JSON values; `step` names the checkpoint, by `val_loss` (or None) the best is kept.
        carried: recurrent state that the next step starts from.

    Raises:
        CheckpointError: a state or tokenizer so large that it would not be read again; nothing is written.
    """
    home = run_dir / "checkpoints"
    final = home / f"step_{state['step']:06d}"
    draft = home / f".{final.name}.tmp"
    contents = {
        "model.safetensors": safetensors.torch.save(_plain(model)),
        "optimizer.safetensors": safetensors.torch.save(_plain(optimizer)),
        "state.json": (json.dumps(state, indent=1, allow_nan=False) + "\n").encode(),
        "tokenizer.json": tokenizer.encode(),
    }
    if carried:
        contents[CARRIED] = safetensors.torch.save(_plain(carried))
    listed = {name: {"bytes": len(content), "sha256": sha256(content)} for name, content in contents.items()}
    contents[MANIFEST] = (json.dumps({"format": FORMAT, "files": listed}, indent=1) + "\n").encode()
    for name in (name for name in contents if name.endswith(".json")):
        try:
            require_at_most(_limit(name), len(contents[name]))
        except ValueError as reason:
            raise CheckpointError(f"{shown(final)}: {name} would have {reason}") from None
    home.mkdir(exist_ok=True)
    _remove_unfinished(home)
    draft.mkdir()
    for name, content in contents.items():
        write_atomic(draft / name, content)
    if final.exists():  # the same step again, after a resume from before it
        _remove(final)
    os.replace(draft, final)
    sync_folder(home)
    _prune(home, state["step"])
    return final


def steps(run_dir: Path) -> list[int]:
    """Steps that have a checkpoint folder, valid or not, newest first."""
    home = run_dir / "checkpoints"
    names = (_NAME.fullmatch(entry.name) for entry in home.iterdir()) if home.is_dir() else ()
    return sorted((int(name[1]) for name in names if name), reverse=True)


def newest(run_dir: Path) -> Checkpoint:
    """Return the newest valid checkpoint; log which newer ones are damaged.

    Raises:
        CheckpointError: there is none.
    """
    found = steps(run_dir)
    for step in found:
        try:
            return read(run_dir / "checkpoints" / f"step_{step:06d}")
        except CheckpointError as damage:
            logger.warning(str(damage) if step == found[-1] else f"{damage}; falling back to the checkpoint before it")
    raise CheckpointError(f"{shown(run_dir)}: no valid checkpoint in this folder")


def read(folder: Path) -> Checkpoint:
    """Verify and load one checkpoint.

    Raises:
        CheckpointError: a file is missing, altered, or not what its name promises.
    """
    try:
        contents = _verified(folder)
        return Checkpoint(
            folder=folder,
            model=safetensors.torch.load(contents["model.safetensors"]),
            optimizer=safetensors.torch.load(contents["optimizer.safetensors"]),
            state=_state(contents["state.json"]),
            tokenizer=contents["tokenizer.json"].decode(),
            carried=safetensors.torch.load(contents[CARRIED]) if CARRIED in contents else {},
        )
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        if isinstance(error, OSError) and error.filename:
            reason = f"{Path(error.filename).name}: {error.strerror}"
        raise CheckpointError(f"{shown(folder)}: not a readable checkpoint ({reason})") from None


def _verified(folder: Path) -> dict[str, bytes]:
    content = _bytes_of(folder / MANIFEST)
    if not content.endswith(b"}\n"):
        raise CheckpointError(f"{shown(folder)}: {MANIFEST} is cut short")
    manifest = parse_json(content)
    if wrong := fault(manifest, _Manifest):
        raise CheckpointError(f"{shown(folder)}: {MANIFEST}: {wrong}")
    if manifest["format"] != FORMAT or set(manifest["files"]) - {CARRIED} != set(FILES):
        raise CheckpointError(f"{shown(folder)}: {MANIFEST} is not of format {FORMAT}")
    contents = {}
    for name in manifest["files"]:
        expected = manifest["files"][name]
        if (folder / name).stat().st_size != expected["bytes"]:
            raise CheckpointError(f"{shown(folder)}: {name} has not the size that was written")
        contents[name] = _bytes_of(folder / name)
        if sha256(contents[name]) != expected["sha256"]:
            raise CheckpointError(f"{shown(folder)}: {name} is not what was written (sha256 differs)")
    return contents


def _state(content: bytes) -> dict[str, Any]:
    state: dict[str, Any] = parse_json(content)
    if wrong := fault(state, _State):
        raise ValueError(f"state.json: {wrong}")
    return state


def _limit(name: str) -> int:
    return TOKENIZER_BYTES if name == "tokenizer.json" else JSON_BYTES


def _bytes_of(path: Path) -> bytes:
    if not path.is_file():
        raise CheckpointError(f"{shown(path)}: missing, or no file")
    if path.suffix == ".json":
        return read_at_most(_limit(path.name), path)
    with open(path, "rb") as file:
        require_modest_header(file.read(8))
        file.seek(0)
        return file.read()


def load_weights(model: LanguageModel, weights: Mapping[str, Tensor], source: Path) -> None:
    """Copy `weights` into `model`, all or nothing.

    Raises:
        CheckpointError: names or shapes differ; lists how.
    """
    own = model.state_dict()
    first = {_identity(tensor): name for name, tensor in reversed(list(own.items()))}
    tied = {name: first[_identity(tensor)] for name, tensor in own.items()}
    weights = {
        **weights,
        **{name: weights[tied[name]] for name in own.keys() - weights.keys() if tied[name] in weights},
    }
    differences = [f"{name} is missing there" for name in own.keys() - weights.keys()]
    differences += [f"{name} is unknown here" for name in weights.keys() - own.keys()]
    for name in own.keys() & weights.keys():
        if own[name].shape != weights[name].shape and not model.grows(name):
            differences.append(f"{name} is {tuple(weights[name].shape)} there and {tuple(own[name].shape)} here")
    if differences:
        listed = "; ".join(sorted(differences)[:4]) + ("; ..." if len(differences) > 4 else "")
        raise CheckpointError(f"{shown(source)}: another model's weights: {listed}")
    try:
        model.load_state_dict(dict(weights))
    except CheckpointError as fault:
        raise CheckpointError(f"{shown(source)}: {fault}") from None


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, contiguous, each storage once: of names that share one, the first keeps it."""
    first = {_identity(tensor): name for name, tensor in reversed(list(tensors.items()))}
    return {
        name: tensors[name].detach().cpu().contiguous() for name in tensors if first[_identity(tensors[name])] == name
    }


def _identity(tensor: Tensor) -> tuple[object, ...]:
    """Equal for names of the same tensor."""
    return tensor.data_ptr() or id(tensor), tensor.shape, tensor.stride()


def _remove_unfinished(home: Path) -> None:
    for entry in home.iterdir():
        if entry.name.startswith(".step_"):
            _remove(entry)


def _prune(home: Path, step: int) -> None:
    """Keep the last two up to `step` and the one of least validation loss; later ones were found damaged."""
    by_step = {int(name[1]): entry for entry in home.iterdir() if (name := _NAME.fullmatch(entry.name))}
    for later in [each for each in by_step if each > step]:
        _remove(by_step.pop(later))
    found = [by_step[each] for each in sorted(by_step)]
    losses = {entry: _val_loss(entry) for entry in found}
    with_loss = {entry: loss for entry, loss in losses.items() if loss is not None}
    best = min(with_loss, key=lambda entry: with_loss[entry], default=None)
    for entry in found[:-2]:
        if entry != best:
            _remove(entry)


def _remove(entry: Path) -> None:
    """Of a link, the link alone."""
    entry.unlink() if entry.is_symlink() else shutil.rmtree(entry)


def _val_loss(folder: Path) -> float | None:
    try:
        return _state(_bytes_of(folder / "state.json")).get("val_loss")
    except (CheckpointError, OSError, ValueError):
        return None
