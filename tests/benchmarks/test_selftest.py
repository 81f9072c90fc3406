"""The self-test covers every combination, passes here, and fails where a kernel is wrong."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from mingpt.benchmarks import selftest
from mingpt.core.errors import UsageError
from mingpt.core.log_output import messages
from mingpt.models.attention.kernels import KERNELS, Sdpa
from mingpt.models.attention.layers import AttentionConfig
from mingpt.models.attention.masks import MASKS
from mingpt.models.attention.positions import POSITIONS
from mingpt.models.attention.scores import SCORES

CPU = torch.device("cpu")
SOME = [
    AttentionConfig(n_embd=96, n_query_head=6, block_size=41, **settings)
    for settings in (
        {"n_kv_head": 2, "rope": True, "window": 5},
        {"score": "additive", "position": "alibi"},
        {"mask": "full", "n_kv_head": 1},
    )
]


@pytest.fixture
def checked() -> Iterator[Any]:
    """checked(layers) -> the verdict, and the lines."""

    def run(layers: list[AttentionConfig]) -> tuple[bool, list[str]]:
        said: list[str] = []
        with messages(said.append):
            return selftest.run(CPU, layers=layers), said

    return run


def test_every_combination_is_checked() -> None:
    layers = list(selftest.cases())
    assert len(set(layers)) == len(layers)
    assert {layer.score for layer in layers} == {*SCORES}
    assert {layer.mask for layer in layers} == {*MASKS}
    assert {layer.positional_encoding for layer in layers} == {*POSITIONS}
    assert {layer.window for layer in layers} >= {None, 1, 5}
    pairs = {(layer.score, layer.positional_encoding, layer.key_heads, layer.window) for layer in layers}
    assert {(score, code, g, 5) for score in SCORES for code in POSITIONS for g in (6, 2, 1)} <= pairs


def test_kernels_that_are_right_pass(checked: Any) -> None:
    passes, said = checked(SOME)
    assert passes
    assert said[-1].startswith("PASS: ")
    assert "1e-11 in float64, 0.0001 in float32" in said[-1]
    rows = {tuple(line.split()[:2]): line.split()[2:] for line in said[1:-1]}
    assert rows.keys() == {(kernel, dtype) for kernel in KERNELS for dtype in ("float64", "float32")}
    assert rows["reference", "float64"][:2] == ["3", "0"]
    assert rows["sdpa", "float32"][:2] == ["2", "1"]
    assert "-" not in rows["reference", "float32"]


@pytest.mark.parametrize("phase", ["forward", "backward", "decode"])
def test_kernel_that_is_wrong_in_one_phase_fails(checked: Any, monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
    attend = Sdpa.attend

    def wrong(self: Sdpa, q: Any, k: Any, v: Any, need: Any) -> Any:
        output, weights = attend(self, q, k, v, need)
        if phase == "forward":
            output = output + 1e-3 * output.detach().roll(1, -1)
        if phase == "backward" and output.requires_grad:
            output = output + 1e-3 * (output - output.detach())
        if phase == "decode" and need.queries == 1:
            output = output * 1.001
        return output, weights

    monkeypatch.setattr(Sdpa, "attend", wrong)
    passes, said = checked(SOME[:1])
    assert not passes
    assert said[-1].startswith("FAIL: ")
    assert any(line.startswith(f"sdpa, float64, {phase}: off by") and "window 5" in line for line in said)


def test_kernel_that_crashes_or_gives_nan_fails(checked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*words: Any) -> Any:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(Sdpa, "attend", crash)
    passes, said = checked(SOME[:1])
    assert not passes
    assert any("no such instruction" in line for line in said)
    monkeypatch.setattr(Sdpa, "attend", lambda self, q, k, v, need: (q * torch.nan, None))
    passes, said = checked(SOME[:1])
    assert not passes
    assert any("sdpa, float64, forward: off by inf" in line for line in said)
    monkeypatch.setattr(selftest, "training_type", lambda device: torch.bfloat16)  # where rounding allows more
    passes, said = checked(SOME[:1])
    assert any("sdpa, bfloat16, forward: off by inf" in line for line in said)


def test_the_kernel_asked_for_is_checked(caplog: pytest.LogCaptureFixture) -> None:
    assert selftest.run(CPU, layers=SOME[:1], kernel="sdpa")
    assert [line.split()[0] for line in caplog.messages[1:-1]] == ["sdpa", "sdpa"]
    with pytest.raises(UsageError, match=r"model\.kernel=sdqa: must be one of .*did you mean 'sdpa'"):
        selftest.run(CPU, layers=SOME[:1], kernel="sdqa")
