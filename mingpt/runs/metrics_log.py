"""What a run writes down: lines of metrics.jsonl, the record of truth, and of samples.jsonl; and where it ran."""

import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

import torch

from mingpt.core.atomic_io import sync, write_atomic
from mingpt.core.run_files.reading import Line, Record, each_line
from mingpt.core.safe_parsing import Kind
from mingpt.core.version import VERSION
from mingpt.utils import device_name


class JsonLines:
    """A file of one JSON object a line, appended to and flushed line by line.

    Args:
        path: made when missing.
        until: keep earlier lines up to this step only, as a resumed run writes the later ones again.
        kind: the type of each of these, a `Step`.

    Raises:
        CheckpointError: a line of another type, or with anything but plain values.
    """

    def __init__(self, path: Path, until: int, kind: Kind) -> None:
        if path.exists():
            lines = each_line(path, Line, kind)
            write_atomic(path, b"".join(f"{json.dumps(line)}\n".encode() for line in lines if line["step"] <= until))
        self._file: TextIO = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()

    def write(self, record: Record) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Everything written so far survives a power cut."""
        sync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def environment(device: torch.device, **more: Any) -> Record:
    """What a result depends on besides its settings: versions, machine, threads, commit."""
    packages = ("torch", "numpy", "einops", "safetensors", "tokenizers")
    return {
        "python": platform.python_version(),
        "packages": {"mingpt": VERSION, **{name: metadata.version(name) for name in packages}},
        "platform": platform.platform(),
        "device": str(device),
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "git_commit": _git_commit(),
        **more,
    }


def _git_commit() -> str | None:
    """The commit of this source tree, with `+` where files differ from it; None where git doesn't hold this file."""
    ask = ["git", "-C", str(Path(__file__).parent)]
    try:
        subprocess.run([*ask, "ls-files", "--error-unmatch", __file__], capture_output=True, timeout=5, check=True)
        describe = [*ask, "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
        return subprocess.run(describe, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
