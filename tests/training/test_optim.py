"""Optimizers and schedules: who updates which parameter, in what direction, how far."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mingpt.model import GPT
from mingpt.training.optim import OPTIMIZERS, SCHEDULES, Muon, orthogonal, rate_at

MakeGPT = Callable[..., GPT]
SHAPES = [(5, 5), (3, 7), (7, 3), (1, 5), (5, 1), (24, 96)]


def made(name: str, model: nn.Module, **changed: Any) -> list[torch.optim.Optimizer]:
    settings = {"lr": 0.01, "matrix_lr": 0.02, "betas": (0.9, 0.95), "weight_decay": 0.1}
    return OPTIMIZERS[name](model, **settings | changed)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def conditioned(m: int, n: int, smallest: float = 0.1) -> Tensor:
    """A matrix whose singular values run from 1 down to `smallest`."""
    u, _, v = torch.linalg.svd(drawn(m, n, seed=m * n), full_matrices=False)
    return u @ torch.linspace(1, smallest, min(m, n)).diag() @ v


def newton_schulz(s: Tensor) -> Tensor:
    """What the iteration makes of singular values: the same odd polynomial, five times, on numbers."""
    s = s.double() / s.double().norm()
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return s


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_orthogonal_brings_singular_values_near_one(shape: tuple[int, int], scale: float) -> None:
    values = torch.linalg.svdvals(orthogonal(scale * conditioned(*shape)[None])[0])
    assert values.min() > 0.65
    assert values.max() < 1.25


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_orthogonal_keeps_singular_vectors(shape: tuple[int, int]) -> None:
    matrix = conditioned(*shape).double()
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    torch.testing.assert_close(orthogonal(matrix[None])[0].double(), u @ newton_schulz(s).diag() @ v, rtol=0, atol=2e-4)


def test_orthogonal_of_a_batch_is_that_of_each() -> None:
    batch = drawn(3, 5, 7)
    alone = torch.cat([orthogonal(matrix[None]) for matrix in batch])
    torch.testing.assert_close(orthogonal(batch), alone, rtol=0, atol=1e-4)


def test_orthogonal_of_zero_is_zero() -> None:
    assert not orthogonal(torch.zeros(2, 3, 5)).any()


def test_muon_moves_a_diagonal_case_by_the_signs() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.tensor([[3.0, 0.0], [0.0, -3.0]])
    Muon([weight], lr=0.5).step()
    size = newton_schulz(torch.ones(2))[0].item()  # either singular value of the direction
    torch.testing.assert_close(weight.detach(), torch.tensor([[-0.5, 0.0], [0.0, 0.5]]) * size, rtol=0, atol=1e-5)
    assert 0.65 < size < 1.25


@pytest.mark.parametrize(("shape", "factor"), [((8, 2), 2.0), ((2, 8), 1.0), ((3, 3), 1.0)], ids=str)
def test_muon_takes_longer_steps_for_tall_matrices(shape: tuple[int, int], factor: float) -> None:
    weight = nn.Parameter(torch.zeros(shape))
    weight.grad = 5 * torch.eye(*shape)
    Muon([weight], lr=0.1).step()
    size = newton_schulz(torch.ones(min(shape)))[0].item()
    torch.testing.assert_close(weight.detach(), -0.1 * factor * size * torch.eye(*shape), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3)], ids=str)
def test_muon_is_nesterov_momentum_orthogonalised_with_decoupled_decay(shape: tuple[int, int]) -> None:
    lr, momentum, decay = 0.1, 0.9, 0.3
    weight, gradients = nn.Parameter(drawn(*shape)), [drawn(*shape, seed=seed) for seed in (1, 2, 3)]
    expected, buffer = weight.detach().clone(), torch.zeros(shape)
    optimizer = Muon([weight], lr=lr, momentum=momentum, weight_decay=decay)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
        buffer = momentum * buffer + gradient
        direction = orthogonal((gradient + momentum * buffer)[None])[0]
        expected = expected * (1 - lr * decay) - lr * math.sqrt(max(1, shape[0] / shape[1])) * direction
        torch.testing.assert_close(weight.detach(), expected, rtol=0, atol=1e-3)
        assert torch.equal(weight.grad, gradient)  # whoever logs gradients afterwards sees them as they were


def test_muon_on_many_matrices_is_muon_on_each() -> None:
    shapes = [(5, 7), (7, 5), (5, 7), (3, 3), (5, 7)]
    together, alone = ([nn.Parameter(drawn(*s, seed=i)) for i, s in enumerate(shapes)] for _ in range(2))
    optimizers = [Muon(together, lr=0.1), *(Muon([p], lr=0.1) for p in alone)]
    for step in range(3):
        for parameters in (together, alone):
            for i, p in enumerate(parameters):
                p.grad = None if (step, i) == (1, 2) else drawn(*p.shape, seed=10 * step + i)  # one sits a step out
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_parameter_is_updated_by_one_optimizer_once(fresh_gpt: MakeGPT, name: str) -> None:
    model = fresh_gpt(qk_norm=True)
    owned = [p for optimizer in made(name, model) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, owned)) == sorted(map(id, model.parameters()))


def test_muon_takes_the_matrices_of_the_blocks_and_nothing_else(fresh_gpt: MakeGPT) -> None:
    model = fresh_gpt(qk_norm=True)
    adamw, muon = made("muon", model)
    names = {id(p): name for name, p in model.named_parameters()}
    taken = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    linears = ("attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.out_proj", "mlp.up", "mlp.down")
    assert isinstance(muon, Muon)
    assert taken == {f"blocks.{i}.{linear}.weight" for i in (0, 1) for linear in linears}
    assert {group["lr"] for group in muon.param_groups} == {0.02}
    assert {group["lr"] for group in adamw.param_groups} == {0.01}
    assert {group["betas"] for group in adamw.param_groups} == {(0.9, 0.95)}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_decay_shrinks_matrices_by_its_share_and_leaves_the_rest(fresh_gpt: MakeGPT, name: str) -> None:
    model = fresh_gpt(qk_norm=True)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_()
            p.grad = torch.zeros_like(p)  # so that only decay is left of an update
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizers = made(name, model)
    rate = {id(p): group["lr"] for o in optimizers for group in o.param_groups for p in group["params"]}
    for optimizer in optimizers:
        optimizer.step()
    for key, p in model.named_parameters():
        share = 1 - 0.1 * rate[id(p)] if p.ndim >= 2 else 1
        torch.testing.assert_close(p.detach(), before[key] * share, rtol=1e-6, atol=0)


def test_adamw_is_its_published_update(fresh_gpt: MakeGPT) -> None:
    model, (b1, b2), lr, decay = fresh_gpt().double(), (0.9, 0.95), 0.01, 0.1
    (optimizer,) = made("adamw", model)
    p = model.head.weight
    expected, first, second = p.detach().clone(), 0.0, 0.0
    for t in (1, 2, 3):
        for parameter in model.parameters():
            parameter.grad = drawn(*parameter.shape, seed=t).double()
        optimizer.step()
        first, second = b1 * first + (1 - b1) * p.grad, b2 * second + (1 - b2) * p.grad**2
        expected = expected * (1 - lr * decay)
        expected = expected - lr * (first / (1 - b1**t)) / ((second / (1 - b2**t)).sqrt() + 1e-8)
        torch.testing.assert_close(p.detach(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_starts_at_one_and_never_rises(name: str) -> None:
    values = [SCHEDULES[name](i / 20) for i in range(21)]
    assert values[0] == 1
    assert all(0 <= later <= earlier for earlier, later in pairwise(values))


@pytest.mark.parametrize(
    ("schedule", "at_quarter", "at_half", "at_end"),
    [("constant", 1, 1, 1), ("linear", 0.75, 0.5, 0), ("cosine", 0.5 + math.sqrt(2) / 4, 0.5, 0)],
)
def test_schedule_at_hand_computed_points(schedule: str, at_quarter: float, at_half: float, at_end: float) -> None:
    points = [SCHEDULES[schedule](done) for done in (0.25, 0.5, 1.0)]
    assert points == pytest.approx([at_quarter, at_half, at_end], abs=1e-15)


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({}, {0: 1, 3: 0.7, 9: 0.1, 10: 0}),
        ({"schedule": "constant"}, {0: 1, 9: 1}),
        ({"warmup_iters": 4}, {0: 0.25, 1: 0.5, 3: 1, 4: 1, 7: 0.5, 10: 0}),
        ({"warmup_iters": 1}, {0: 1, 1: 1, 10: 0}),
        ({"decay_from": 0.6}, {0: 1, 6: 1, 7: 0.75, 9: 0.25, 10: 0}),
        ({"decay_from": 0.6, "warmup_iters": 2, "final_fraction": 0.2}, {0: 0.5, 1: 1, 6: 1, 8: 0.6, 10: 0.2}),
        ({"decay_from": 0.2, "warmup_iters": 6}, {5: 1, 6: 1, 8: 0.5}),
        ({"schedule": "cosine", "final_fraction": 0.5}, {0: 1, 5: 0.75, 10: 0.5}),
        ({"schedule": "constant", "final_fraction": 0.5}, {9: 1}),
        ({"decay_from": 1.0}, {0: 1, 9: 1}),
        ({"warmup_iters": 20}, {0: 0.05, 9: 0.5}),
    ],
    ids=str,
)
def test_rate_at_hand_computed_steps(settings: dict[str, Any], rates: dict[int, float]) -> None:
    rule = {"max_iters": 10, "schedule": "linear", "warmup_iters": 0, "decay_from": 0.0, "final_fraction": 0.0}
    assert {step: rate_at(step, **rule | settings) for step in rates} == pytest.approx(rates, abs=1e-12)
