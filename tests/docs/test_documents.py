"""The documents are short, in the field's words, and name what exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^(```|\$\$).*?(```|\$\$)$", re.DOTALL | re.MULTILINE)
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
LONGEST = 119  # characters of a line of prose
ENTRY = 15  # lines of an entry of LOG.md
PRIVATE = re.compile(
    r"\b(?:held.out|told apart|judg(?:e[sd]?|ing)|refus(?:e[sd]?|al|ing)|strangers?|anew|in vain|"
    r"whoever|somebody|nobody|everyone|cards?|beside|alike)\b",
    re.IGNORECASE,
)  # words for which the field has others: validation, significantly different, evaluate, reject, untrusted, GPU, ...


def prose(text: str) -> list[str]:
    """Return the lines that are wrapped by hand: no table, image, code or equation; links as shown."""
    lines = re.sub(r"\]\([^)]*\)", "]", BLOCK.sub("", text)).splitlines()
    return [line for line in lines if not line.startswith(("|", "<img", "![", "    "))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_document_has_short_lines_and_no_private_words(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not [line for line in prose(text) if len(line) > LONGEST]
    words = re.sub(r"`[^`\n]*`|\]\([^)]*\)", "", BLOCK.sub("", text))
    assert not PRIVATE.findall(words)


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.name != "LOG.md"], ids=lambda path: path.stem)
def test_document_names_files_and_tests_that_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    files = re.findall(r"`((?:mingpt|tests|docs|examples)/[\w/.]+)`", text)
    assert not [name for name in files if not (ROOT / name).exists()]
    sources = [file.read_text(encoding="utf-8") for file in ROOT.glob("tests/**/test_*.py")]
    defined = {name for source in sources for name in re.findall(r"^def (test_\w+)", source, re.MULTILINE)}
    assert not {*re.findall(r"`(test_\w+)`", text)} - defined


def test_log_has_short_entries_newest_first() -> None:
    entries = re.split(r"^## ", (ROOT / "LOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert not [entry for entry in entries if len(entry.partition("\n")[2].strip().splitlines()) > ENTRY]
    dates = [entry[:10] for entry in entries]
    assert dates == sorted(dates, reverse=True)


def test_docs_list_every_page() -> None:
    contents = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in ROOT.glob("docs/*.md")} - {"README.md"}
    assert not [name for name in pages if f"]({name})" not in contents]
