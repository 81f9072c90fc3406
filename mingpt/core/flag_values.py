"""What the type of a setting takes, as it stands in a flag or in a file."""

import json
import types
import typing
from typing import Any

from mingpt.core.safe_parsing import parse_json

TEXTS = tuple[str, ...]
WORDS = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a text", types.NoneType: "null"}
WORDS[TEXTS] = 'a text, a JSON list of texts, as ["To be", "Or not"],'


def is_text(hint: Any) -> bool:
    """Whether a setting of this type is a text, or several."""
    return _takes(hint, str) or _takes(hint, TEXTS)


def text_of(value: Any, hint: Any) -> str | tuple[str, ...] | None:
    """The value of a setting that `is_text`; of several texts a list, which is JSON where it stands in a flag.

    Raises:
        ValueError: it is none.
    """
    if value is None and may_be_null(hint):
        return None
    if _takes(hint, TEXTS):
        if isinstance(value, str):
            value = parse_json(value) if value.startswith("[") else [value]
        if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
            return tuple(value)
    elif isinstance(value, str):
        return value
    raise ValueError


def may_be_null(hint: Any) -> bool:
    """Whether null is a value of this type."""
    return type(None) in typing.get_args(hint)


def kind_of(hint: Any) -> str:
    """Return what a form calls a type, null aside: int, float, bool, str, texts, or numbers of a tuple."""
    names = {int: "int", float: "float", bool: "bool", str: "str", TEXTS: "texts"}
    parts = (hint,) if typing.get_origin(hint) is tuple else (hint, *typing.get_args(hint))
    return next((names[part] for part in parts if part in names), "numbers")


def unquoted(value: str, hint: Any) -> str | None:
    """A flag's value; a file distinguishes null from 'null', a flag can't."""
    return None if value in ("null", "None") and may_be_null(hint) else value


def spelled(value: Any, hint: Any) -> str:
    """A value of a flag or a file as the parser reads it."""
    if not isinstance(value, str):
        return json.dumps(value, default=str)
    return f"[{value}]" if typing.get_origin(hint) is tuple and not value.startswith("[") else value


def rule(hint: Any) -> str:
    """What a value of this type must be, for people."""
    if typing.get_origin(hint) is tuple and hint not in WORDS:
        return f"must be {len(typing.get_args(hint))} numbers, as [0.9,0.95]"
    kinds = [hint] if hint in WORDS else typing.get_args(hint)
    return f"must be {' or '.join(WORDS[kind] for kind in kinds)}"


def _takes(hint: Any, kind: Any) -> bool:
    return kind == hint or (typing.get_origin(hint) is not tuple and kind in typing.get_args(hint))
