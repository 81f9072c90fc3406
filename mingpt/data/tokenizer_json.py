"""How a tokenizer.json of the `tokenizers` library treats a text: prefixes, added tokens, losses."""

import copy
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mingpt.data.data_config import BYTES

Described = Mapping[str, Any]


def loses_nothing(described: Described) -> bool:
    """Whether every text comes back from this description of a byte-level tokenizer, whatever it is."""
    before = described.get("pre_tokenizer") or {}
    return (
        described["model"].get("type") == "BPE"
        and not any(described["model"].get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix"))
        and not described.get("normalizer")
        and not described.get("added_tokens")
        and (before.get("type"), before.get("add_prefix_space"), before.get("use_regex")) == ("ByteLevel", False, True)
        and set(byte_of()) <= set(described["model"]["vocab"])
    )


def without_prefix(described: Described) -> dict[str, Any] | None:
    """Return the description without the space that it puts before a text; None where it puts none.

    So are the later pieces of a text tokenized, and what follows a special token.
    """
    plain, changed = copy.deepcopy(dict(described)), False
    for part in ("normalizer", "pre_tokenizer"):
        for step in _steps(plain.get(part)):
            if step.get("type") == "Prepend" and step.get("prepend"):
                step.clear()
                step.update(type="Sequence", normalizers=[])  # which does nothing
                changed = True
            if step.get("type") == "Metaspace":
                never = step.get("prepend_scheme") == "never" or step.pop("add_prefix_space", True) is False
                step["prepend_scheme"] = "never"
                changed |= not never
            if step.get("type") == "ByteLevel" and step.get("add_prefix_space"):
                step["add_prefix_space"], changed = False, True
    return plain if changed else None


def _steps(part: Any) -> Iterator[dict[str, Any]]:
    """The normalizers or pre-tokenizers that `part` is, one after the other."""
    if isinstance(part, dict):
        yield part
        for inner in part.get("normalizers") or part.get("pretokenizers") or ():
            yield from _steps(inner)


def added_tokens(described: Described) -> re.Pattern[str] | None:
    """A pattern of the tokens that are looked for in a text before anything else; None where there are none."""
    texts = [each["content"] for each in described.get("added_tokens") or () if each["content"]]
    return re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True)))) if texts else None


@functools.cache
def byte_of() -> dict[str, int]:
    """The character by which byte-level tokenizers name each byte, GPT-2's: itself where that can be seen."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [number for number in range(BYTES) if number not in visible]
    return {chr(n): n for n in visible} | {chr(BYTES + place): n for place, n in enumerate(others)}


def bytes_of(token: str) -> bytes:
    """The bytes that a token of a byte-level tokenizer stands for; of an added one, its text's."""
    known = byte_of()
    return bytes(known[c] for c in token) if all(c in known for c in token) else token.encode()
