"""The notebook for people who use mingpt from Python runs as it stands, and what they import is there."""

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import mingpt

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "tour.ipynb"
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


def code_cells() -> list[str]:
    book = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert book["nbformat"] == 4
    assert all(not cell.get("outputs") for cell in book["cells"])  # which would tell of another version
    return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]


def shown(cell: str, names: dict[str, Any]) -> Any:
    """Execute a cell as a notebook does; return the value of its last line where that is an expression."""
    *body, last = ast.parse(cell).body
    if not isinstance(last, ast.Expr):
        body, last = [*body, last], ast.Expr(ast.Constant(None))
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    return eval(compile(ast.fix_missing_locations(ast.Expression(last.value)), "cell", "eval"), names)


@pytest.mark.full
def test_tour_runs_and_shows_what_it_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names: dict[str, Any] = {"__name__": "__main__"}
    values = [value for value in (shown(cell, names) for cell in code_cells()) if value is not None]
    pictures = [value._repr_png_() for value in values if hasattr(value, "_repr_png_")]
    assert len(pictures) == 3
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    runs = [value for value in values if isinstance(value, mingpt.Run)]
    assert len(runs) == 2  # of the values shown
    assert all("<table>" in run._repr_html_() for run in runs)
    assert names["same"]  # what came back from Hugging Face writes the same
    out = capsys.readouterr().out
    losses = re.findall(r"nats per token: ([\d.]+) without a window, ([\d.]+) with one of 4$", out, re.MULTILINE)
    assert max(map(float, losses[0])) < 1.5
    (made,) = (path for path in tmp_path.iterdir() if not path.name.startswith("torchinductor"))  # PyTorch's own cache
    assert {path.name for path in made.iterdir()} >= {"run", "exported", "again"}


def test_example_shows_most_of_what_there_is() -> None:
    used = set(re.findall(r"mingpt\.(\w+)", "\n".join(code_cells())))
    assert used <= set(mingpt.__all__)
    assert set(mingpt.__all__) - used <= {
        *("BidirectionalRNN", "ComparisonTable", "LanguageModel", "ModelSettings", "NGram", "Run", "Trainer"),
        *("BiRNNConfig", "GPTConfig", "NGramConfig", "RNNConfig", "play"),
    }


@pytest.mark.parametrize("name", mingpt.__all__)
def test_every_name_has_docstring_and_types(name: str) -> None:
    thing = getattr(mingpt, name)
    assert len(inspect.getdoc(thing) or "") > 20
    own = thing.forward if inspect.isclass(thing) and issubclass(thing, nn.Module) else thing
    if inspect.isclass(thing) and issubclass(thing, nn.Module) and "forward" not in vars(thing):
        return  # a base
    signature = inspect.signature(own)
    assert all(p.annotation is not p.empty for n, p in signature.parameters.items() if n != "self"), signature


def test_types_reach_a_users_type_checker() -> None:
    """Every name is told to type checkers, too, and the package says that it has types."""
    source = (ROOT / "mingpt" / "__init__.py").read_text(encoding="utf-8")
    told = re.findall(r"^    from ([\w.]+) import (\w+) as \2$", source, re.MULTILINE)
    assert {name: home for home, name in told} == mingpt._HOMES
    assert (ROOT / "mingpt" / "py.typed").is_file()
    assert '"py.typed"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_no_function_is_hidden_by_a_module_of_its_name() -> None:
    """Whatever was imported before: `mingpt.generate` and its like are what they are said to be."""
    for name, home in mingpt._HOMES.items():
        thing = getattr(mingpt, name)
        assert thing is getattr(importlib.import_module(home), name)
        assert f"mingpt.{name}" not in sys.modules


def test_importing_and_listing_need_no_torch() -> None:
    code = "import sys, mingpt; assert 'generate' in dir(mingpt); print('torch' in sys.modules, 'numpy' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={**os.environ}, check=True
    )
    assert told.stdout.split() == ["False", "False"]


def test_page_names_what_exists() -> None:
    block = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = set(re.findall(r"mingpt\.(\w+)", " ".join(block)))
    assert names
    assert names <= set(mingpt.__all__)
