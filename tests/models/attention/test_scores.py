"""Scores against their formulas pair by pair, and what each promises of itself.

Sizes are primes per axis: b = 2 or 3, t = 5, s = 7, d = 3; h = 6 query heads over g key heads.
"""

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from mingpt.model import GroupedQueryAttention
from mingpt.models import cpu_autograd
from mingpt.models.attention.kernels import KERNELS, Need
from mingpt.models.attention.masks import CAUSAL, sliding_window
from mingpt.models.attention.scores import SCORES, Score, repeated
from mingpt.training.profiling import peak_bytes

CPU = torch.device("cpu")


def fresh(name: str, heads: int = 6, width: int = 3) -> Score:
    torch.manual_seed(1)
    return SCORES[name](SimpleNamespace(n_query_head=heads, head_width=width)).double()


def large(name: str, heads: int = 6, width: int = 3) -> Score:
    """With parameters drawn so that each matters."""
    score = fresh(name, heads, width)
    for parameter in score.parameters():
        nn.init.normal_(parameter)
    return score


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


Pair = Callable[[Score, int, Tensor, Tensor], Tensor]
FORMULAS: dict[str, Pair] = {
    "dot": lambda score, n, q, k: q @ k,
    "scaled_dot": lambda score, n, q, k: q @ k / math.sqrt(len(q)),
    "multiplicative": lambda score, n, q, k: k @ (score.weight[n] @ q),
    "additive": lambda score, n, q, k: score.v[n, 0] @ torch.tanh(score.query[n] @ q + score.key[n] @ k),
    "linear_concat": lambda score, n, q, k: score.v[n, 0] @ (score.query[n] @ q + score.key[n] @ k),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("g", [6, 2, 1])
def test_score_equals_its_formula_pair_by_pair(name: str, g: int) -> None:
    score, q, k = large(name), drawn(2, 6, 5, 3), drawn(2, g, 7, 3)
    expected = torch.empty(2, 6, 5, 7, dtype=torch.float64)
    for at in torch.cartesian_prod(*(torch.arange(size) for size in expected.shape)).tolist():
        b, n, i, j = at
        expected[b, n, i, j] = FORMULAS[name](score, n, q[b, n, i], k[b, n // (6 // g), j])
    torch.testing.assert_close(score.logits(score.prepare(q), k), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("g", [2, 1])
def test_shared_key_heads_are_repeated_ones(name: str, g: int) -> None:
    score, q, k = large(name), drawn(2, 6, 5, 3), drawn(2, g, 7, 3)
    heads = k[:, [i // (6 // g) for i in range(6)]]
    assert torch.equal(repeated(k, 6), heads)
    torch.testing.assert_close(score.logits(q, k), score.logits(q, heads), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in SCORES if SCORES[name].bilinear])
def test_a_bilinear_score_is_the_product_of_what_it_folds_to(name: str) -> None:
    score, q, k = large(name), drawn(2, 6, 5, 3), drawn(2, 2, 7, 3)
    q_folded, k_folded = score.fold(q, k)
    assert q_folded.shape == q.shape  # so that fused kernels see the width of values
    assert k_folded.shape[1] in (2, 6)
    product = score.scale * q_folded @ repeated(k_folded, 6).mT
    torch.testing.assert_close(score.logits(q, k), product, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.thin
def test_gradient(name: str, seed: int) -> None:
    b, g, shared, t, s = torch.randint(1, 3, (5,), generator=torch.Generator().manual_seed(seed)).tolist()
    d = 2 + seed % 2
    t = t + seed % 2
    score = large(name, g * shared, d)

    def logits(q: Tensor, k: Tensor, *parameters: Tensor) -> Tensor:
        named = dict(zip(dict(score.named_parameters()), parameters, strict=True))
        return torch.func.functional_call(Whole(score), {f"score.{key}": p for key, p in named.items()}, (q, k))

    inputs = (drawn(b, g * shared, t, d), drawn(b, g, s + 1, d), *(p.detach() for p in score.parameters()))
    assert torch.autograd.gradcheck(logits, tuple(x.clone().requires_grad_() for x in inputs))


class Whole(nn.Module):
    """prepare, then logits."""

    def __init__(self, score: Score) -> None:
        super().__init__()
        self.score = score

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        return self.score.logits(self.score.prepare(q), k)


@pytest.mark.parametrize("name", SCORES)
def test_a_pair_is_scored_without_regard_to_others(name: str) -> None:
    score, q, k = large(name), drawn(2, 6, 5, 3), drawn(2, 6, 7, 3)
    every = score.logits(q, k)
    alone = score.logits(q[:, :, 3:4], k[:, :, 2:3])
    torch.testing.assert_close(every[:, :, 3:4, 2:3], alone, rtol=0, atol=1e-12)


def test_multiplicative_starts_as_scaled_dot() -> None:
    q, k = drawn(2, 6, 5, 4), drawn(2, 2, 7, 4)
    start, dot = fresh("multiplicative", width=4), fresh("scaled_dot", width=4)
    torch.testing.assert_close(start.logits(start.prepare(q), k), dot.logits(q, k), rtol=0, atol=1e-12)


@pytest.mark.parametrize("rope", [False, True])
@pytest.mark.parametrize("g", [6, 2])
def test_multiplicative_folded_into_the_query_projection_is_the_same_function(rope: bool, g: int) -> None:
    config = {"n_embd": 24, "n_query_head": 6, "n_kv_head": g, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "block_size": 5}
    layers = [
        GroupedQueryAttention(SimpleNamespace(**config, rope=rope, score=score)).double()
        for score in ("multiplicative", "dot")
    ]
    for parameter in layers[0].parameters():
        nn.init.normal_(parameter, 0, 0.4)
    weights = layers[0].state_dict()
    w = weights.pop("score.weight")
    for name in ("q_proj.weight", "q_proj.bias"):
        weights[name] = torch.stack([w[n] @ part for n, part in enumerate(weights[name].chunk(6))]).flatten(0, 1)
    layers[1].load_state_dict(weights)
    x = drawn(2, 5, 24)
    torch.testing.assert_close(layers[0](x)[0], layers[1](x)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("mask", [CAUSAL, sliding_window(3)], ids=["causal", "window"])
def test_linear_concat_weighs_keys_the_same_for_every_query_that_sees_them(mask: object) -> None:
    score, q, k, v = large("linear_concat"), drawn(2, 6, 7, 3), drawn(2, 2, 7, 3), drawn(2, 2, 7, 3)
    need = Need(mask=mask, score=score, queries=7, keys=7, width=4, device=CPU, dtype=torch.float64)
    weights = KERNELS["reference"].attend(q, k, v, need)[1]
    other = KERNELS["reference"].attend(drawn(2, 6, 7, 5)[..., :3], k, v, need)[1]
    torch.testing.assert_close(weights, other, rtol=0, atol=1e-12)
    ratios = weights[:, :, 3, 2] / weights[:, :, 3, 3]  # both keys are seen by queries 3 and 4
    torch.testing.assert_close(ratios, weights[:, :, 4, 2] / weights[:, :, 4, 3], rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", [name for name in SCORES if name != "linear_concat"])
def test_every_other_score_depends_on_the_query(name: str) -> None:
    score, k = large(name), drawn(2, 6, 7, 3)
    one, other = (score.logits(q, k).softmax(-1) for q in (drawn(2, 6, 5, 3), drawn(2, 6, 5, 4)[..., :3]))
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("chunk", [1, 2 * 6 * 7 * 3, 2 * 6 * 7 * 3 * 2, 10**9], ids=["row", "one", "two", "all"])
@pytest.mark.parametrize("compiling", [False, True], ids=["cpu", "elsewhere"])
@pytest.mark.usefixtures("compiler_set_up")
def test_additive_is_the_same_however_it_is_cut(monkeypatch: pytest.MonkeyPatch, chunk: int, compiling: bool) -> None:
    score, q, k = large("additive"), drawn(2, 6, 5, 3).requires_grad_(), drawn(2, 2, 7, 3).requires_grad_()
    inputs, weights = (q, k, *score.parameters()), drawn(2, 6, 5, 7)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    whole = score.logits(q, k)
    monkeypatch.setattr(cpu_autograd, "CHUNK" if compiling else "CPU_CHUNK", chunk)
    cut = score.logits(q, k)
    torch.testing.assert_close(cut, whole, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad((y * weights).sum(), inputs) for y in (cut, whole)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_additive_never_holds_a_number_per_query_key_and_width(monkeypatch: pytest.MonkeyPatch) -> None:
    n, d = 128, 64
    monkeypatch.setattr(cpu_autograd, "CPU_CHUNK", 1 << 15)  # 4 queries at a time
    score = large("additive", heads=1, width=d).float()
    q, k = (drawn(1, 1, n, d).float().requires_grad_() for _ in range(2))
    held = peak_bytes(lambda: score.logits(q, k).square().sum().backward(), CPU)
    pairs = 4 * n * n
    assert held < 24 * pairs  # a few matrices of pairs, a few chunks
    assert held < pairs * d / 2  # and far from the tensor that the formula asks for
