"""`chargpt audit`: a run passes with 0, a model that sees the future ends with 1 and is named, --json is one object."""

import json
from pathlib import Path
from typing import Any

import pytest

from mingpt.interop.audit.checks import in_order

LEAKING = """
import torch
from torch import nn


class Leaking(nn.Module):
    vocab_size, block_size = 5, 12

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 5)

    def forward(self, ids):
        return self.table(ids) + self.table(ids).mean(1, keepdim=True)
"""


@pytest.fixture
def leaking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "a_leaking_model.py").write_text(LEAKING)
    monkeypatch.chdir(tmp_path)
    return "a_leaking_model:Leaking"


def test_failing_checks_are_named_and_shown(chargpt: Any, leaking: str) -> None:
    ended = chargpt("audit", leaking)
    assert ended.code == 1
    assert "look_ahead     fail            prediction 0 moves by" in ended.out
    assert "look_ahead fails; to reproduce:" in ended.out
    assert "target = target_of('a_leaking_model:Leaking')" in ended.out
    assert ended.out.splitlines()[-1].startswith("look_ahead, normalisation fail (")
    assert "1/7 look_ahead: fail\n" in ended.err


def test_report_is_one_json_object(chargpt: Any, leaking: str) -> None:
    ended = chargpt("audit", leaking, "--json")
    found = json.loads(ended.out)
    assert ended.code == 1
    assert (found["passed"], found["failing"]) == (False, ["look_ahead", "normalisation"])
    assert [*found["checks"]] == in_order()
    assert found["checks"]["look_ahead"]["evidence"]["j"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "0 targets: one is needed, as `chargpt audit TARGET`"),
        (["a", "b"], "2 targets: one is needed"),
        (
            ["nothing"],
            "nothing: there is no such file or folder; must be a run folder, a Hugging Face folder, package.",
        ),
        (["nothing", "--vocab_size=1"], "vocab_size=1: must be at least 2, or null"),
        (["nothing", "--vocab=1"], "--vocab: there is no such setting (did you mean 'vocab_size'?)"),
        (["nothing", "--text=gone.txt"], "text=gone.txt: can't be read: No such file or directory"),
    ],
)
def test_wrong_settings_are_rejected(chargpt: Any, words: list[str], message: str) -> None:
    ended = chargpt("audit", *words)
    assert ended.code == 2
    assert message in ended.refusal


def test_help_names_the_targets_and_whose_code_runs(chargpt: Any) -> None:
    said = " ".join(chargpt("audit", "--help").out.split())
    assert "package.module:factory" in said
    assert "--trust=True" in said
