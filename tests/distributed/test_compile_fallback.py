"""A compiler that fails: the piece runs as it is written, forward or backward, and whoever asked is told."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mingpt.distributed.compile_fallback import Compiler
from mingpt.distributed.strategy import LossOnly
from mingpt.model import GPT
from mingpt.models.base import ModelConfig


def passes(model: nn.Module, call: Callable[..., Tensor]) -> list[Tensor]:
    """Output and gradients."""
    model.zero_grad()
    x = torch.linspace(-1, 1, 15, dtype=torch.float64).view(3, 5).requires_grad_()
    out = call(x)
    out.square().sum().backward()
    return [tensor.detach().clone() for tensor in (out, *(p.grad for p in (x, *model.parameters())))]  # type: ignore


def broken_at(name: str, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., bool]) -> None:
    inductor = pytest.importorskip("torch._inductor.compile_fx")  # two seconds: not at collection
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
@pytest.mark.full
def test_pass_that_is_not_compiled_computes_the_same_and_is_reported(
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


@pytest.mark.full
def test_no_gradient_of_logits_is_made_in_training() -> None:
    """What a compiled pass hands out beside the loss would come back as a gradient, of zeros, as large as it is."""
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    given: list[int] = []

    def backward(graph: Any, inputs: Any) -> Any:
        given.append(sum("tangents" in node.name for node in graph.graph.nodes if node.op == "placeholder"))
        return make_boxed_func(graph.forward)

    backend = aot_autograd(fw_compiler=lambda graph, inputs: make_boxed_func(graph.forward), bw_compiler=backward)
    model = GPT(ModelConfig(n_layer=1, n_embd=8, block_size=4, vocab_size=5))
    ids = torch.arange(4)[None]
    torch.compile(LossOnly(model), backend=backend)(ids, ids).loss.backward()
    assert given == [1]
