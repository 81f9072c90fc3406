"""The pages of docs/ideas say what is there: links, names, commands, and pictures as the code draws them."""

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib
import pytest

from mingpt.cli import main
from mingpt.runs.config import defaults

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "ideas"
PAGES = sorted(FOLDER.glob("*.md"))
COURSE = ROOT / "docs" / "course.md"
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *PAGES]
LARGEST = 60 * 1024  # bytes of a picture
READ = "error: parsed\n"


def module(path: Path) -> ModuleType:
    """A module that is in no package."""
    spec = importlib.util.spec_from_file_location(f"for_ideas_{path.stem}", path)
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


OF_README = module(ROOT / "tests" / "cli" / "test_docs.py")
parsed_only = OF_README.parsed_only  # needs chargpt
DRAW = module(ROOT / "docs" / "draw.py")


def of_pages(found: Any) -> list[Any]:
    """Everything that is found in a page, with the page."""
    return [
        pytest.param(page, each, id=f"{page.stem}-{' '.join(each) if isinstance(each, list) else each}")
        for page in PAGES
        for each in found(page.read_text(encoding="utf-8"))
    ]


def links(markdown: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Text, target, and the names in backticks right after it, of each link."""
    for text, target, names in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)((?: `[\w.]+`,?)*)", markdown):
        yield text, target, tuple(re.findall(r"[\w.]+", names))


@cache
def defined_in(path: Path) -> frozenset[str]:
    """What a module defines: `function`, `NAME`, `Class`, `Class.member`."""

    def names(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from names(node.body, f"{prefix}{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            yield from (prefix + name.id for name in targets if isinstance(name, ast.Name))

    return frozenset(names(ast.parse(path.read_text(encoding="utf-8")).body, ""))


def anchors(path: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def wrong(page: Path, text: str, target: str, names: tuple[str, ...]) -> str | None:
    """What is the matter with a link; None: nothing."""
    if re.match(r"https?:", target):
        return None
    name, _, anchor = target.partition("#")
    path = (page.parent / name).resolve() if name else page
    if not path.exists():
        return f"there is no {target}"
    if anchor and anchor not in anchors(path):
        return f"{name} has no heading {anchor}"
    if path.suffix != ".py":
        return None
    named = text.strip("`")
    if named.endswith(".py"):
        unknown = set(names) - defined_in(path)
        return f"{named} is not {path.name}" if named != path.name else f"no {unknown}" if unknown else None
    return None if named in defined_in(path) else f"{name} has no {named}"


def test_wrong_link_is_found() -> None:
    page = FOLDER / "attention.md"
    made = (
        "[`a`](../../mingpt/model.py) [`model.py`](../../mingpt/model.py) `GPT`, `GPT.fly` [x](gone.md) "
        "[`rnn.py`](../../mingpt/model.py) [y](../../README.md#nowhere) [`GPT.forward`](../../mingpt/model.py)"
    )
    found = [wrong(page, *link) for link in links(made)]
    assert found == [
        "../../mingpt/model.py has no a",
        "no {'GPT.fly'}",
        "there is no gone.md",
        "rnn.py is not model.py",
        "../../README.md has no heading nowhere",
        None,
    ]


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_links_and_names_exist(page: Path) -> None:
    found = list(links(page.read_text(encoding="utf-8")))
    assert not [said for link in found if (said := wrong(page, *link))]


@pytest.fixture
def chargpt(capsys: pytest.CaptureFixture[str]) -> Any:
    """`chargpt("sample", "--seed=1")`, in this process -> what was printed and complained of."""

    def call(*words: str) -> str:
        main.main(words)
        printed = capsys.readouterr()
        return printed.out + printed.err

    return call


@pytest.mark.parametrize(("page", "words"), of_pages(OF_README.commands))
def test_every_command_is_accepted(parsed_only: Any, page: Path, words: list[str]) -> None:
    assert parsed_only(*words) == READ


COMMANDS_OF_COURSE = re.findall(r"`chargpt ?([^`]*)`", COURSE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("command", [each for each in COMMANDS_OF_COURSE if not each.endswith("--help")])
def test_course_names_commands_that_are_taken(parsed_only: Any, command: str) -> None:
    assert parsed_only(*shlex.split(command)) == READ


def test_course_names_every_page_and_picture_of_an_idea() -> None:
    named = {target.partition("#")[0] for _, target, _ in links(COURSE.read_text(encoding="utf-8"))}
    assert {f"ideas/{page.name}" for page in PAGES} - {"ideas/README.md"} <= named
    assert {f"ideas/{path.name}" for path in FOLDER.glob("*.svg")} <= named


@pytest.mark.parametrize(("page", "code"), of_pages(OF_README.inline_settings))
def test_settings_exist(page: Path, code: str) -> None:
    assert {word.removeprefix("--").split("=")[0] for word in code.split()} <= defaults().keys()


def test_every_page_is_listed_and_has_picture_and_command() -> None:
    contents = {target for _, target, _ in links((FOLDER / "README.md").read_text(encoding="utf-8"))}
    assert contents == {page.name for page in PAGES} - {"README.md"}
    for name in contents:
        page = (FOLDER / name).read_text(encoding="utf-8")
        assert f"]({name.removesuffix('.md')}.svg)" in page
        assert list(OF_README.commands(page))
        assert "](../../tests/" in page


def test_every_published_experiment_is_linked() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for record in (ROOT / "results").glob("*/record.jsonl"):
        assert f"](../../results/{record.parent.name}/README.md)" in pages, record


def test_every_picture_is_small_and_has_a_page_and_a_description() -> None:
    shown = {
        target: text
        for page in PAGES
        for text, target, _ in links(page.read_text(encoding="utf-8"))
        if target.endswith(".svg")
    }
    assert {*shown} == {f"{name}.svg" for name in DRAW.PICTURES} == {path.name for path in FOLDER.glob("*.svg")}
    assert all(len(text) > 60 for text in shown.values())
    assert all(path.stat().st_size < LARGEST for path in FOLDER.glob("*.svg"))


@pytest.mark.parametrize("name", DRAW.PICTURES)
@pytest.mark.thin(2)
def test_pictures_are_what_the_code_draws(name: str, tmp_path: Path) -> None:
    pinned = re.search(r"^matplotlib==(\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned
    if matplotlib.__version__ != pinned[1]:
        pytest.skip(f"the pictures are those of matplotlib {pinned[1]}, this is {matplotlib.__version__}")
    drawn = tmp_path / f"{name}.svg"
    DRAW.PICTURES[name]().save(drawn)
    assert drawn.read_bytes() == (FOLDER / drawn.name).read_bytes(), "draw it again: python docs/draw.py"
