"""What tests of texts do with files: write one, and read one that is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mingpt.core.errors import DataError
from mingpt.data import shakespeare
from mingpt.data.shakespeare import read_text


def refusal(path: str) -> str:
    """The sentence with which `path` is refused, which must be one line."""
    with pytest.raises(DataError) as caught:
        read_text(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def write(folder: Path, data: bytes, name: str = "text.txt") -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


def python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    root, variables = Path(shakespeare.__file__).parents[2], {**os.environ, **environment}
    return subprocess.check_output([sys.executable, "-c", code], cwd=root, env=variables, text=True).strip()
