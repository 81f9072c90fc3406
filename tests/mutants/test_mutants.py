"""The faults that are planted: each is still a change of one place, and the table has no others."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants import results
from tests.mutants.fault import ROOT, Fault
from tests.mutants.faults import FAULTS
from tests.mutants.planting import write


@pytest.mark.full
def test_every_fault_changes_one_place_of_code_that_is_there() -> None:
    trees = {path: ast.dump(ast.parse((ROOT / path).read_text(encoding="utf-8"))) for path, *_ in FAULTS}
    for fault in FAULTS:
        planted = fault.planted((ROOT / fault.path).read_text(encoding="utf-8"))
        assert ast.dump(ast.parse(planted)) != trees[fault.path], fault.name


def test_faults_are_many_and_in_every_folder_and_have_names_of_their_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 120
    folders = {path.name for path in (ROOT / "mingpt").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= {Path(fault.path).parts[1] for fault in FAULTS}


@pytest.mark.full
def test_no_fault_is_a_name_that_is_not_there(tmp_path: Path) -> None:
    for number, fault in enumerate(FAULTS):
        planted = fault.planted((ROOT / fault.path).read_text(encoding="utf-8"))
        (tmp_path / f"fault_{number}.py").write_text(planted, encoding="utf-8")
    command = ["ruff", "check", "--isolated", "--select=F821", "--output-format=concise", str(tmp_path)]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("source", ["x = 1\n", "a = b\nc = b\n"])
def test_text_that_is_gone_or_twice_there_is_no_place_for_a_fault(source: str) -> None:
    with pytest.raises(ValueError, match=r"m\.py: 'b' occurs \d times instead of once \(why\)"):
        Fault("m.py", "b", "a", "why").planted(source)


def test_lines_of_a_fault_are_those_of_its_text() -> None:
    assert list(Fault("m.py", "b\nc", "", "why").lines("a\nb\nc\nd\n")) == [2, 3]


def test_python_takes_no_compiled_form_of_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    for number in (1, 2):
        write(tmp_path / "planted_module.py", f"x = {number}\n")
        importlib.invalidate_caches()
        assert importlib.import_module("planted_module").x == number
        del sys.modules["planted_module"]
    assert list((tmp_path / "__pycache__").iterdir())


def test_results_are_of_faults_that_are_still_planted_so() -> None:
    assert results.read().keys() <= {results.key(fault) for fault in FAULTS}


def test_tests_that_noticed_a_fault_are_there() -> None:
    named = {test.partition("[")[0] for each in results.read().values() for test in each.values() if test}
    for name in named:
        file, _, function = name.partition("::")
        assert f"def {function}(" in (ROOT / file).read_text(encoding="utf-8"), name
