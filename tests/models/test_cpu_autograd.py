"""What is written out computes what is defined, forward and backward; and only where it is meant to."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mingpt.models.cpu_autograd import additive_scores, convolved, relu_squared, rms_norm, rotated

pytestmark = pytest.mark.usefixtures("compiler_set_up")
SHAPES = [(3, 4), (1, 2), (2, 3, 5, 6), (7, 5), (1, 1, 1, 8), (2, 1)]


def plain(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The definition that serves elsewhere: a compiler would get it."""

    def defined(*inputs: Tensor) -> Tensor:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.compiler, "is_compiling", lambda: True)
            return function(*inputs)

    return defined


def cases(shape: tuple[int, ...]) -> dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]]:
    torch.manual_seed(sum(shape))
    shape = torch.Size(shape)
    x, weight = torch.randn(shape, dtype=torch.float64), torch.randn(shape[-1], dtype=torch.float64)
    rows = torch.randn(3, shape[-1], dtype=torch.float64)
    angle = torch.randn(shape[-2], shape[-1] // 2, dtype=torch.float64)
    keys, v = (torch.randn(shape[:-2].numel(), n, shape[-1], dtype=torch.float64) for n in (3, 1))
    return {
        "rms_norm": (lambda x, weight: rms_norm(x, weight, 1e-3), (x, weight)),
        "relu_squared": (relu_squared, (x,)),
        "convolved": (lambda x, rows: convolved(x.reshape(-1, *x.shape[-2:]), rows), (x, rows)),
        "additive_scores": (
            lambda x, k, v: additive_scores(x.reshape(1, *k.shape[:1], *x.shape[-2:]), k[None], v),
            (x, keys, v),
        ),
        "rotated": (lambda x: rotated(x, angle.cos(), angle.sin()), (x,)),
        "rotated, heads side by side": (
            lambda x: rotated(x.transpose(-2, 0).contiguous().transpose(-2, 0), angle.cos(), angle.sin()),
            (x,),
        ),
    }


@pytest.mark.parametrize("name", cases(SHAPES[0]))
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.thin
def test_gradient_written_out_is_autograds(name: str, shape: tuple[int, ...]) -> None:
    function, inputs = cases(shape)[name]
    if shape[-1] % 2 and name.startswith("rotated"):
        return
    leaves = [x.requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(function, leaves)
    ours, defined = function(*leaves), plain(function)(*leaves)
    assert type(ours.grad_fn) is not type(defined.grad_fn)
    torch.testing.assert_close(ours, defined, rtol=0, atol=1e-12)
    grad = torch.randn_like(ours)
    for a, b in zip(torch.autograd.grad(ours, leaves, grad), torch.autograd.grad(defined, leaves, grad), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_plain_definition_serves_where_nothing_trains_or_a_type_is_short() -> None:
    x, weight = torch.randn(3, 4), torch.ones(4)
    assert rms_norm(x, weight, 1e-6).equal(F.rms_norm(x, (4,), weight, 1e-6))
    short = x.bfloat16().requires_grad_()
    names = {type(f(short).grad_fn).__name__ for f in (relu_squared, lambda x: rms_norm(x, weight.bfloat16(), 1e-6))}
    assert not any("Squared" in name or "RmsNormBackward" in name for name in names)


def test_gradient_of_a_gradient_raises() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    with pytest.raises(RuntimeError, match="no gradient of this gradient"):
        torch.autograd.grad(relu_squared(x).sum() + (x**3).sum(), x, create_graph=True)
