"""The package can't run what it reads: nothing in its source could, by any name that it is imported under."""

import ast
from pathlib import Path

import pytest

import mingpt

PACKAGE = Path(mingpt.__file__).parent
MODULES = {"pickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "code", "codeop", "pty"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    *("torch.load", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter", "torch.serialization.load"),
    *("numpy.load", "numpy.fromfile", "numpy.lib.format.open_memmap", "pandas.read_pickle"),
    *("os.system", "os.popen", "os.execv", "os.execvp", "os.spawnv", "subprocess.getoutput", "runpy.run_path"),
    *("builtins.eval", "builtins.exec"),
}
YAML = {
    "yaml.safe_load",
    "yaml.safe_dump",
    "yaml.SafeLoader",
    "yaml.YAMLError",
    "yaml.AliasEvent",
}  # nothing else of it


def executing(source: str) -> list[str]:
    """What in `source` could run code that was read, or a shell."""
    tree, called = ast.parse(source), dict[str, str]()
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            called |= {
                alias.asname or alias.name.partition(".")[0]: (alias.asname and alias.name)
                or alias.name.partition(".")[0]
                for alias in node.names
            }
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            called |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found += [node.module] if (node.module or "").partition(".")[0] in MODULES else []

    def full(node: ast.expr) -> str:
        first, dot, rest = ast.unparse(node).partition(".")
        return f"{called.get(first, first)}{dot}{rest}"

    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            name = full(node)
            if name in ATTRIBUTES or (name.startswith("yaml.") and name not in YAML):
                found.append(name)
        if isinstance(node, ast.Call):
            if full(node.func) in BUILTINS:
                found.append(ast.unparse(node))
            found += [ast.unparse(node) for word in node.keywords if word.arg in ("shell", "allow_pickle")]
    return found


def test_package_executes_nothing_that_it_reads() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert {path: found for path in files if (found := executing(path.read_text(encoding="utf-8")))} == {}
    assert len(files) > 100


@pytest.mark.parametrize(
    "source",
    [
        *("import pickle", "from pickle import loads", "import pickle as p", "def f():\n    import marshal"),
        *("eval('1')", "exec(text)", "compile(text, '', 'exec')", "__import__(name)"),
        *("import torch\ntorch.load(f)", "from torch import load\nload(f)", "import torch as t\nread = t.load"),
        *(
            "import yaml\nyaml.load(f, yaml.SafeLoader)",
            "import yaml\nyaml.unsafe_load(f)",
            "from yaml import Loader\nLoader",
        ),
        *("import numpy as np\nnp.load(f)", "np.load(f, allow_pickle=True)", "from os import system\nsystem('ls')"),
        *("import subprocess\nsubprocess.run('ls', shell=True)", "import os as o\no.popen('ls')"),
    ],
)
def test_made_up_danger_is_found(source: str) -> None:
    assert executing(source)


@pytest.mark.parametrize(
    "source",
    [
        *(
            "import re\nre.compile('a')",
            "import torch\ntorch.compile(model)",
            "model.eval()",
            "import json\njson.load(f)",
        ),
        *("import yaml\nyaml.safe_load(f)", "import safetensors.torch\nsafetensors.torch.load(f)", "run.load(folder)"),
    ],
)
def test_harmless_line_is_accepted(source: str) -> None:
    assert executing(source) == []
