"""A Hugging Face folder is audited through transformers, without code or pickles unless it is trusted."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mingpt.core.errors import CheckpointError, MingptError
from mingpt.interop.audit.auditing import audit
from mingpt.interop.audit.calling import TargetError
from mingpt.interop.audit.results import PASS

CODE = """
from transformers import LlamaConfig, LlamaForCausalLM
raise SystemExit("code of the folder ran")
"""


@pytest.mark.full
def test_exported_folder_passes(folder: Path) -> None:
    pytest.importorskip("transformers")
    report = audit(folder)
    assert report.passed, report
    assert {name for name, result in report.results.items() if result.outcome == PASS} >= {
        *("look_ahead", "normalisation", "cache", "batch", "determinism", "score", "length")
    }


def test_code_of_a_folder_does_not_run_unless_trusted(folder: Path, edit: Any) -> None:
    pytest.importorskip("transformers")
    (folder / "modeling.py").write_text(CODE)
    edit(folder, model_type="theirs", auto_map={"AutoModelForCausalLM": "modeling.Theirs", "AutoConfig": "modeling.C"})
    with pytest.raises(TargetError, match=r"transformers can't load it: .*; --trust=True also runs code of the folder"):
        audit(folder)


def test_pickles_are_not_loaded_unless_trusted(folder: Path) -> None:
    pytest.importorskip("transformers")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError):
        audit(folder)


def test_library_that_is_missing_is_named_with_its_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MingptError, match="transformers is not installed: run `pip install transformers` to audit"):
        audit(folder)


def test_weights_that_are_missing_are_named(folder: Path, edit: Any) -> None:
    pytest.importorskip("transformers")
    edit(folder, num_hidden_layers=3)
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 3
    with pytest.raises(TargetError, match="weights are missing, as model"):
        audit(folder)
