"""Text in another encoding is recognised, whatever its script, and what is no such text is not taken for it."""

from pathlib import Path

import pytest
from reading import refusal, write

from mingpt.data.encodings import unmarked
from mingpt.data.shakespeare import read_text

LATIN = "To be, or not to be:\nthat is the question.\n"
SCRIPTS = {
    "Latin": LATIN,
    "accents": "Où est la bibliothèque ? – Là-bas, à côté.\n",
    "Greek": "Άνδρα μοι έννεπε, Μούσα, πολύτροπον\n",
    "Cyrillic": "Мой дядя самых честных правил,\nКогда не в шутку занемог\n",
    "Arabic": "بسم الله الرحمن الرحيم\nالحمد لله رب العالمين\n",
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("encoding", ["UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE"])
def test_wide_text_without_a_mark_is_rejected_with_its_encoding(tmp_path: Path, script: str, encoding: str) -> None:
    path = write(tmp_path, SCRIPTS[script].encode(encoding), "a b.txt")
    said = refusal(path)
    assert said.startswith(f"data.path: {path!r} looks like {encoding} without a byte order mark: ")
    assert f"`iconv -f {encoding} -t UTF-8 '{path}' > utf8.txt`" in said


@pytest.mark.parametrize("encoding", ["UTF-16LE", "UTF-16BE"])
def test_wide_text_that_is_no_valid_utf8_is_named_too(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "道可道，非常道。名可名，非常名。\n無名天地之始；\n".encode(encoding))
    assert f"it looks like {encoding} without a byte order mark: `iconv -f {encoding} " in refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        LATIN,
        "a\0b",
        "name\0other name\0third\0" * 20,
        "abc\0def\0" * 20,
        "\0" * 64,
        "\0\1\2\3" * 20,
        "道可道，非常道。\0" * 10,
        "Мой дядя\0" * 9,
        "",
    ],
)
def test_valid_text_with_nuls_is_read_as_it_is(tmp_path: Path, content: str) -> None:
    assert unmarked(content.encode()) is None
    if content:
        assert read_text(write(tmp_path, content.encode())).content == content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            f"“Où ?” — ‘là’ {LATIN}".encode("cp1252"),
            "if it is Windows-1252, as Western text of Windows is: `iconv -f WINDOWS-1252",
        ),
        (f"café noir {LATIN}".encode("latin-1"), "if it is Latin-1 or Windows-1252: `iconv -f WINDOWS-1252 "),
        (f"a\x81b\xa0c {LATIN}".encode("latin-1"), "it is neither Latin-1 nor Windows-1252; ask where it comes from: "),
        (
            "Мой дядя самых честных правил".encode("koi8-r"),
            "its encoding can't be guessed; ask where it comes from: `iconv -f E",
        ),
        ("天地玄黃宇宙洪荒".encode("gb18030"), "its encoding can't be guessed; ask where it comes from: "),
    ],
)
def test_text_of_one_byte_a_letter_gets_advice_that_keeps_its_letters(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = write(tmp_path, content, "x.txt")
    assert said in refusal(path)


def test_damaged_utf8_gets_the_place_of_its_bad_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = "Zoë\nnaïve\n".encode() * 3 + b"ab\xffc\n" + "é\n".encode()
    write(tmp_path, content, "x.txt")
    monkeypatch.chdir(tmp_path)
    at = content.index(b"\xff")
    said = refusal("x.txt")
    assert said.startswith(f"data.path: 'x.txt' is not UTF-8: byte 0xff at offset {at}, line 7; ")
    assert "damaged there" in said
    assert "`iconv -c -f UTF-8 -t UTF-8 x.txt > utf8.txt`" in said
    monkeypatch.setattr("mingpt.data.text_files.BLOCK_BYTES", 3)
    assert f"offset {at}, line 7; " in refusal("x.txt")
