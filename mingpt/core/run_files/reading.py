"""The files that runs and experiments leave, read as untrusted input: sizes and types are checked.

A file that is damaged, too large or holds something else is a CheckpointError of one line: the file and the reason.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from typing_extensions import TypedDict

from mingpt.core.errors import CheckpointError
from mingpt.core.safe_parsing import (
    JSON_BYTES,
    LINES_BYTES,
    YAML_BYTES,
    Finite,
    Kind,
    Named,
    Plain,
    Whole,
    each_object,
    fault,
    parse_json,
    parse_yaml,
    read_at_most,
    read_objects,
)

T = TypeVar("T")
Record = dict[str, Any]

Line = Named[Plain]  # nothing in it holds anything else
Losses = Named[Finite]


class _System(TypedDict, total=False):
    seed: Whole


class _Model(TypedDict, total=False):
    pretrained_folder: str | None


class _Trainer(TypedDict, total=False):
    max_iters: Whole


class Settings(TypedDict, total=False):
    """What is used of config.yaml without torch; any other group holds settings, too."""

    system: _System
    model: _Model
    trainer: _Trainer


def readable(path: Path, read: Callable[[Path], T]) -> T:
    """What `read` makes of the file.

    Raises:
        CheckpointError: it can't; names the file and the reason.
    """
    try:
        return read(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from None


def read_json(path: Path, *kinds: Kind) -> Record:
    """A .json file's object, of these types; {} without the file.

    Raises:
        CheckpointError: it is damaged, too large, or of another shape.
    """

    def read(path: Path) -> Record:
        content = parse_json(read_at_most(JSON_BYTES, path))
        if wrong := fault(content, *(kinds or (dict[str, Any],))):
            raise ValueError(wrong)
        return content

    return readable(path, read) if path.exists() else {}


def read_lines(path: Path, *kinds: Kind, limit: int = LINES_BYTES) -> list[Record]:
    """The objects of a .jsonl file; [] without one; a last line that a crash cut short is left out.

    Args:
        kinds: types of every object; none: plain values.
        limit: bytes of the file.

    Raises:
        CheckpointError: no ordinary file, too large, or a line before the last is no such object.
    """
    return readable(path, lambda path: read_objects(path, *(kinds or (Line,)), limit=limit)) if path.exists() else []


def each_line(path: Path, *kinds: Kind) -> Iterator[Record]:
    """The same of a file of any length, since one line at a time is kept: what a run's own process reads of it.

    Raises:
        CheckpointError: as `read_lines`, but for the size.
    """
    lines = each_object(path, *(kinds or (Line,))) if path.exists() else iter(())
    while (line := readable(path, lambda _: next(lines, None))) is not None:
        yield line


def evaluated_loss(record: Record, key: str = "val_loss") -> float | None:
    """The loss of an evaluation, over the validation set or, before the end of a run, over part of it."""
    return record.get(key, record.get(f"{key}_part"))


def last_line(path: Path) -> Record | None:
    """The last of `each_line`; None without any.

    Raises:
        CheckpointError: as `each_line`.
    """
    return next(iter(deque(each_line(path), maxlen=1)), None)


def read_losses(path: Path) -> dict[str, float]:
    """A .json file of losses by their names; {} without the file.

    Raises:
        CheckpointError: as `read_json`, or it holds anything but numbers.
    """
    return read_json(path, Losses)


def read_settings(folder: Path) -> dict[str, Any]:
    """config.yaml by key, `{"system.seed": 3407, ...}`.

    Raises:
        CheckpointError: it is damaged, too large, or not a run's settings.
    """
    return flat(read_groups(folder))


def flat(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Settings by key, `{"system.seed": 3407, ...}`, of those by group."""
    return {f"{group}.{key}": value for group, values in groups.items() for key, value in values.items()}


def read_groups(folder: Path) -> dict[str, dict[str, Any]]:
    """config.yaml as it stands there, `{"system": {"seed": 3407, ...}, ...}`.

    Raises:
        CheckpointError: as `read_settings`.
    """

    def read(path: Path) -> dict[str, dict[str, Any]]:
        groups: dict[str, dict[str, Any]] = parse_yaml(read_at_most(YAML_BYTES, path))
        if wrong := fault(groups, Named[dict[str, Any]], Settings):
            raise ValueError(wrong)
        return groups

    return readable(folder / "config.yaml", read)
