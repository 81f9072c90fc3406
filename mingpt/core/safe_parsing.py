"""Untrusted files: parsed without running any of them, at a cost that their size bounds.

What they may hold and can't be taken is a ValueError, whose text is the reason in one line.
"""

import functools
import json
import math
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from annotated_types import Interval, Len

YAML_BYTES = 1 << 20  # all settings of a run are 2 thousand
JSON_BYTES = 8 << 20  # costs up to 25 times as much in memory
LINE_BYTES = 1 << 20  # of a .jsonl file: a step's numbers are 300, a sample's text some thousand
LINES_BYTES, LINES_VALUES = 512 << 20, 24 << 20  # where all are kept: 2 GB of memory at most
PICTURE_BYTES = 8 << 20  # those of our own records are a tenth of a million
TOKENIZER_BYTES = 32 << 20  # vocabularies of other people have a quarter of a million entries
HEADER_BYTES = 4 << 20  # of a safetensors file: names, types and places of 40,000 tensors

MOST = 100_000  # entries of a list or an object that is checked
LARGEST_FLOAT = sys.float_info.max

T = TypeVar("T")
Kind = Any  # a type as annotations have it, TypedDicts included
Whole = Annotated[int, Interval(gt=-(2**63), lt=2**63)]  # one that is larger can't be counted with
Count = Annotated[int, Interval(ge=0, lt=2**63)]
Number = Whole | float
Finite = Annotated[float, Interval(ge=-LARGEST_FLOAT, le=LARGEST_FLOAT)]  # neither NaN nor infinite
Plain = str | Whole | float | bool | None
Many = Annotated[list[T], Len(0, MOST)]
Named = Annotated[dict[str, T], Len(0, MOST)]


class _NoAliases(yaml.SafeLoader):
    """YAML's plain types.  Aliases are rejected: ten lines of them can stand for more text than a memory holds."""

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


def fault(value: Any, *kinds: Kind) -> str | None:
    """Return the first reason, in one line, why a parsed value is not of every one of `kinds`; None where it is.

    Types are pydantic's in strict mode: True is no number, 1.0 no integer.  A TypedDict may have other keys, too.
    """
    from pydantic import ValidationError  # here, since its import takes as long as half of a command line's check

    for kind in kinds:
        try:
            _validator(kind).validate_python(value, strict=True)
        except ValidationError as error:
            return _reason(value, error)
    return None


@functools.cache
def _validator(kind: Kind) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _reason(value: Any, error: Any) -> str:
    """Return `trials.rope must be a valid list, is 3`: the first wrong value, with all kinds that it may be of."""
    if error.error_count() > MOST:
        return f"{error.error_count():,} values are of another type"
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    names, first = list[str](), value
    for step in errors[0]["loc"]:
        if not ((isinstance(first, dict) and step in first) or (isinstance(first, list) and type(step) is int)):
            break  # the name of one of several kinds
        names, first = [*names, _one_line(step)[:80]], first[step]
    missing = errors[0]["type"] == "missing"
    where = ".".join([*names, str(errors[0]["loc"][-1])] if missing else names) or "it"
    if missing:
        return f"{where} is missing"
    place, prefix = errors[0]["loc"][: len(names)], "Input should be "
    if not errors[0]["msg"].startswith(prefix):  # a rule on lengths
        return f"{where}: {errors[0]['msg']}"
    rules = [each["msg"].removeprefix(prefix) for each in errors if each["loc"][: len(names)] == place]
    if type(first) is float and not math.isfinite(first) and len(rules) == 1:
        rules = ["a finite number"]
    found = {dict: "an object", list: "a list", type(None): "null"}.get(type(first)) or _one_line(repr(first))[:40]
    return f"{where} must be {' or '.join(dict.fromkeys(rules))}, is {found}"


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
        raise ValueError(f"more than the {size:,} bytes that it should have")
    return content


def read_objects(path: Path, *kinds: Kind, limit: int = LINES_BYTES) -> list[dict[str, Any]]:
    """All that `each_object` gives of a file of at most `limit` bytes.

    Raises:
        OSError: it can't be read.
    """
    require_ordinary(path)
    require_at_most(limit, path.stat().st_size)
    found: list[dict[str, Any]] = []
    names: dict[str, str] = {}  # each is kept once, not once a line
    values = 0
    for value in each_object(path, *kinds):
        found.append({names.setdefault(name, name): inner for name, inner in value.items()})
        values += len(value) + 2  # an object without any costs as much as two
        if values > LINES_VALUES:
            raise ValueError(f"more than {LINES_VALUES:,} values; no more are read")
    return found


def each_object(path: Path, *kinds: Kind) -> Iterator[dict[str, Any]]:
    """The objects of a .jsonl file, one a line; blank lines are passed over.

    What ends the file and is no JSON is left out, as a crash cut it short.  Any other line that is no such object is
    rejected before the next is read, so that a file of anything costs the memory of one line.

    Args:
        kinds: types that every object is of.

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
            if wrong := fault(value, *kinds):
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
    """Check that `path` is in `folder` itself and not behind a link, which may lead to a private file."""
    if path.resolve() != folder.resolve() / path.relative_to(folder):
        raise ValueError("a link, or in a folder that is one; a record has its own files alone")


def require_ordinary(path: Path | str) -> None:
    """Check, before it is opened, that a file is no pipe and no device, which may never end."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a folder is an OSError with that reason
        raise ValueError("no ordinary file")


def require_modest_header(start: bytes) -> None:
    """Check, by the first 8 bytes of a safetensors file, that its list of tensors costs less than a model."""
    length = int.from_bytes(start[:8], "little")
    if length > HEADER_BYTES:
        raise ValueError(f"a header of {length:,} bytes; at most {HEADER_BYTES:,} are read")


def require_at_most(limit: int, size: int) -> None:
    """Check that a file is no larger than is read, or written, of its kind."""
    if size > limit:
        raise ValueError(f"{size:,} bytes; at most {limit:,} are read")


def _line(error: Exception) -> str:
    return _one_line(error) or type(error).__name__


def _one_line(words: object) -> str:
    return " ".join(str(words).split())
