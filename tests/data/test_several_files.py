"""Several files as one text: in an order that is the same everywhere, each of them strict, each error with its name."""

import hashlib
import io
import os
import sys
from pathlib import Path

import pytest
from reading import refusal, write

from mingpt.data import text_files as files
from mingpt.data.shakespeare import read_text
from mingpt.data.text_files import PREPARED


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where these lie: texts/b.txt, texts/a.txt, texts/Z.md, texts/deep/c.txt, hidden ones, and a folder of none."""
    monkeypatch.chdir(tmp_path)
    for name in ("texts/b.txt", "texts/a.txt", "texts/Z.md", "texts/deep/c.txt", "texts/.hidden", "texts/.git/d.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(f"<{name}>", encoding="utf-8")
    Path("texts/empty.txt").touch()
    Path("none/.git").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("texts/b.txt,texts/a.txt", ["texts/b.txt", "texts/a.txt"]),
        ("texts/b.txt, texts/a.txt", ["texts/b.txt", "texts/a.txt"]),
        ("texts", ["texts/Z.md", "texts/a.txt", "texts/b.txt", "texts/deep/c.txt"]),
        ("texts/", ["texts/Z.md", "texts/a.txt", "texts/b.txt", "texts/deep/c.txt"]),
        ("texts/*.txt", ["texts/a.txt", "texts/b.txt"]),
        ("texts/**/*.txt", ["texts/a.txt", "texts/b.txt", "texts/deep/c.txt"]),
        ("texts/[ab].txt,texts/deep", ["texts/a.txt", "texts/b.txt", "texts/deep/c.txt"]),
        ("texts/a.txt,texts/a.txt", ["texts/a.txt", "texts/a.txt"]),
    ],
)
def test_files_come_in_order_with_nothing_between(
    home: Path, monkeypatch: pytest.MonkeyPatch, path: str, names: list[str]
) -> None:
    text = read_text(path)
    content = "".join(f"<{name}>" for name in names)
    assert text.content == content
    assert text.sha256 == hashlib.sha256(content.encode()).hexdigest()
    assert text.source.startswith(path)
    monkeypatch.chdir("/")
    assert read_text(text.place).content == content
    assert files.is_there(text.place)


def test_order_does_not_depend_on_that_of_the_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, walk = files.files_of("texts"), os.walk

    def backwards(*args: object, **kwargs: object) -> object:
        return ((home, folders, names[::-1]) for home, folders, names in walk(*args, **kwargs))  # type: ignore[call-overload]

    monkeypatch.setattr(os, "walk", backwards)
    assert files.files_of("texts") == expected


@pytest.mark.parametrize("name", ["a,b.txt", "*.txt", "[x].txt", ",", "a?"])
def test_file_of_an_odd_name_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, b"mine", name)
    write(tmp_path, b"other", "x.txt")
    text = read_text(name)
    assert (text.content, text.source) == ("mine", name)
    monkeypatch.chdir("/")
    assert read_text(text.place).content == "mine"


def test_place_in_a_folder_with_a_star_is_no_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a*", "ab"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, folder.encode(), "x.txt")
    monkeypatch.chdir(tmp_path / "a*")
    place = read_text("*.txt").place
    monkeypatch.chdir("/")
    assert read_text(place).content == "a*"


def test_wrong_file_of_several_is_named(home: Path) -> None:
    (home / "texts" / "b.txt").write_bytes(b"abc\xffd")
    for path in ("texts", "texts/*.txt", "texts/a.txt,texts/b.txt"):
        said = refusal(path)
        assert said.startswith("data.path: 'texts/b.txt' is not UTF-8: byte 0xff at offset 3, line 1; ")
    assert refusal("texts/a.txt,texts/x.txt").startswith("data.path: there is no file 'texts/x.txt'")


def test_byte_order_mark_of_a_later_file_becomes_no_character(home: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (home / "texts" / name).write_bytes(b"\xef\xbb\xbf" + name.encode())
    assert read_text("texts/[ab].txt").content == "a.txtb.txt"


def test_nothing_found_is_an_error(home: Path) -> None:
    assert refusal("none") == "data.path: 'none' is a folder without a file"
    assert refusal("texts/*.pdf") == "data.path: no file fits 'texts/*.pdf'"
    assert refusal("texts/a.txt,") == "data.path: there is no file ''"
    assert refusal("texts/empty.txt,texts/empty.txt").startswith(
        "data.path: 'texts/empty.txt,texts/empty.txt' is empty;"
    )
    assert not files.is_there("texts/*.pdf")
    assert not files.is_there("texts/a.txt,texts/gone.txt")


def test_prepared_folder_is_not_read_as_text(home: Path) -> None:
    (home / "texts" / PREPARED).touch()
    assert "'texts' is prepared: it holds ids and no text" in refusal("texts")


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="latin-1"))


def test_standard_input_is_utf8_and_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    piped(monkeypatch, "é’\r\n".encode())
    text = read_text("-")
    assert (text.content, text.source, text.place) == ("é’\r\n", "standard input", "-")
    piped(monkeypatch, b"ab\xff")
    assert refusal("-").startswith("data.path: standard input is not UTF-8: byte 0xff at offset 2")


def test_standard_input_of_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    piped(monkeypatch, b"")
    assert refusal("-").startswith("data.path: standard input is empty; pipe a text into it")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert refusal("-") == "data.path: standard input is a terminal; pipe a text into it"
    monkeypatch.setattr(sys, "stdin", None)
    assert refusal("-") == "data.path: standard input is a terminal; pipe a text into it"
