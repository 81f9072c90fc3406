"""Files that a stranger may have written: parsed without running any of them, at a cost that their size bounds.

What they may hold and can't be taken is a ValueError, whose text is the reason in one line.
"""

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

import yaml

YAML_BYTES = 1 << 20  # the whole settings of a run are 2 thousand
JSON_BYTES = 8 << 20  # costs up to 25 times as much in memory
LINE_BYTES = 1 << 20  # of a .jsonl file: a step's numbers are 300, a sample's text some thousand
LINES_BYTES, LINES_VALUES = 512 << 20, 24 << 20  # where all are kept: 2 GB of memory at most
PICTURE_BYTES = 8 << 20  # those of our own records are a tenth of a million
TOKENIZER_BYTES = 32 << 20  # vocabularies of other people have a quarter of a million entries
HEADER_BYTES = 4 << 20  # of a safetensors file: names, types and places of 40,000 tensors

Fields = Mapping[Any, Any]  # of an object, each with its shape
Shape = type | UnionType | list[Any] | Fields  # as `misfit` reads it
NUMBER = int | float
LARGEST = 2**63  # of a whole number: one that is larger can't be counted with
KINDS = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    NoneType: "null",
}


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


def misfit(value: Any, shape: Shape) -> str | None:
    """Where a parsed value has another shape, in words, as `arms.rope must be a list, is text`; None where nowhere.

    Args:
        shape: a type, or several by `|`; `[shape]` of a list; of an object `{"name": shape, "perhaps?": shape, str:
            shape}`: a name that it must have, one that it may, and any other.
    """
    said = _misfit(value, shape)
    return said and (said[1:] if said.startswith(".") else f"it{said}")


def _misfit(value: Any, shape: Shape) -> str | None:
    """The same, ` must be text, is null`, below the names that lead there: `.arms.rope`."""
    if isinstance(shape, list):
        if not isinstance(value, list):
            return _must_be((list,), value)
        parts = ((place, inner, shape[0]) for place, inner in enumerate(value))
    elif isinstance(shape, Mapping):
        if not isinstance(value, dict):
            return _must_be((dict,), value)
        named = {name.removesuffix("?"): its for name, its in shape.items() if name is not str}
        for name in named:
            if name in shape and name not in value:
                return f".{name} is missing"
        others = shape.get(str)
        parts = ((name, inner, named.get(name, others)) for name, inner in value.items())
    else:
        kinds = getattr(shape, "__args__", (shape,))
        fits = type(value) in kinds if type(value) is not int else int in kinds and abs(value) < LARGEST
        return None if fits else _must_be(kinds, value)
    for name, inner, its in parts:
        if its is not None and (said := _misfit(inner, its)):
            return f".{_one_line(name)[:80]}{said}"
    return None


def _must_be(kinds: Sequence[Any], value: Any) -> str:
    wanted = " or ".join(KINDS[kind] for kind in kinds if not (kind is int and float in kinds))
    large = type(value) is int and int in kinds
    return f" must be {wanted}, is {'too large' if large else KINDS.get(type(value), 'of another kind')}"


def read_at_most(limit: int, path: Path) -> bytes:
    """The bytes of an ordinary file of at most `limit`.

    Raises:
        OSError: it can't be read.
    """
    require_ordinary(path)
    size = path.stat().st_size
    require_at_most(limit, size)
    with open(path, "rb") as file:
        content = file.read(size + 1)
    if len(content) > size:  # it grows, or lies in /proc
        raise ValueError(f"more than the {size:,} bytes that it is said to have")
    return content


def read_objects(path: Path, shape: Fields, limit: int = LINES_BYTES) -> list[dict[str, Any]]:
    """All that `each_object` gives of a file of at most `limit` bytes.

    Raises:
        OSError: it can't be read.
    """
    require_ordinary(path)
    require_at_most(limit, path.stat().st_size)
    found: list[dict[str, Any]] = []
    names: dict[str, str] = {}  # each is kept once, not once a line
    values = 0
    for value in each_object(path, shape):
        found.append({names.setdefault(name, name): inner for name, inner in value.items()})
        values += len(value) + 2  # an object without any costs as much as two
        if values > LINES_VALUES:
            raise ValueError(f"more than {LINES_VALUES:,} values; no more are read")
    return found


def each_object(path: Path, shape: Fields) -> Iterator[dict[str, Any]]:
    """The objects of a .jsonl file, one a line; blank lines are passed over.

    What ends the file and is no JSON is left out, as a crash cut it short.  Any other line that is no such object is
    refused before the next is read, so that a file of anything costs the memory of one line.

    Args:
        shape: of every object.

    Raises:
        OSError: it can't be read.
    """
    require_ordinary(path)
    with open(path, "rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES + 1), b""), start=1):
            try:
                require_at_most(LINE_BYTES, len(line))
                if not line.strip():
                    continue
                value = parse_json(line.decode("utf-8", errors="replace"))
            except ValueError as reason:
                if len(line) <= LINE_BYTES and not file.read(1):
                    return
                raise ValueError(f"line {number}: {reason}") from None
            if wrong := misfit(value, shape):
                raise ValueError(f"line {number}: {wrong}")
            yield value


def read_svg(path: Path, folder: Path) -> bytes:
    """A picture's own file, somewhere in `folder`.

    Raises:
        OSError: it can't be read.
    """
    require_own(path, folder)
    content = read_at_most(PICTURE_BYTES, path)
    if b"<svg" not in content:
        raise ValueError("no SVG")
    return content


def require_own(path: Path, folder: Path) -> None:
    """Refuse what `folder`, or a folder in it, has by a link alone: that may be anything, and nobody else's to see."""
    if path.resolve() != folder.resolve() / path.relative_to(folder):
        raise ValueError("a link, or in a folder that is one; a record has its own files alone")


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
    return _one_line(error) or type(error).__name__


def _one_line(words: object) -> str:
    return " ".join(str(words).split())
