"""Imports go one way: a module uses what is listed below it, as README.md and CONTRIBUTING.md show."""

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = [
    *("cli", "experiments", "benchmarks", "interop", "runs", "trainer", "training", "inference", "model", "models"),
    *("distributed", "utils", "data", "report", "core"),
]  # from the top; each imports only from those after it
SCRIPT = "benchmarks.peers"  # of several projects whose packages share few names; never imported
MODULES = {
    ".".join(path.relative_to(ROOT / "mingpt").with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "mingpt").rglob("*.py")
}


def read(module: str) -> str:
    return MODULES[module].read_text(encoding="utf-8")


@cache
def imported(source: str) -> set[str]:
    """The modules of this package that `source` imports, by their names after `mingpt.`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    inside = {name.removeprefix("mingpt.") for name in names if name.startswith("mingpt.")}
    return {name if name in MODULES else name.rpartition(".")[0] for name in inside} - {""}


def upward(module: str, source: str) -> set[str]:
    """What `module` imports that is listed above it."""
    here = LAYERS.index(module.partition(".")[0])
    return {name for name in imported(source) if LAYERS.index(name.partition(".")[0]) < here}


def test_modules_import_only_from_below() -> None:
    modules = [name for name in MODULES if name not in ("__init__", "__main__", SCRIPT)]
    found = {name: upward(name, source) | ({SCRIPT} & imported(source)) for name in modules if (source := read(name))}
    assert not {name: wrong for name, wrong in found.items() if wrong}


def test_an_import_from_above_is_found() -> None:
    assert upward("core.errors", "def f():\n  from mingpt.runs import run") == {"runs.run"}
    assert upward("model", "import mingpt.trainer\nfrom mingpt.models.mlp import MLPS") == {"trainer"}


def test_modules_have_no_cycle() -> None:
    TopologicalSorter({name: imported(read(name)) - {name} for name in MODULES}).prepare()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_documents_show_the_same_list(page: str) -> None:
    shown = re.findall(r"^    (\w+)/?(?:\.py)? {2,}\S", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert shown == LAYERS
