"""Norms, position-wise halves and initialisation: each against its formula, all against what a part must be."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mingpt.model import GPT
from mingpt.models.attention.kernels import KERNELS
from mingpt.models.attention.masks import MASKS
from mingpt.models.attention.positions import POSITIONS
from mingpt.models.attention.scores import SCORES
from mingpt.models.init import INITS
from mingpt.models.mlp import MLPS
from mingpt.models.norms import NORMS
from mingpt.training.optim import OPTIMIZERS, SCHEDULES

MakeGPT = Callable[..., GPT]
WIDTH = 5
PARTS = [(registry, name) for registry in (NORMS, MLPS) for name in registry]
every_part = pytest.mark.parametrize(("registry", "name"), PARTS, ids=[name for _, name in PARTS])
every_bias = pytest.mark.parametrize("bias", [True, False])


def large(module: nn.Module) -> nn.Module:
    """`module` in float64 with parameters drawn so that each matters."""
    torch.manual_seed(4)
    for parameter in module.double().parameters():
        nn.init.normal_(parameter)
    return module


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def shift(layer: nn.Module) -> Tensor | float:
    bias: Tensor | None = getattr(layer, "bias", None)
    return 0.0 if bias is None else bias


def linear(layer: nn.Module, x: Tensor) -> Tensor:
    return torch.einsum("...i,oi->...o", x, layer.weight) + shift(layer)


def gelu(m: nn.Module, x: Tensor) -> Tensor:
    u = linear(m.up, x)
    return linear(m.down, 0.5 * u * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3))))


def swiglu(m: nn.Module, x: Tensor) -> Tensor:
    gate = linear(m.gate, x)
    return linear(m.down, gate / (1 + torch.exp(-gate)) * linear(m.up, x))


FORMULAS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "layernorm": lambda m, x: (
        (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt() * m.weight + shift(m)
    ),
    "rmsnorm": lambda m, x: x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * m.weight,
    "gelu": gelu,
    "gelu_erf": lambda m, x: linear(m.down, 0.5 * linear(m.up, x) * (1 + torch.erf(linear(m.up, x) / math.sqrt(2)))),
    "relu2": lambda m, x: linear(m.down, torch.where(linear(m.up, x) > 0, linear(m.up, x), 0.0) ** 2),
    "swiglu": swiglu,
}


@every_bias
@pytest.mark.parametrize("name", FORMULAS)
def test_part_equals_its_formula(name: str, bias: bool) -> None:
    part = large((NORMS if name in NORMS else MLPS)[name](WIDTH, bias))
    x = drawn(2, 3, WIDTH).requires_grad_()
    found, right = part(x), FORMULAS[name](part, x)
    torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)
    weights = drawn(*right.shape)
    one, other = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (found, right))
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", NORMS)
def test_norm_takes_another_epsilon(name: str) -> None:
    """The same vector ten times as long, with an epsilon a hundred times as large, is normed alike."""
    default = {"layernorm": 1e-5, "rmsnorm": 1e-6}[name]
    x, norm, wide = drawn(3, WIDTH), NORMS[name](WIDTH, True).double(), NORMS[name](WIDTH, True, 100 * default).double()
    torch.testing.assert_close(wide(10 * x), norm(x), rtol=1e-12, atol=1e-12)
    assert (wide(0.01 * x) - norm(0.01 * x)).abs().max() > 0.01


@pytest.mark.parametrize("name", MLPS)
def test_mlp_of_another_inner_width_is_as_wide(name: str) -> None:
    assert {layer.out_features for layer in MLPS[name](WIDTH, True, 7).children() if hasattr(layer, "weight")} == {
        7,
        WIDTH,
    }


@every_bias
@every_part
def test_part_acts_on_each_vector_by_itself(registry: object, name: str, bias: bool) -> None:
    part, x = large(registry[name](WIDTH, bias)), drawn(2, 3, WIDTH)
    alone = torch.stack([part(vector) for vector in x.flatten(0, 1)]).unflatten(0, (2, 3))
    torch.testing.assert_close(part(x), alone, rtol=1e-12, atol=1e-12)
    assert part(x).shape == x.shape


@every_part
def test_part_without_bias_has_none(registry: object, name: str) -> None:
    assert not [key for key, _ in registry[name](WIDTH, False).named_parameters() if key.endswith("bias")]


@every_part
def test_part_has_the_gradient_of_its_values(registry: object, name: str) -> None:
    part = large(registry[name](WIDTH, True))
    assert torch.autograd.gradcheck(part, drawn(2, 3, WIDTH).requires_grad_())


@pytest.mark.parametrize("name", NORMS)
def test_norm_does_not_depend_on_the_scale_and_starts_at_unit_size(name: str) -> None:
    norm, x = NORMS[name](1009, True).double(), drawn(3, 1009)
    assert norm(x).square().mean(-1).tolist() == pytest.approx([1, 1, 1], rel=1e-3)
    torch.testing.assert_close(norm(1000 * x), norm(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MLPS)
@pytest.mark.parametrize("width", [24, 96, 128, 384])
def test_every_mlp_costs_about_the_same(name: str, width: int) -> None:
    parameters = sum(p.numel() for p in MLPS[name](width, False).parameters())
    assert 1 <= parameters / (8 * width * width) <= 1 + 8 / width


@pytest.mark.parametrize("mlp", MLPS)
@pytest.mark.parametrize("init", INITS)
def test_each_half_block_marks_its_one_residual_writer(fresh_gpt: MakeGPT, mlp: str, init: str) -> None:
    model = fresh_gpt(mlp=mlp, init=init)
    marked = {name for name, module in model.named_modules() if getattr(module, "is_residual_projection", False)}
    assert marked == {f"blocks.{i}.{name}" for i in (0, 1) for name in ("attention.out_proj", "mlp.down")}


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize(("init", "factor"), [("gpt2", 1 / math.sqrt(2 * 3)), ("zero_residual", 0.0)])
def test_weights_start_with_the_deviation_that_the_scheme_says(
    fresh_gpt: MakeGPT, position: str, init: str, factor: float
) -> None:
    sizes = {"n_embd": 96, "n_layer": 3, "vocab_size": 89, "block_size": 31}
    model = fresh_gpt(init=init, position=position, **sizes)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            std = 0.02 * (factor if getattr(module, "is_residual_projection", False) else 1)
            assert module.weight.std().item() == pytest.approx(std, rel=0.06, abs=0)
            assert module.weight.mean().item() == pytest.approx(0, abs=0.001)
        if isinstance(module, nn.LayerNorm):
            assert (module.weight == 1).all()
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    assert biases
    assert not any(p.any() for p in biases)


@pytest.mark.parametrize("width", [24, 18])
def test_waves_are_sinusoids_and_a_longer_table_begins_as_a_shorter(fresh_gpt: MakeGPT, width: int) -> None:
    short, long = (fresh_gpt(init="waves", n_embd=width, block_size=t).position.table.weight.detach() for t in (7, 13))
    assert torch.equal(long[:7], short)
    for m, i in ((0, 0), (1, 0), (3, 4), (6, width - 2)):
        angle = m / 1000 ** (i / width)
        expected = [0.5 * math.sin(angle), 0.5 * math.cos(angle)]
        assert short[m, i : i + 2].tolist() == pytest.approx(expected, abs=1e-7)


def test_waves_of_an_odd_width(fresh_gpt: MakeGPT) -> None:
    table = fresh_gpt(init="waves", n_embd=5, n_query_head=1).position.table.weight.detach()
    assert table[1].tolist() == pytest.approx(
        [
            0.5 * wave(1000 ** (-i / 5))
            for i, wave in ((0, math.sin), (0, math.cos), (2, math.sin), (2, math.cos), (4, math.sin))
        ]
    )


def test_zero_residual_makes_every_block_the_identity(fresh_gpt: MakeGPT) -> None:
    model, x = fresh_gpt(init="zero_residual"), torch.randn(2, 3, 24)
    assert all(torch.equal(block(x), x) for block in model.blocks)


REGISTRIES = (SCORES, MASKS, KERNELS, POSITIONS, NORMS, MLPS, INITS, OPTIMIZERS, SCHEDULES)


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda r: r.setting)
def test_unknown_name_is_rejected_by_the_setting_that_chooses(registry: object) -> None:
    name = next(iter(registry))
    with pytest.raises(ValueError, match=f"^{registry.setting}={name}x: must be one of .*did you mean '{name}'"):
        registry[name + "x"]
