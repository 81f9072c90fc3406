"""The recurrence driven over time: gradients are those of its definition, whatever the sizes."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mingpt.models.recurrent import elman_scan as scan_module
from mingpt.models.recurrent.activations import RELU, SLIDE, TANH, Activation
from mingpt.models.recurrent.cells import slide
from mingpt.models.recurrent.elman_scan import scan

SIZES = [  # b, t, i, e
    *((1, 1, 1, 1), (1, 1, 3, 2), (2, 1, 2, 3), (1, 2, 2, 3), (2, 3, 5, 2), (3, 2, 1, 4), (1, 7, 2, 3)),
    *((2, 5, 3, 3), (3, 4, 2, 5), (5, 3, 4, 2), (1, 11, 1, 2), (2, 7, 3, 1), (4, 2, 3, 3), (3, 5, 2, 2)),
    *((1, 13, 2, 2), (2, 2, 7, 3), (7, 2, 2, 3), (3, 3, 3, 3), (1, 5, 4, 4), (2, 4, 1, 5), (4, 3, 2, 1)),
]
ACTIVATIONS = {"slide": SLIDE, "tanh": TANH, "relu": RELU}
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)


@pytest.fixture
def threads() -> Any:
    """threads(n): as many until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def inputs(b: int, t: int, i: int, e: int, seed: int = 0) -> list[Tensor]:
    """x, hidden, W_hx, b, W_hh, of a size at which slide is within (0, 1), below and above."""
    torch.manual_seed(1000 * seed + 100 * b + 10 * t + e)
    x, hidden, w_input, bias, w_hidden = (
        torch.randn(shape, dtype=torch.float64) for shape in ((b, t, i), (b, e), (e, i), (e,), (e, e))
    )
    scaled = [x, 0.5 + 0.3 * hidden, 0.6 * i**-0.5 * w_input, 0.4 + 0.3 * bias, 0.6 * e**-0.5 * w_hidden]
    return [each.requires_grad_() for each in scaled]


def written_out(
    x: Tensor, hidden: Tensor, w_input: Tensor, bias: Tensor | None, w_hidden: Tensor, f: Activation
) -> tuple[Tensor, Tensor]:
    """The definition: hidden vectors, and what f was applied to."""
    steps, arguments = [], []
    for x_t in x.unbind(1):
        arguments.append(x_t @ w_input.T + (0 if bias is None else bias) + hidden @ w_hidden.T)
        hidden = f.of(arguments[-1])
        steps.append(hidden)
    return torch.stack(steps, 1), torch.stack(arguments, 1)


def away_from_kinks(given: list[Tensor], f: Activation) -> bool:
    _, a = written_out(*given, f)  # type: ignore[call-arg]
    kinks = {id(SLIDE): (0.0, 1.0), id(RELU): (0.0,)}.get(id(f), ())
    return all(bool(((a - kink).abs() > 1e-4).all()) for kink in kinks)


@every_activation
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.thin
def test_gradient_is_the_difference_quotient(activation: Activation, sizes: tuple[int, ...]) -> None:
    given = next(g for g in (inputs(*sizes, seed=seed) for seed in range(20)) if away_from_kinks(g, activation))
    assert torch.autograd.gradcheck(lambda *g: scan(*g, activation), given)


def test_slides_gradient_is_as_stated() -> None:
    a = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    values = slide(a)
    assert values.tolist() == [0, 0, 0.5, 1, 1]
    assert torch.autograd.grad(values.sum(), a)[0].tolist() == [0, 0, 1, 0, 0]


def test_scan_has_the_gradient_of_slide_at_the_kinks() -> None:
    for a, slope in ((-1.0, 0.0), (0.0, 0.0), (0.5, 1.0), (1.0, 0.0), (2.0, 0.0)):
        x = torch.tensor([[[a]]], dtype=torch.float64, requires_grad=True)
        one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
        h = scan(x, zero, one, None, zero, SLIDE)
        assert torch.autograd.grad(h.sum(), x)[0].item() == slope


def compared(given: list[Any], activation: Activation) -> None:
    wanted = [each for each in given if each is not None]
    results = []
    for h in (scan(*given, activation), written_out(*given, activation)[0]):  # type: ignore[call-arg]
        weights = torch.linspace(-1, 1, h.numel(), dtype=h.dtype).view_as(h)
        results.append((h, *torch.autograd.grad((h * weights).sum() + h[:, -1].square().sum(), wanted)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-14, atol=1e-12)


@every_activation
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.thin
def test_scan_is_its_definition(activation: Activation, sizes: tuple[int, ...]) -> None:
    compared(inputs(*sizes), activation)


@every_activation
def test_scan_without_a_bias_is_its_definition(activation: Activation) -> None:
    x, hidden, w_input, _, w_hidden = inputs(2, 5, 3, 4)
    compared([x, hidden, w_input, None, w_hidden], activation)


@every_activation
@pytest.mark.parametrize(("count", "rows"), [(1, 6), (2, 6), (3, 6), (2, 7), (4, 6)])
def test_shares_of_threads_leave_the_answer(
    activation: Activation, count: int, rows: int, threads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_module, "FEWEST_ROWS", 2)
    threads(count)
    compared(inputs(rows, 5, 3, 4), activation)


@pytest.mark.parametrize("activation", [TANH, RELU], ids=["tanh", "relu"])
def test_scan_is_pytorchs_rnn_given_the_same_weights(activation: Activation) -> None:
    x, hidden, w_input, bias, w_hidden = given = inputs(3, 7, 5, 4)
    layer = nn.RNN(5, 4, nonlinearity="tanh" if activation is TANH else "relu", batch_first=True).double()
    with torch.no_grad():
        for theirs, ours in zip(layer.parameters(), (w_input, w_hidden, bias, torch.zeros(4)), strict=True):
            theirs.copy_(ours)
    h, wanted = scan(*given, activation), layer(x, hidden[None])[0]
    weights = torch.linspace(-1, 1, h.numel(), dtype=h.dtype).view_as(h)
    theirs = torch.autograd.grad((wanted * weights).sum(), (x, hidden, *layer.parameters()))[:-1]
    ours = torch.autograd.grad((h * weights).sum(), (x, hidden, w_input, w_hidden, bias))
    torch.testing.assert_close((h, *ours), (wanted, *theirs), rtol=0, atol=1e-12)


def test_two_halves_with_the_first_ones_end_between_them_equal_the_whole() -> None:
    x, *rest = given = inputs(2, 7, 3, 4)
    whole, first = scan(*given, SLIDE), scan(x[:, :3], *rest, SLIDE)
    halves = torch.cat((first, scan(x[:, 3:], first[:, -1], *rest[1:], SLIDE)), 1)
    theirs, ours = (torch.autograd.grad(h.square().sum(), given) for h in (whole, halves))
    torch.testing.assert_close((halves, *ours), (whole, *theirs), rtol=0, atol=1e-12)


def test_autocast_leaves_one_type_in_a_product() -> None:
    x, *rest = (each.detach().float().requires_grad_() for each in inputs(2, 5, 3, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h = scan(x, *rest, SLIDE)
    assert h.dtype == torch.bfloat16
    torch.testing.assert_close(h.float(), scan(x, *rest, SLIDE), rtol=0, atol=0.05)
    assert all(g.dtype == torch.float32 for g in torch.autograd.grad(h.float().sum(), (x, *rest)))


def test_frozen_weights_get_no_gradient() -> None:
    x, *rest = inputs(2, 3, 2, 3)
    frozen = [each.detach() for each in rest]
    scan(x, *frozen, SLIDE).sum().backward()
    assert x.grad is not None
    assert all(each.grad is None for each in frozen)
