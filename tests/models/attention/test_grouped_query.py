"""The attention layer against the formula, PyTorch's own layer, and the names that people use."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mingpt.model import CausalSelfAttention, GroupedQueryAttention, RotaryPositionalEmbeddings
from mingpt.models.attention.layers import AttentionConfig
from mingpt.models.attention.positions import POSITIONS

B, T, H, D = 3, 5, 6, 4  # batch, positions, query heads, head width
E = H * D


def seven_fields(**changed: Any) -> SimpleNamespace:
    fields = {"n_embd": E, "n_query_head": H, "n_kv_head": H, "rope": False}
    return SimpleNamespace(**fields | {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "block_size": 7} | changed)


def layer_of(cls: type[GroupedQueryAttention] = GroupedQueryAttention, **changed: Any) -> GroupedQueryAttention:
    torch.manual_seed(2)
    layer = cls(seven_fields(**changed)).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, 0, 0.4)
    return layer


def residual_stream(width: int = E) -> Tensor:
    x = torch.randn(B, T, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return x.requires_grad_()


def turned(x: Tensor) -> Tensor:
    """(b, t, h, d) turned by position, each pair as one complex number."""
    half = x.shape[-1] // 2
    m = torch.arange(1, x.shape[1] + 1, dtype=torch.float64)
    angle = torch.outer(m, 10_000 ** (-torch.arange(half, dtype=torch.float64) / half))[:, None]
    z = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat((z.real, z.imag), -1)


def written_out(layer: GroupedQueryAttention, x: Tensor, *, g: int, rope: bool, qk_norm: bool) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, every query head with a copy of its keys and values, the mask spelled out."""
    b, t, e = x.shape
    d = e // H
    q = (x @ layer.q_proj.weight.T + layer.q_proj.bias).reshape(b, t, H, d)
    k = (x @ layer.k_proj.weight.T + layer.k_proj.bias).reshape(b, t, g, d)
    v = (x @ layer.v_proj.weight.T + layer.v_proj.bias).reshape(b, t, g, d)
    if qk_norm:
        q = q / (q.square().mean(-1, keepdim=True) + 1e-6).sqrt() * layer.q_norm.weight
        k = k / (k.square().mean(-1, keepdim=True) + 1e-6).sqrt() * layer.k_norm.weight
    if rope:
        q, k = turned(q), turned(k)
    owner = [i // (H // g) for i in range(H)]
    scores = torch.einsum("bthd,bshd->bhts", q, k[:, :, owner]) / math.sqrt(d)
    unseen = torch.arange(t)[:, None] < torch.arange(t)
    weights = scores.masked_fill(unseen, -math.inf).exp()
    weights = weights / weights.sum(-1, keepdim=True)
    y = torch.einsum("bhts,bshd->bthd", weights, v[:, :, owner]).reshape(b, t, e)
    return y @ layer.out_proj.weight.T + layer.out_proj.bias


def assert_same(found: Tensor, right: Tensor, *inputs: Tensor) -> None:
    """Equal values, and equal gradients of one random weighting of them."""
    torch.testing.assert_close(found, right, rtol=0, atol=1e-12)
    weights = torch.randn(right.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = [torch.autograd.grad((y * weights).sum(), inputs) for y in (found, right)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("g", [6, 3, 2, 1])
@pytest.mark.parametrize("rope", [False, True])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_layer_equals_the_formula_with_query_head_i_reading_key_head_i_over_group(
    g: int, rope: bool, qk_norm: bool
) -> None:
    layer, x = layer_of(n_kv_head=g, rope=rope, qk_norm=qk_norm), residual_stream()
    assert_same(layer(x)[0], written_out(layer, x, g=g, rope=rope, qk_norm=qk_norm), x, *layer.parameters())


def test_heads_of_odd_width_need_no_rotary_positions() -> None:
    layer, x = layer_of(n_embd=H * 3, n_kv_head=2), residual_stream(H * 3)
    assert_same(layer(x)[0], written_out(layer, x, g=2, rope=False, qk_norm=False), x)


@pytest.mark.parametrize("cls", [GroupedQueryAttention, CausalSelfAttention])
def test_one_key_head_per_query_head_is_torch_multihead_attention(cls: type[GroupedQueryAttention]) -> None:
    layer, x = layer_of(cls), residual_stream()
    theirs = nn.MultiheadAttention(E, H, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([p.weight for p in (layer.q_proj, layer.k_proj, layer.v_proj)]))
        theirs.in_proj_bias.copy_(torch.cat([p.bias for p in (layer.q_proj, layer.k_proj, layer.v_proj)]))
        theirs.out_proj.load_state_dict(layer.out_proj.state_dict())
    unseen = torch.ones(T, T, dtype=torch.bool).triu(1)
    expected, _ = theirs(x, x, x, attn_mask=unseen, need_weights=False)
    assert_same(layer(x)[0], expected, x)


@pytest.mark.parametrize("g", [3, 2, 1])
@pytest.mark.parametrize("rope", [False, True])
def test_shared_key_heads_equal_multi_head_attention_with_repeated_rows(g: int, rope: bool) -> None:
    shared, repeated, x = layer_of(n_kv_head=g, rope=rope), layer_of(rope=rope), residual_stream()
    weights = shared.state_dict()
    for name in ("k_proj.weight", "k_proj.bias", "v_proj.weight", "v_proj.bias"):
        heads = weights[name].unflatten(0, (g, D))
        weights[name] = heads[[i // (H // g) for i in range(H)]].flatten(0, 1)
    repeated.load_state_dict(weights)
    assert_same(shared(x)[0], repeated(x)[0], x)


def test_null_key_heads_mean_one_per_query_head() -> None:
    assert layer_of(n_kv_head=None).n_kv_head == H


@pytest.mark.parametrize("g", [6, 2, 1])
def test_public_names_and_widths(g: int) -> None:
    layer = layer_of(n_kv_head=g, rope=True)
    for name, width in (("q_proj", E), ("k_proj", g * D), ("v_proj", g * D), ("out_proj", E)):
        projection = getattr(layer, name)
        assert type(projection) is nn.Linear
        assert (projection.in_features, projection.out_features) == (E, width)
    for pe in (layer.query_rotary_pe, layer.key_rotary_pe):
        assert isinstance(pe, RotaryPositionalEmbeddings)
        assert pe.d == D


@pytest.mark.parametrize("position", [None, *(name for name in POSITIONS if name != "rope")])
def test_rotary_names_are_there_only_with_rope(position: str | None) -> None:
    layer = layer_of(position=position)
    assert not hasattr(layer, "query_rotary_pe")
    assert not hasattr(layer, "key_rotary_pe")


def test_output_is_a_tuple_with_the_output_first() -> None:
    y = layer_of()(residual_stream())
    assert isinstance(y, tuple)
    assert y[0].shape == (B, T, E)


def test_any_object_is_a_config() -> None:
    class Config:
        n_embd, n_query_head, n_kv_head, rope = E, H, 2, True
        attn_pdrop = resid_pdrop = 0.0
        block_size = 7
        unrelated = "ignored"

    ours = AttentionConfig(n_embd=E, n_query_head=H, n_kv_head=2, rope=True, block_size=7)
    weights, x = layer_of(n_kv_head=2, rope=True).state_dict(), residual_stream()
    outputs = []
    for config in (Config, Config(), ours, seven_fields(n_kv_head=2, rope=True)):
        layer = GroupedQueryAttention(config).double()
        layer.load_state_dict(weights)
        outputs.append(layer(x)[0])
    assert all(torch.equal(y, outputs[0]) for y in outputs)


@pytest.mark.parametrize("rope", [False, True])
def test_no_mask_and_no_table_is_stored(rope: bool) -> None:
    layer = layer_of(rope=rope)
    layer(residual_stream())
    projections = ("q_proj", "k_proj", "v_proj", "out_proj")
    assert set(layer.state_dict()) == {f"{name}.{kind}" for name in projections for kind in ("weight", "bias")}
    assert not list(layer.buffers())


@pytest.mark.parametrize("rope", [False, True])
def test_a_sequence_longer_than_block_size_is_the_layers_own_affair(rope: bool) -> None:
    short, long, x = layer_of(rope=rope, block_size=2), layer_of(rope=rope), residual_stream()
    torch.testing.assert_close(short(x)[0], long(x)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["attn_pdrop", "resid_pdrop"])
def test_dropout_acts_in_training_only(name: str) -> None:
    dropping, plain, x = layer_of(**{name: 0.5}), layer_of(), residual_stream()
    assert not torch.equal(dropping(x)[0], plain(x)[0])
    assert torch.equal(dropping.eval()(x)[0], plain.eval()(x)[0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_embd": 25}, "n_embd=25.*multiple of model.n_query_head=6"),
        ({"n_embd": 0}, "n_embd=0.*at least 1"),
        ({"n_query_head": 0}, "n_query_head=0.*at least 1"),
        ({"n_kv_head": 4}, "n_kv_head=4.*divide model.n_query_head=6"),
        ({"n_kv_head": 12}, "n_kv_head=12.*divide"),
        ({"n_kv_head": 0}, "n_kv_head=0.*divide"),
        ({"n_kv_head": -1}, "n_kv_head=-1.*divide"),
        ({"n_embd": 18, "rope": True}, "n_embd=18.*even width"),
        ({"rope": True, "position": "learned"}, "position=learned.*contradicts model.rope=True"),
        ({"position": "rpoe"}, "position=rpoe.*did you mean 'rope'"),
        ({"attn_pdrop": 1.0}, r"attn_pdrop=1.0.*\[0, 1\)"),
        ({"resid_pdrop": -0.1}, r"resid_pdrop=-0.1.*\[0, 1\)"),
        ({"resid_pdrop": math.nan}, r"resid_pdrop=nan.*\[0, 1\)"),
        ({"block_size": 0}, "block_size=0.*at least 1"),
    ],
    ids=str,
)
def test_wrong_setting_is_rejected_by_name_value_and_rule(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GroupedQueryAttention(seven_fields(**changed))


def test_causal_self_attention_rejects_shared_keys() -> None:
    with pytest.raises(ValueError, match=r"n_kv_head=2.*GroupedQueryAttention"):
        CausalSelfAttention(seven_fields(n_kv_head=2))
