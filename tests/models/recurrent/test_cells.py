"""Cells: what the definition says, what PyTorch's own layers say, and what is carried from one call to the next."""

import pytest
import torch
from torch import Tensor, nn

from mingpt.models.init import hidden_matrices
from mingpt.models.recurrent.cells import CELLS, Cell, Elman

every_cell = pytest.mark.parametrize("name", CELLS)
ELMANS = [name for name in CELLS if issubclass(CELLS[name], Elman)]


def cell_of(name: str, width: int = 5, outputs: int | None = None) -> Cell:
    torch.manual_seed(3)
    cell = (CELLS[name](width) if outputs is None else CELLS[name](width, outputs)).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return cell


def some(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("name", ELMANS)
@pytest.mark.parametrize("outputs", [None, 7])
def test_elman_is_its_recurrence(name: str, outputs: int | None) -> None:
    cell, x, h = cell_of(name, 5, outputs), some(3, 6, 5), some(3, 5)
    assert isinstance(cell, Elman)
    y, (last,) = cell(x, (h,))
    f, w_hx, w_hh, w_yh = cell.activation.of, cell.input.weight, cell.recurrence.weight, cell.output.weight
    for t in range(6):
        h = f(h @ w_hh.T + x[:, t] @ w_hx.T + cell.b_h)
        torch.testing.assert_close(y[:, t], f(h @ w_yh.T + cell.b_y), rtol=0, atol=1e-12)
    torch.testing.assert_close(last, h, rtol=0, atol=1e-12)
    assert y.shape == (3, 6, outputs or 5)


@pytest.mark.parametrize("name", ELMANS)
def test_biases_are_what_f_is_applied_to_at_its_centre(name: str) -> None:
    cell = cell_of(name)
    assert isinstance(cell, Elman)
    centre = torch.full((5,), cell.centre, dtype=torch.float64)
    a_h = cell.recurrence.weight @ centre + cell.input.weight @ centre + cell.b_h
    torch.testing.assert_close(a_h, cell.input.bias, rtol=0, atol=1e-12)
    torch.testing.assert_close(cell.output.weight @ centre + cell.b_y, cell.output.bias, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ELMANS)
def test_cell_starts_on_its_slope(name: str) -> None:
    torch.manual_seed(0)
    cell = CELLS[name](64)
    x = cell.centre + torch.randn(32, 20, 64)
    for _ in range(4):  # layers
        x = cell(x)[0].detach()
    assert isinstance(cell, Elman)
    on_slope = cell.activation.back(torch.ones_like(x), x) > 0.3
    assert on_slope.float().mean() > 0.5


@pytest.mark.parametrize(("name", "make"), [("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_gated_cell_is_pytorchs(name: str, make: type[nn.GRU | nn.LSTM]) -> None:
    cell, x = cell_of(name), some(3, 6, 5)
    theirs = make(5, 5, batch_first=True).double()
    theirs.load_state_dict({key.removeprefix("rnn."): value for key, value in cell.state_dict().items()})
    results = [
        (y, *torch.autograd.grad(y.square().sum(), [*m.parameters()]))
        for m, y in ((cell, cell(x)[0]), (theirs, theirs(x)[0]))
    ]
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-12)


@every_cell
@pytest.mark.parametrize("cut", [1, 3, 6])
def test_memory_is_kept_between_calls(name: str, cut: int) -> None:
    cell, x = cell_of(name), some(2, 7, 5)
    whole, at_the_end = cell(x)
    first, memory = cell(x[:, :cut])
    second, after = cell(x[:, cut:], memory)
    torch.testing.assert_close(torch.cat((first, second), 1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(after, at_the_end, rtol=0, atol=1e-12)
    assert (cell(x[:, cut:])[0] - second).abs().max() > 1e-3


@every_cell
def test_start_is_what_no_memory_means(name: str) -> None:
    cell, x = cell_of(name), some(2, 3, 5)
    start = cell.start(2)
    assert [each.shape for each in start] == [(2, 5)] * cell.memories
    assert torch.equal(cell(x)[0], cell(x, start)[0])


@every_cell
def test_matrices_of_a_cell_are_muons(name: str) -> None:
    cell = cell_of(name)
    assert hidden_matrices(cell).keys() == {key for key, p in cell.named_parameters() if p.ndim == 2}


def test_read_out_of_a_cell_is_no_hidden_matrix() -> None:
    assert hidden_matrices(CELLS["elman"](5, 7)).keys() == {"input.weight", "recurrence.weight"}
