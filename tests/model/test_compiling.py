"""A compiler that fails: the piece runs as it is written, forward or backward, and whoever asked is told."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mingpt.compiling import Compiler

inductor = pytest.importorskip("torch._inductor.compile_fx")


def passes(model: nn.Module, call: Callable[..., Tensor]) -> list[Tensor]:
    """Output and gradients."""
    model.zero_grad()
    x = torch.linspace(-1, 1, 15, dtype=torch.float64).view(3, 5).requires_grad_()
    out = call(x)
    out.square().sum().backward()
    return [tensor.detach().clone() for tensor in (out, *(p.grad for p in (x, *model.parameters())))]  # type: ignore


def broken_at(name: str, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., bool]) -> None:
    real = getattr(inductor, name)

    def call(*given: Any, **how: Any) -> Any:
        if fails(**how):
            raise OSError("no compiler")
        return real(*given, **how)

    monkeypatch.setattr(inductor, name, call)


@pytest.mark.parametrize(
    ("name", "fails", "failures"),
    [
        ("compile_fx_inner", lambda is_backward=False, **how: not is_backward, 1),
        ("compile_fx_inner", lambda is_backward=False, **how: is_backward, 1),
        ("compile_fx_inner", lambda **how: True, 2),
        ("compile_fx", lambda **how: True, 1),
    ],
    ids=["forward", "backward", "both", "before"],
)
def test_pass_that_is_not_compiled_raises_or_computes_otherwise_or_is_not_told(
    monkeypatch: pytest.MonkeyPatch, name: str, fails: Callable[..., bool], failures: int
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 2)).double()
    compiler, as_written = Compiler(), passes(model, model)
    broken_at(name, monkeypatch, fails)
    found = passes(model, compiler.compiled(model))
    assert compiler.failed == ["OSError"] * failures
    for one, other in zip(found, as_written, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
