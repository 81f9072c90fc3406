"""Files that a stranger may have written: parsed without running any of them, at a cost that their size bounds.

What they may hold and can't be taken is a ValueError, whose text is the reason in one line.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml

YAML_BYTES = 1 << 20  # the whole settings of a run are 2 thousand
JSON_BYTES = 8 << 20  # costs up to 25 times as much in memory
TOKENIZER_BYTES = 32 << 20  # vocabularies of other people have a quarter of a million entries
HEADER_BYTES = 4 << 20  # of a safetensors file: names, types and places of 40,000 tensors


class _NoAliases(yaml.SafeLoader):
    """YAML's plain types.  Aliases are refused: ten lines of them can stand for more text than a memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name) is not taken; write out what it stands for")
        return super().compose_node(parent, index)


def parse_yaml(content: bytes) -> Any:
    """The plain values of a YAML document in UTF-8."""
    require_at_most(YAML_BYTES, len(content))
    try:
        loader = _NoAliases(content.decode("utf-8"))
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    except (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as why:
        raise ValueError(f"not YAML: {_line(why)}") from None


def parse_json(content: str | bytes) -> Any:
    """The value of a JSON text."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {_line(error)}") from None


def read_at_most(limit: int, path: Path) -> bytes:
    """The bytes of an ordinary file of at most `limit`.

    Raises:
        OSError: it can't be read.
    """
    require_ordinary(path)
    require_at_most(limit, path.stat().st_size)
    return path.read_bytes()


def require_ordinary(path: Path | str) -> None:
    """Refuse what may never end, or never begin: a pipe, a device; told before it is opened."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a folder is an OSError that says so
        raise ValueError("no ordinary file")


def require_modest_header(start: bytes) -> None:
    """Refuse tensors, by the first 8 bytes of their file, whose list alone would cost more than a model."""
    length = int.from_bytes(start[:8], "little")
    if length > HEADER_BYTES:
        raise ValueError(f"a header of {length:,} bytes; at most {HEADER_BYTES:,} are read")


def require_at_most(limit: int, size: int) -> None:
    """Refuse more bytes than are read of such a file, which nobody may write, either."""
    if size > limit:
        raise ValueError(f"{size:,} bytes; at most {limit:,} are read")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
