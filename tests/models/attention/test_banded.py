"""The banded kernel: its gradients, its cost in products and in memory, and that a compiler sees one node."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import pytest
import torch
from needs import called_where_compiled, defined, drawn, need_of
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mingpt.models.attention.kernels import banded, choose
from mingpt.training.profiling import peak_bytes

CPU = torch.device("cpu")
banded_attention = banded.banded


def seed_of(dropout_p: float, seed: int) -> Tensor | None:
    return torch.tensor(seed) if dropout_p else None


def attended(name: str, window: int | None, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    need = need_of(q, window)
    return choose(name, need).attend(q, k, v, need)[0]


# -- gradients


@pytest.mark.parametrize("dropout_p", [0.0, 0.4])
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.thin(8)
def test_gradient(seed: int, dropout_p: float) -> None:
    b, g, shared, d = torch.randint(1, 3, (4,), generator=torch.Generator().manual_seed(seed)).tolist()
    n = (1, 2, 5, 17, 19)[seed % 5]
    window = 1 + (7 * seed) % n

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return banded_attention(q, k, v, window, 0.7, dropout_p, seed_of(dropout_p, seed))

    assert torch.autograd.gradcheck(call, drawn(b, g * shared, g, n, d), fast_mode=n > 5)


@pytest.mark.parametrize("tile", [1, 700, 1 << 30], ids=["one block", "a few", "all"])
@pytest.mark.parametrize("dropout_p", [0.0, 0.5])
def test_it_is_the_same_in_tiles_of_any_size(monkeypatch: pytest.MonkeyPatch, tile: int, dropout_p: float) -> None:
    inputs = drawn(2, 4, 2, 53, 3)
    monkeypatch.setattr(banded, "TILE", tile)
    for window in (1, 2, 16, 17, 18, 33, 53):
        found = banded_attention(*inputs, window, 0.6, dropout_p, seed_of(dropout_p, 1))
        weights = torch.randn(found.shape, dtype=found.dtype, generator=torch.Generator().manual_seed(0))
        gradients = torch.autograd.grad((found * weights).sum(), inputs)
        again = banded_attention(*inputs, window, 0.6, dropout_p, seed_of(dropout_p, 1))
        assert torch.equal(found, again)  # the same seed draws the same
        if not dropout_p:
            right = defined(*inputs, window, 0.6)[0]
            torch.testing.assert_close(found, right, rtol=0, atol=1e-12)
            for one, other in zip(gradients, torch.autograd.grad((right * weights).sum(), inputs), strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_dropout_draws_the_same_weights_in_the_backward_pass() -> None:
    q, k, _ = drawn(2, 4, 2, 40, 40)
    v = torch.eye(40, dtype=torch.float64).expand(2, 2, 40, 40).clone().requires_grad_()  # the output is the weights
    weights = banded_attention(q, k, v, 9, 0.3, 0.5, torch.tensor(7))
    gradient = torch.autograd.grad(weights.sum(), v)[0]
    torch.testing.assert_close(gradient[..., 0], weights.detach().unflatten(1, (2, 2)).sum((2, 3)), rtol=0, atol=1e-12)


def test_rows_do_not_read_each_other() -> None:
    q, k, v = drawn(3, 4, 2, 21, 3)
    found = banded_attention(q, k, v, 18, 0.6, 0.0, None)
    for b, g in product(range(3), range(2)):
        alone = [x[b : b + 1, at] for x, at in ((q, slice(2 * g, 2 * g + 2)), (k, [g]), (v, [g]))]
        one = banded_attention(*alone, 18, 0.6, 0.0, None)
        torch.testing.assert_close(found[b : b + 1, 2 * g : 2 * g + 2], one, rtol=0, atol=1e-12)


def test_numbers_of_any_size_leave_it_finite() -> None:
    q, k, v = (x.detach() * 1e3 for x in drawn(2, 4, 2, 50, 4, torch.float32))
    q, k, v = (x.requires_grad_() for x in (q, k, v))
    y = banded_attention(q, k, v, 10, 0.5, 0.0, None)
    y.sum().backward()
    assert all(x.isfinite().all() for x in (y, q.grad, k.grad, v.grad))


def test_inputs_may_be_views_and_gradients_of_any_stride() -> None:
    whole = [x.detach() for x in drawn(2, 4, 2, 23, 6)]
    views = [x.transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for x in whole]
    copies = [x.clone().requires_grad_() for x in whole]
    outputs = [banded_attention(*inputs, 5, 0.4, 0.0, None) for inputs in (views, copies)]
    assert torch.equal(*outputs)
    weights = torch.randn(2, 4, 6, 23, dtype=torch.float64).mT
    gradients = [torch.autograd.grad(y, x, weights) for y, x in zip(outputs, (views, copies), strict=True)]
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_neither_inputs_nor_the_random_state_are_touched() -> None:
    inputs = drawn(2, 4, 2, 23, 6)
    before, state = [x.detach().clone() for x in inputs], torch.get_rng_state()
    banded_attention(*inputs, 5, 0.4, 0.5, torch.tensor(0)).sum().backward()
    assert all(torch.equal(x, y) for x, y in zip(inputs, before, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


# -- cost


class Products(TorchDispatchMode):
    """Counts the floating-point operations of matrix products: two for each multiplication and addition."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm):
            self.flops += 2 * out.numel() * args[0].shape[-1]
        if func.overloadpacket in (torch.ops.aten.addmm, torch.ops.aten.baddbmm):
            self.flops += 2 * out.numel() * args[1].shape[-1]
        return out


@contextmanager
def counted() -> Iterator[Products]:
    with Products() as products, torch.no_grad():
        yield products


def flops_of_runs(b: int, h: int, n: int, d: int, window: int) -> int:
    """Two products for each block of queries with the keys that it is given."""
    return 2 * 2 * b * h * d * sum(run.blocks * run.size * run.keys for run in banded._runs(n, window))


def test_the_count_is_that_of_plain_attention() -> None:
    b, h, n, d = 2, 3, 17, 5
    q, k, v = drawn(b, h, h, n, d)
    with counted() as products:
        attended("reference", None, q, k, v)
    assert products.flops == 4 * b * h * n * n * d


@pytest.mark.parametrize("heads", [(1, 1), (4, 4), (4, 2), (4, 1)], ids=str)
@pytest.mark.parametrize(("n", "window"), [(300, 20), (257, 64), (600, 128), (70, 70)])
def test_it_computes_what_its_runs_say(heads: tuple[int, int], n: int, window: int) -> None:
    q, k, v = drawn(2, *heads, n, 3)
    with counted() as products:
        banded_attention._init_fn(q, k, v, window, 0.5, 0.0, None)  # inside the one node
    assert products.flops == flops_of_runs(2, heads[0], n, 3, window)


@pytest.mark.parametrize("n", [2**k for k in range(10, 16)])
def test_its_products_are_at_most_1_6_of_the_band(n: int) -> None:
    for window in (64, 100, 128, 256, 512):
        if n >= 8 * window:
            assert flops_of_runs(2, 4, n, 64, window) <= 1.6 * 4 * 2 * 4 * n * window * 64


@pytest.mark.parametrize("tile", [1, 100, 5000, 1 << 19])
@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 63, 64, 65, 300])
def test_runs_hold_each_query_once_with_all_that_it_sees(monkeypatch: pytest.MonkeyPatch, n: int, tile: int) -> None:
    monkeypatch.setattr(banded, "TILE", tile)
    for window in {1, 2, 15, 16, 17, 31, 63, 64, 65, 130, n} & set(range(1, n + 1)):
        seen = []
        for run in banded._runs(n, window):
            queries, keys = (of(torch.arange(n)[:, None])[..., 0] for of in (run.queries_of, run.keys_of))
            assert (keys[:, 0] <= (queries[:, 0] - window + 1).clamp(min=0)).all()
            assert (keys[:, -1] == queries[:, -1]).all()
            seen += queries.flatten().tolist()
        assert seen == list(range(n))


def live_bytes(name: str, n: int, window: int, h: int, d: int) -> int:
    """The high-water mark of a forward and backward pass, inputs and outputs included."""

    def call() -> None:
        q, k, v = (torch.ones(1, h, n, d, requires_grad=True) for _ in range(3))
        attended(name, window, q, k, v).backward(torch.ones(1, h, n, d))

    return peak_bytes(call, CPU)


def slope(sizes: list[int], costs: list[int]) -> float:
    """Of the least-squares line through the logarithms."""
    x, y = (torch.tensor(values, dtype=torch.float64).log() for values in (sizes, costs))
    x = x - x.mean()
    return float((x * y).sum() / x.square().sum())


@pytest.mark.parametrize(
    ("sizes", "window", "h", "d"),
    [
        ([2048, 4096, 8192], 64, 1, 64),
        pytest.param([2**k for k in range(10, 16)], 128, 4, 64, marks=pytest.mark.slow),
    ],
)
def test_memory_grows_with_the_length_alone(sizes: list[int], window: int, h: int, d: int) -> None:
    assert 0.9 <= slope(sizes, [live_bytes("banded", n, window, h, d) for n in sizes]) <= 1.15


def test_memory_of_the_reference_grows_with_its_square() -> None:
    sizes = [256, 512, 1024]
    assert slope(sizes, [live_bytes("reference", n, 64, 1, 8) for n in sizes]) > 1.8


@pytest.mark.parametrize(("n", "h"), [(8192, 1), pytest.param(16384, 4, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_window(n: int, h: int) -> None:
    narrow, wide = (live_bytes("banded", n, window, h, 64) for window in (64, 512))
    assert wide < 1.15 * narrow


# -- one opaque node


@pytest.mark.parametrize("dropout_p", [0.0, 0.3])
@pytest.mark.thin(1)
def test_it_is_an_operator_as_pytorch_wants_them(dropout_p: float) -> None:
    torch.library.opcheck(banded_attention, (*drawn(2, 4, 2, 19, 3), 5, 0.5, dropout_p, seed_of(dropout_p, 3)))


@pytest.mark.parametrize("dropout_p", [0.0, 0.3])
@pytest.mark.full
def test_a_compiler_sees_one_node_in_the_layer_and_no_break(dropout_p: float) -> None:
    called = called_where_compiled("banded", dropout_p)
    assert [target for target in called if "banded" in target] == ["mingpt.banded.default"]
    assert not [target for target in called if "bmm" in target or "as_strided" in target or "softmax" in target]


def test_autocast_reaches_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA it would make float32 of the softmax alone, and a product of two types fails."""
    seen, product = [], torch.baddbmm

    def watched(*inputs: Any, **how: Any) -> Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return product(*inputs, **how)

    monkeypatch.setattr(torch, "baddbmm", watched)
    q, k, v = drawn(1, 2, 2, 20, 4, torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = banded_attention(q, k, v, 5, 0.5, 0.0, None)
        y.sum().backward()
    assert y.dtype == torch.bfloat16
    assert seen
    assert not any(seen)
