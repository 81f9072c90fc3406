"""The example for people who use mingpt from Python runs as it stands, and what they import is there."""

import importlib
import inspect
import os
import re
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import mingpt

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "notebook.py"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_example_no_longer_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runpy.run_path(str(NOTEBOOK), run_name="__main__")
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "True"  # what came back from Hugging Face writes the same
    losses = re.findall(r"^([\d.]+) nats without a window, ([\d.]+) with one$", out, re.MULTILINE)
    assert max(map(float, losses[0])) < 1.5
    (made,) = (path for path in tmp_path.iterdir() if not path.name.startswith("torchinductor"))  # PyTorch's own cache
    assert {path.name for path in made.iterdir()} >= {"run", "exported", "again"}


def test_example_leaves_out_most_of_what_there_is() -> None:
    used = set(re.findall(r"mingpt\.(\w+)", NOTEBOOK.read_text(encoding="utf-8")))
    assert used <= set(mingpt.__all__)
    assert set(mingpt.__all__) - used <= {
        *("BidirectionalRNN", "LanguageModel", "NGram", "Run", "Trainer"),
        *("ComparisonTable", "compare", "sweep"),  # docs/sweeps.md shows them: they train for minutes
    }


@pytest.mark.parametrize("name", mingpt.__all__)
def test_name_has_no_docstring_or_no_types(name: str) -> None:
    thing = getattr(mingpt, name)
    assert len(inspect.getdoc(thing) or "") > 20
    own = thing.forward if inspect.isclass(thing) and issubclass(thing, nn.Module) else thing
    if inspect.isclass(thing) and issubclass(thing, nn.Module) and "forward" not in vars(thing):
        return  # a base
    signature = inspect.signature(own)
    assert all(p.annotation is not p.empty for n, p in signature.parameters.items() if n != "self"), signature


def test_types_are_kept_from_a_users_type_checker() -> None:
    """Every name is told to type checkers, too, and the package says that it has types."""
    source = (ROOT / "mingpt" / "__init__.py").read_text(encoding="utf-8")
    told = re.findall(r"^    from ([\w.]+) import (\w+) as \2$", source, re.MULTILINE)
    assert {name: home for home, name in told} == mingpt._HOMES
    assert (ROOT / "mingpt" / "py.typed").is_file()
    assert '"py.typed"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_function_is_hidden_by_a_module_of_its_name() -> None:
    """Whatever was imported before: `mingpt.generate` and its like are what they are said to be."""
    for name, home in mingpt._HOMES.items():
        thing = getattr(mingpt, name)
        assert thing is getattr(importlib.import_module(home), name)
        assert f"mingpt.{name}" not in sys.modules


def test_importing_or_listing_costs_torch() -> None:
    code = "import sys, mingpt; assert 'generate' in dir(mingpt); print('torch' in sys.modules, 'numpy' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={**os.environ}, check=True
    )
    assert told.stdout.split() == ["False", "False"]


def test_readmes_python_names_what_is_not_there() -> None:
    block = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = set(re.findall(r"mingpt\.(\w+)", " ".join(block)))
    assert names
    assert names <= set(mingpt.__all__)
