"""What goes to a person's shell and screen: words of a command line to copy, and text that can't steer a terminal."""

import re
import shlex
import sys
from pathlib import Path

# Control characters but tab and line feed, marks of direction, other ends of lines, halves of characters.
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def quoted(word: object) -> str:
    """`word` as a shell takes it, on one line.

    With control characters in it that is $'...', which bash, zsh and POSIX 2024 understand.
    """
    text = str(word)
    if not any(_controls(c) for c in text):
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped, text)) + "'"


def visible(text: str) -> str:
    """`text` for a screen: what would steer a terminal stands there as an escape, \\x1b; lines and tabs stay."""
    return STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text.replace("\r\n", "\n"))


def program() -> str:
    """What was typed to start this, for messages that name the next command."""
    name = Path(sys.argv[0]).name
    if Path(sys.argv[0]).parts[-2:] == ("mingpt", "__main__.py"):
        return "python -m mingpt"
    return f"python {name}" if name.endswith(".py") else "chargpt"


def _controls(c: str) -> bool:
    return c < " " or c == "\x7f"


def _escaped(c: str) -> str:
    if c in "\\'":
        return f"\\{c}"
    return NAMED.get(c) or (f"\\{ord(c):03o}" if _controls(c) else c)
