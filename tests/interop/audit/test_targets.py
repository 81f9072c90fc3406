"""Every kind of target is audited: functions, factories, runs, files of scores; and what is none is rejected."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sound import BLOCK, VOCABULARY, Sound

import mingpt
from mingpt.core.errors import CheckpointError, DataError, UsageError
from mingpt.interop.audit.auditing import audit
from mingpt.interop.audit.calling import TargetError
from mingpt.interop.audit.checks import CHECKS, in_order
from mingpt.interop.audit.results import FAIL, NOT_APPLICABLE, PASS
from mingpt.models.config import ModelConfig


def test_audit_is_a_name_of_the_package() -> None:
    assert mingpt.audit is audit
    report = mingpt.audit(mingpt.GPT(ModelConfig(n_layer=1, n_embd=8, n_query_head=2, block_size=9, vocab_size=5)))
    assert report.passed
    assert json.loads(json.dumps(report.to_json()))["checks"]["cache"]["outcome"] == PASS


@pytest.mark.parametrize("kind", ["tensor", "tuple", "mapping", "object"])
def test_function_may_return_its_logits_in_any_usual_way(kind: str) -> None:
    model = Sound().eval()

    def logits_of(ids: torch.Tensor) -> Any:
        out = model(ids)
        return {"tensor": out.logits, "tuple": (out.logits, None), "mapping": {"logits": out.logits}, "object": out}[
            kind
        ]

    report = audit(logits_of, vocab_size=VOCABULARY, block_size=BLOCK)
    assert report.passed
    assert report.results["look_ahead"].outcome == PASS
    assert report.results["cache"].outcome == NOT_APPLICABLE


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (lambda ids: torch.zeros(len(ids), 1, 7), "the last position alone, and all are needed: wrap the model"),
        (lambda ids: torch.zeros(len(ids), 7), r"logits of shape \(1, 7\) for ids \(1, 2\): must be \(b, t, v\)"),
        (lambda ids: "text", r"returns str: must be \(b, t, v\) logits"),
    ],
)
def test_what_returns_no_logits_is_rejected(out: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        audit(out, vocab_size=7)


def test_size_that_is_not_known_must_be_given() -> None:
    with pytest.raises(TargetError, match="vocab_size is no attribute of it or of its config: give it as vocab_size"):
        audit(lambda ids: torch.zeros(*ids.shape, 7))
    with pytest.raises(TargetError, match=r"must be an nn\.Module, or a callable"):
        audit(3)


def test_factory_is_called_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_here.py").write_text(
        "from sound import Sound\n\ndef broken():\n    raise OSError('no weights')\n"
    )
    monkeypatch.chdir(tmp_path)
    report = audit("made_here:Sound")
    assert report.passed
    assert report.target == "made_here:Sound"
    assert str(tmp_path) not in sys.path
    with pytest.raises(TargetError, match="made_here:broken: can't be made: OSError: no weights"):
        audit("made_here:broken")
    with pytest.raises(TargetError, match="ModuleNotFoundError") as raised:
        audit("not_there:Sound")
    assert raised.value.exit_code == 2, "1 means that a check fails"


@pytest.mark.parametrize("name", ["nothing", "a/b:c", "no.folder/"])
def test_name_of_nothing_is_rejected(name: str) -> None:
    with pytest.raises(UsageError, match="there is no such file or folder; must be a run folder"):
        audit(name)


def test_folder_that_is_no_model_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither a run folder nor one of Hugging Face: it has no config\.json"):
        audit(tmp_path)


# ---------------------------------------------------------------- files of log-probabilities

TOKENS = ["a", "b", "é", "\n", "ab"]
LOG_PROBS = [None, -1.5, -0.25, -2.0, -0.5]


def header(**changes: Any) -> dict[str, Any]:
    text = "".join(TOKENS)
    whole = {"tokens": 4, "bytes": 6, "text_sha256": hashlib.sha256(text.encode()).hexdigest(), "loss": 1.0625}
    return whole | changes


def written(tmp_path: Path, first: dict[str, Any], **changes: Any) -> str:
    """A file of scores; `changes` replace entries of its third token."""
    lines: list[Any] = [first]
    for position, (text, log_prob) in enumerate(zip(TOKENS, LOG_PROBS, strict=True)):
        line = {"position": position, "token": position, "text": text, "log_prob": log_prob}
        lines.append(line | (changes if position == 2 else {}))
    path = tmp_path / "scores.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_file_of_scores_passes(tmp_path: Path) -> None:
    report = audit(written(tmp_path, header()), text="".join(TOKENS))
    assert report.passed
    assert "1.0625 nats over 4 tokens, 1.02191 bits per byte of 6 bytes" in report.results["score"].summary
    assert report.results["normalisation"].outcome == PASS
    assert report.results["look_ahead"].outcome == NOT_APPLICABLE


FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "loss": (header(loss=0.9), {}, "score", "the header says loss 0.9, the lines give 1.0625"),
    "bytes": (header(bytes=7), {}, "score", "the header says bytes 7, the lines give 6"),
    "tokens": (header(tokens=5), {}, "score", "the header says tokens 5, the lines give 4"),
    "another_text": (header(), {"text": "e"}, "score", "the header says bytes 6, the lines give 5"),
    "twice": (header(), {"position": 1}, "score", "position 1 is counted twice"),
    "missing": (header(), {"position": 7}, "score", "position 2 is missing, so it is never counted"),
    "above_one": (header(loss=0.875), {"log_prob": 0.5}, "normalisation", "1 probabilities are above 1"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_of_a_file_of_scores_is_found(tmp_path: Path, name: str) -> None:
    first, changes, check, said = FAULTS[name]
    report = audit(written(tmp_path, first, **changes))
    assert report.failing == [check]
    assert said in report.results[check].summary


def test_file_of_scores_of_another_text_fails(tmp_path: Path) -> None:
    report = audit(written(tmp_path, header()), text="abé\n")
    assert report.results["score"].outcome == FAIL
    assert "its tokens spell 7 bytes, and aren't the text, which has 5" in report.results["score"].summary


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: must be a header"),
        ('{"position": 0}\n', "line 1: must be a header"),
        ("[]\n", "line 1: must be a JSON object"),
        ("{}\n{}\n", "line 2: must have a position"),
        ('{}\n{"position": 0, "log_prob": NaN, "text": ""}\n', "line 2: must have a position, and a log_prob that is"),
        ('{}\n{"position": 0, "log_prob": -1, "hex": "zz"}\n', 'line 2: must have its "text", or its bytes as "hex"'),
        ('{}\n{"position": 0, "log_prob": null, "text": "a"}\n', "no token has a log_prob"),
        ("{" * 100_000, "line 1: must be a JSON object"),
    ],
)
def test_damaged_file_of_scores_is_rejected(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "scores.jsonl").write_text(content)
    with pytest.raises(DataError, match=message):
        audit(tmp_path / "scores.jsonl")


def test_page_lists_every_check_as_it_is_registered() -> None:
    page = (Path(__file__).parents[3] / "docs" / "audit.md").read_text(encoding="utf-8")
    rows = [f"| {name} | {CHECKS[name].about} |" for name in in_order()]
    assert "\n".join(rows) in page
