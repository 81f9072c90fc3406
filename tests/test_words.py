"""Docstrings, comments and messages use the field's words: a short list of those that they replaced stays away."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mingpt"
CLEAN = (
    *("benchmarks", "cli", "core", "data", "distributed", "experiments", "inference", "interop", "models", "report"),
    *("runs", "training"),
)  # folders
BANNED = re.compile(
    r"\b(told apart|counting alone|who reads whom|judge[sd]?|judging|anew|in vain|nobody|somebody|whoever|"
    r"refuse[sd]?|beside|mend|strangers?|(?-i:arms?)|crews?|wish(es)?|hopeless)\b",
    re.IGNORECASE,
)
SAYS = re.compile(r"\b(say(s|ing)?|said|tells?|told)\b", re.IGNORECASE)  # as files, logs and errors don't
QUIET = ("core", "data", "distributed", "inference", "models", "runs", "training")  # folders without them
RENAMED = (*QUIET, "benchmarks", "experiments", "report")  # folders whose names are checked, too
BANNED_NAME = re.compile(r"(?:^|_)(arms?|crews?|wish(?:es)?|hopeless|judged?|said|told|vain)(?:_|$)", re.IGNORECASE)


def prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each comment, and of each string that is a sentence: it has a space."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


@pytest.mark.parametrize("folder", CLEAN)
def test_text_uses_the_words_of_the_field(folder: str) -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {word[0]}"
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        for line, text in prose(path.read_text(encoding="utf-8"))
        for word in (*BANNED.finditer(text), *(SAYS.finditer(text) if folder in QUIET else ()))
    ]
    assert found == []


def names(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of what is defined, used or passed, without the fields of a TypedDict: a file's keys."""
    tree = ast.parse(source)
    keys = [
        node.target
        for found in ast.walk(tree)
        if isinstance(found, ast.ClassDef) and "TypedDict" in map(ast.unparse, found.bases)
        for node in found.body
        if isinstance(node, ast.AnnAssign)
    ]
    for node in ast.walk(tree):
        if node not in keys:
            for field in ("id", "attr", "arg", "name"):
                if isinstance(name := getattr(node, field, None), str):
                    yield getattr(node, "lineno", 0), name


@pytest.mark.parametrize("folder", RENAMED)
def test_names_use_the_words_of_the_field(folder: str) -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        for line, name in names(path.read_text(encoding="utf-8"))
        if BANNED_NAME.search(name)
    ]
    assert found == []


@pytest.mark.parametrize("source", ["by_arm = 1", "def crew(): ...", "f(wish=1)", "outcome.hopeless", "told_of()"])
def test_banned_name_is_found_where_it_stands(source: str) -> None:
    assert any(BANNED_NAME.search(name) for _, name in names(source))


@pytest.mark.parametrize("source", ['"""Whether they are told apart."""', "x = 1  # nobody\n", 'f"refused by {1}"'])
def test_banned_word_is_found_where_it_stands(source: str) -> None:
    assert any(BANNED.search(text) for _, text in prose(source))
