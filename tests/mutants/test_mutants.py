"""The faults that are planted: each is still a change of one place, and the table has no others."""

import ast
from pathlib import Path

import pytest

from tests.mutants import results
from tests.mutants.fault import ROOT, Fault
from tests.mutants.faults import FAULTS
from tests.mutants.planting import write


def test_every_fault_changes_one_place_of_code_that_is_there() -> None:
    trees = {path: ast.dump(ast.parse((ROOT / path).read_text(encoding="utf-8"))) for path, *_ in FAULTS}
    for fault in FAULTS:
        planted = fault.planted((ROOT / fault.path).read_text(encoding="utf-8"))
        assert ast.dump(ast.parse(planted)) != trees[fault.path], fault.name


def test_faults_are_many_in_every_folder_and_have_names_of_their_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 120


@pytest.mark.parametrize("source", ["x = 1\n", "a = b\nc = b\n"])
def test_text_that_is_gone_or_twice_there_is_no_place_for_a_fault(source: str) -> None:
    with pytest.raises(ValueError, match=r"m\.py: 'b' occurs \d times instead of once \(why\)"):
        Fault("m.py", "b", "a", "why").planted(source)


def test_lines_of_a_fault_are_those_of_its_text() -> None:
    assert list(Fault("m.py", "b\nc", "", "why").lines("a\nb\nc\nd\n")) == [2, 3]


def test_python_takes_no_compiled_form_of_another_version(tmp_path: Path) -> None:
    module = tmp_path / "planted_module.py"
    times = []
    for source in ("x = 1\n", "x = 2\n"):
        write(module, source)
        times.append(int(module.stat().st_mtime))
    assert times[0] != times[1]


def test_results_are_of_faults_that_are_still_planted_so() -> None:
    assert results.read().keys() <= {results.key(fault) for fault in FAULTS}
