"""The kernel for wide windows: its gradients, its parts and their cost, and what the private calls take on trust."""

import math

import pytest
import torch
from needs import called_where_compiled, defined, drawn, need_of
from torch import Tensor

from mingpt.models.attention.kernels import AUTO, KERNELS, choose, chunked_sdpa
from mingpt.models.attention.masks import sliding_window
from mingpt.training.profiling import peak_bytes

wide_attention = chunked_sdpa.chunked_sdpa


# -- gradients


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.thin
def test_gradient(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(chunked_sdpa, "CHUNK", 1 + seed % 4)
    b, g, shared, d = torch.randint(1, 3, (4,), generator=torch.Generator().manual_seed(seed)).tolist()
    n = (1, 2, 5, 17, 19)[seed % 5]
    window = 1 + (7 * seed) % n

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return wide_attention(q, k, v, window, 0.7)[0]

    assert torch.autograd.gradcheck(call, drawn(b, g * shared, g, n, d), fast_mode=n > 5)


@pytest.mark.parametrize("chunk", [1, 7, 16, 256])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (3, 1)], ids=str)
@pytest.mark.thin
def test_chunks_of_any_size_give_the_same_result(
    monkeypatch: pytest.MonkeyPatch, chunk: int, heads: tuple[int, int]
) -> None:
    monkeypatch.setattr(chunked_sdpa, "CHUNK", chunk)
    for n, windows in ((53, (1, 2, 15, 16, 17, 33, 52, 53)), (20 + chunk, (20,)), (21 + chunk, (20,))):
        inputs = drawn(2, *heads, n, 3)
        for window in windows:
            found, right = wide_attention(*inputs, window, 0.6), defined(*inputs, window, 0.6)
            torch.testing.assert_close(found, right, rtol=0, atol=1e-12)
            weights = torch.randn(found[0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
            gradients = [torch.autograd.grad((y * weights).sum(), inputs) for y, _ in (found, right)]
            torch.testing.assert_close(*gradients, rtol=0, atol=1e-10)


def test_gradients_that_are_not_computed_raise() -> None:
    q, k, v = drawn(1, 2, 2, 9, 3)
    y, sums = wide_attention(q, k, v, 4, 0.5)
    assert not sums.requires_grad
    (dq,) = torch.autograd.grad(y.square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="autograd"):
        torch.autograd.grad(dq.sum(), q)


def test_gradients_of_many_chunks_add_up_in_a_wide_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_sdpa, "CHUNK", 1)
    inputs = [x.detach() for x in drawn(1, 2, 1, 300, 4)]
    inputs[0].zero_()  # each weight alike, so that a value gets 200 small parts
    short = [x.detach().bfloat16().requires_grad_() for x in inputs]
    leaves = [x.detach().double().requires_grad_() for x in short]
    gradients = []
    for q, k, v in (short, leaves):
        y = wide_attention(q, k, v, 200, 0.5)[0]
        assert y.dtype == q.dtype
        gradients.append(torch.autograd.grad(y.double().sum(), v)[0])
    assert gradients[0].dtype == torch.bfloat16
    torch.testing.assert_close(gradients[0].double(), gradients[1], rtol=2**-6, atol=0)


def test_numbers_of_any_size_leave_the_result_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_sdpa, "CHUNK", 16)
    q, k, v = (x.detach().mul(1e3).requires_grad_() for x in drawn(2, 4, 2, 50, 4, torch.float32))
    y = wide_attention(q, k, v, 10, 0.5)[0]
    y.sum().backward()
    assert all(x.isfinite().all() for x in (y, q.grad, k.grad, v.grad))


# -- what the private calls take on trust


def test_any_strides_of_inputs_and_gradients_are_read_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_sdpa, "CHUNK", 5)
    whole = drawn(2, 4, 2, 23, 6)
    laid = (
        lambda x: x.detach().transpose(1, 2).contiguous().transpose(1, 2),  # as a layer hands them over
        lambda x: x.detach().mT.contiguous().mT,
        lambda x: x.detach().repeat_interleave(2, -1)[..., ::2],
    )
    generator = torch.Generator().manual_seed(1)
    grads = [torch.randn(2, 4, 6, 23, dtype=torch.float64, generator=generator).mT]
    grads += [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in ((2, 4, 1, 6), (), (23, 6))]
    right = [
        defined(*whole, 9, 0.4)[0],
        *(wide_attention(*(of(x).requires_grad_() for x in whole), 9, 0.4)[0] for of in laid),
    ]
    for found in right[1:]:
        torch.testing.assert_close(found, right[0], rtol=0, atol=1e-12)
    for grad in grads:
        expected = torch.autograd.grad(right[0], whole, grad.expand(2, 4, 23, 6), retain_graph=True)
        for of in laid:
            inputs = [of(x).requires_grad_() for x in whole]
            found = torch.autograd.grad(wide_attention(*inputs, 9, 0.4)[0], inputs, grad.expand(2, 4, 23, 6))
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_one_row_for_all_keys_is_read_right() -> None:
    q, k, v = (x.detach() for x in drawn(2, 2, 2, 23, 6))
    for rows in (k[:, :, :1].expand(2, 2, 23, 6), k[:1].expand(2, 2, 23, 6), k[..., :1].expand(2, 2, 23, 6)):
        found = wide_attention(q, rows, v, 9, 0.4)
        torch.testing.assert_close(found, defined(q, rows, v, 9, 0.4), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(0, 3, 5, 4), (2, 3, 0, 4)])
def test_no_rows_or_positions_give_an_empty_result(shape: tuple[int, ...]) -> None:
    """The private call itself divides by zero."""
    q, k, v = (torch.ones(shape, requires_grad=True) for _ in range(3))
    y = KERNELS["chunked_sdpa"].attend(q, k, v, need_of(q, 3))[0]
    assert y.shape == shape
    assert all(x.shape == shape for x in torch.autograd.grad(y.sum(), (q, k, v)))


def test_private_calls_are_as_expected() -> None:
    """A PyTorch where this fails is refused, not misread: see whether the calls take the same in other words."""
    assert chunked_sdpa.FORWARD is not None
    assert chunked_sdpa.BACKWARD is not None
    assert chunked_sdpa._private("_no_such_operator", "query", "key", "value") is None
    assert chunked_sdpa._private(chunked_sdpa.FLASH, "query", "key") is None


@pytest.mark.parametrize("missing", ["FORWARD", "BACKWARD"])
def test_a_pytorch_without_the_private_calls_is_served_by_another_kernel(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    need = need_of(torch.empty(1, 2, 2048, 4), 1024)
    assert choose(AUTO, need).name == "chunked_sdpa"
    monkeypatch.setattr(chunked_sdpa, missing, None)
    assert KERNELS["chunked_sdpa"].unsupported(need) == "this PyTorch has no such fused kernel"
    assert choose(AUTO, need).name == "sdpa"


# -- parts


@pytest.mark.parametrize("chunk", [1, 4, 256])
@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 65, 300])
def test_parts_hold_each_query_once_with_what_it_sees(monkeypatch: pytest.MonkeyPatch, n: int, chunk: int) -> None:
    monkeypatch.setattr(chunked_sdpa, "CHUNK", chunk)
    at = torch.arange(n)
    for window in {1, 2, 15, 16, 17, 64, n - 1, n} & set(range(1, n + 1)):
        seen, queries = torch.zeros(n, n, dtype=torch.bool), []
        for part in chunked_sdpa._chunks(n, window, torch.empty(0)):
            queries += at[part.queries].tolist()
            lags = at[part.queries][:, None] - at[part.keys]
            seen[part.queries, part.keys] = lags >= 0 if part.mask is None else part.mask == 0
        assert queries == list(range(n))
        assert torch.equal(seen, sliding_window(window).sees(at[:, None], at))


@pytest.mark.parametrize("n", [4096, 16384])
def test_window_costs_fewer_products_than_none(n: int) -> None:
    """The causal call is counted as half of its square, as that of no window is."""
    for window in (n // 4, n // 2, 3 * n // 4, n - 1):
        pairs = 0.0
        for part in chunked_sdpa._chunks(n, window, torch.empty(0)):
            sizes = [of.stop - of.start for of in (part.queries, part.keys)]
            pairs += math.prod(sizes) / (2 if part.mask is None else 1)
        assert pairs < n * n / 2
        assert pairs < sliding_window(window).pairs(n) + n * chunked_sdpa.CHUNK


def live_bytes(n: int) -> int:
    """The high-water mark of a forward and backward pass with a window of half, inputs and outputs included."""

    def call() -> None:
        q, k, v = (torch.ones(1, 1, n, 64, requires_grad=True) for _ in range(3))
        choose("chunked_sdpa", need_of(q, n // 2)).attend(q, k, v, need_of(q, n // 2))[0].backward(
            torch.ones(1, 1, n, 64)
        )

    return peak_bytes(call, torch.device("cpu"))


def test_memory_of_chunks_grows_with_the_length_alone() -> None:
    short, long = live_bytes(1024), live_bytes(4096)
    assert long < 4.5 * short


# -- one opaque node


@pytest.mark.parametrize("heads", [(4, 4), (4, 2)], ids=str)
@pytest.mark.parametrize("window", [1, 5, 19])
@pytest.mark.full
def test_it_is_an_operator_as_pytorch_wants_them(
    monkeypatch: pytest.MonkeyPatch, heads: tuple[int, int], window: int
) -> None:
    monkeypatch.setattr(chunked_sdpa, "CHUNK", 4)
    torch.library.opcheck(wide_attention, (*drawn(2, *heads, 19, 3), window, 0.5))


@pytest.mark.full
def test_a_compiler_sees_one_node_of_chunks_in_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_sdpa, "CHUNK", 4)
    called = called_where_compiled("chunked_sdpa")
    assert [target for target in called if "sdpa" in target or "attention" in target] == ["mingpt.chunked_sdpa.default"]


def test_autocast_changes_the_type_alone() -> None:
    """It computes in the type that it is given, as other operators do that autocast does not know."""
    found = []
    for enabled in (False, True):
        inputs = drawn(1, 2, 2, 20, 4, torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            y, log_sums = wide_attention(*inputs, 5, 0.5)
            y.sum().backward()
        found.append((y, log_sums, *(x.grad for x in inputs)))
    for plain, cast in zip(*found, strict=True):
        assert torch.equal(plain, cast)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_type_stays(dtype: torch.dtype) -> None:
    inputs = drawn(1, 2, 2, 20, 4, dtype)
    y, log_sums = wide_attention(*inputs, 5, 0.5)
    y.sum().backward()
    assert {y.dtype, *(x.grad.dtype for x in inputs)} == {dtype}
    assert log_sums.dtype == torch.promote_types(dtype, torch.float32)
