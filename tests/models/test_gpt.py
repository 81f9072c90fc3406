"""What a GPT is made of and what it refuses; what it computes is in tests/laws."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mingpt.model import GPT
from mingpt.models.attention.positions import POSITIONS
from mingpt.models.base import ModelConfig
from mingpt.models.init import position_tables

MakeGPT = Callable[..., GPT]
IDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


def test_loss_is_the_mean_over_every_target_in_nats(gpt: MakeGPT) -> None:
    targets = IDS.roll(-1, 1)
    output = gpt()(IDS, targets)
    assert output._fields == ("logits", "loss")
    assert output.logits.shape == (2, 5, 11)
    chances = output.logits.exp() / output.logits.exp().sum(-1, keepdim=True)
    terms = [-chances[b, t, targets[b, t]].log() for b in range(2) for t in range(5)]
    torch.testing.assert_close(output.loss, torch.stack(terms).mean(), rtol=1e-12, atol=0)
    assert gpt()(IDS).loss is None


def test_blocks_add_to_the_stream_what_they_read_of_its_norm(gpt: MakeGPT) -> None:
    model = gpt()
    x = model.embedding.weight[IDS] + model.position.table.weight[: IDS.shape[1]]
    for block in model.blocks:
        x = x + block.attention(F.layer_norm(x, (24,), block.attention_norm.weight, block.attention_norm.bias))[0]
        inner = F.layer_norm(x, (24,), block.mlp_norm.weight, block.mlp_norm.bias)
        inner = F.gelu(inner @ block.mlp.up.weight.T + block.mlp.up.bias, approximate="tanh")
        x = x + inner @ block.mlp.down.weight.T + block.mlp.down.bias
    x = F.layer_norm(x, (24,), model.final_norm.weight, model.final_norm.bias)
    torch.testing.assert_close(model(IDS).logits, x @ model.head.weight.T, rtol=0, atol=1e-11)


@pytest.mark.parametrize("position", POSITIONS)
def test_only_learned_positions_are_stored_and_no_mask(fresh_gpt: MakeGPT, position: str) -> None:
    model = fresh_gpt(position=position, block_size=13)  # 13 is no other size here
    model(torch.zeros(1, 13, dtype=torch.long))
    per_position = [name for name, value in model.state_dict().items() if 13 in value.shape]
    assert per_position == (["position.table.weight"] if position == "learned" else [])
    assert [f"{name}.weight" for name in position_tables(model)] == per_position  # what a longer block adds rows to
    assert not list(model.buffers())


def test_rope_true_and_false_differ_in_the_table_alone(fresh_gpt: MakeGPT) -> None:
    learned, rope = ({k: v.shape for k, v in fresh_gpt(rope=r).state_dict().items()} for r in (False, True))
    assert learned.pop("position.table.weight") == (7, 24)
    assert learned == rope


@pytest.mark.parametrize(("switch", "name"), [({"rope": True}, "rope"), ({"rope": False}, "learned"), ({}, "learned")])
def test_the_switch_and_the_name_build_the_same_model(gpt: MakeGPT, switch: dict[str, Any], name: str) -> None:
    torch.testing.assert_close(gpt(**switch)(IDS).logits, gpt(position=name)(IDS).logits, rtol=0, atol=0)


@pytest.mark.parametrize("position", POSITIONS)
def test_every_positional_encoding_is_another_function_of_order(gpt: MakeGPT, position: str) -> None:
    model, swapped = gpt(position=position), IDS[:, [1, 0, 2, 3, 4]]
    last, of_swapped = model(IDS).logits[:, -1], model(swapped).logits[:, -1]
    if position == "none":
        model = gpt(position=position, n_layer=1)  # one layer without positions reads a bag of tokens
        last, of_swapped = model(IDS).logits[:, -1], model(swapped).logits[:, -1]
        torch.testing.assert_close(last, of_swapped, rtol=0, atol=1e-10)
    else:
        assert (last - of_swapped).abs().max() > 1e-6


def test_bias_false_leaves_none_anywhere(fresh_gpt: MakeGPT) -> None:
    assert not [name for name, _ in fresh_gpt(bias=False).named_parameters() if name.endswith("bias")]
    assert len([name for name, _ in fresh_gpt().named_parameters() if name.endswith("bias")]) == 2 * (4 + 2 + 2) + 1


def test_dropout_on_embeddings_attention_and_residual_acts_in_training_only(gpt: MakeGPT) -> None:
    plain = gpt()(IDS).logits
    for name in ("embd_pdrop", "attn_pdrop", "resid_pdrop"):
        model = gpt(**{name: 0.5})
        assert torch.equal(model(IDS).logits, plain)
        assert not torch.equal(model.train()(IDS).logits, plain)


def test_more_than_block_size_is_rejected_and_leaves_the_state_usable(gpt: MakeGPT) -> None:
    model, ids = gpt(), torch.arange(8)[None]
    with pytest.raises(ValueError, match=r"8 tokens.*block_size=7"):
        model(ids)
    state = model.new_state(1)
    model(ids[:, :5], state=state)
    with pytest.raises(ValueError, match=r"8 tokens.*block_size=7"):
        model(ids[:, 5:], state=state)
    assert state.length == 5
    last = model(ids[:, 5:7], state=state).logits
    torch.testing.assert_close(last, model(ids[:, :7]).logits[:, 5:], rtol=0, atol=1e-10)


@pytest.mark.parametrize("g", [6, 3, 1])
def test_state_takes_two_tensors_a_layer_of_shared_heads_only(gpt: MakeGPT, g: int) -> None:
    state = gpt(n_kv_head=g, n_layer=3).new_state(5)
    tensors = [x for layer in state.layers for x in (layer.cache.keys, layer.cache.values)]
    assert sum(x.numel() * x.itemsize for x in tensors) == 2 * 3 * 5 * g * 7 * 4 * 8


@pytest.mark.parametrize("settings", [{}, {"n_kv_head": 1, "mlp": "swiglu", "rope": True}, {"bias": False}], ids=str)
def test_flops_are_two_per_multiplication_and_addition_that_a_block_takes(
    fresh_gpt: MakeGPT, settings: dict[str, Any]
) -> None:
    model, block = fresh_gpt(**settings), 7
    total = 0
    for module in model.modules():
        if isinstance(module, nn.Linear):
            total += 2 * block * module.in_features * module.out_features
    seen = sum(1 for i in range(block) for j in range(block) if j <= i)
    total += 2 * 2 * 2 * 24 * seen  # layers; q k^T and weights v; width
    assert model.flops_per_token() == total / block


def test_head_dim_that_says_the_usual_makes_the_same_model(gpt: MakeGPT) -> None:
    said = gpt(head_dim=4, rope_base=10_000.0, mlp_width=96, norm_eps=1e-5)
    assert torch.equal(said(IDS).logits, gpt()(IDS).logits)


@pytest.mark.parametrize("g", [6, 2])
def test_heads_are_as_wide_as_head_dim(gpt: MakeGPT, g: int) -> None:
    model = gpt(head_dim=10, n_kv_head=g, rope=True, qk_norm=True)
    shapes = {name: tuple(p.shape) for name, p in model.blocks[0].attention.named_parameters() if p.ndim == 2}
    assert shapes == {
        "q_proj.weight": (60, 24),
        "k_proj.weight": (10 * g, 24),
        "v_proj.weight": (10 * g, 24),
        "out_proj.weight": (24, 60),
    }
    assert model.blocks[0].attention.q_norm.weight.shape == (10,)
    assert model.blocks[0].attention.query_rotary_pe.d == 10
    assert model.new_state(1).layers[0].cache.keys.shape == (1, g, 7, 10)
    assert model(IDS).logits.shape == (2, 5, 11)


def test_rotary_base_is_the_setting(gpt: MakeGPT) -> None:
    """With a single pair of dimensions the angle is the position, whatever the base; with two it is not."""
    few = [gpt(rope=True, n_query_head=12, rope_base=base)(IDS).logits for base in (10_000.0, 50.0)]
    assert torch.equal(*few)
    model = gpt(rope=True, rope_base=50.0)
    assert model.blocks[1].attention.query_rotary_pe.base == 50.0
    assert (model(IDS).logits - gpt(rope=True)(IDS).logits).abs().max() > 1e-3


def test_epsilon_of_norms_reaches_all_of_them(gpt: MakeGPT) -> None:
    model = gpt(norm="rmsnorm", qk_norm=True, norm_eps=0.3)
    epsilons = [module.eps for module in model.modules() if isinstance(module, nn.RMSNorm)]
    assert epsilons == [0.3] * (2 * 4 + 1)


def test_parameter_count_is_gpt2s_formula(fresh_gpt: MakeGPT) -> None:
    e, v, t, layers = 24, 11, 7, 2
    block = 4 * (e * e + e) + (4 * e * e + 4 * e) + (4 * e * e + e) + 2 * 2 * e
    assert fresh_gpt().parameter_count == v * e + t * e + layers * block + 2 * e + e * v


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_layer": 0}, "model.n_layer=0.*at least 1"),
        ({"vocab_size": 0}, "model.vocab_size=0.*at least 1"),
        ({"embd_pdrop": 1.0}, r"model.embd_pdrop=1.0.*\[0, 1\)"),
        ({"norm": "layernrom"}, "model.norm=layernrom.*did you mean 'layernorm'"),
        ({"mlp": "swiglo"}, "model.mlp=swiglo.*did you mean 'swiglu'"),
        ({"init": "gpt3"}, "model.init=gpt3.*did you mean 'gpt2'"),
        ({"head_dim": 0}, "model.head_dim=0: must be at least 1"),
        ({"head_dim": 5, "rope": True}, "model.head_dim=5: must give heads of even width"),
        ({"mlp_width": 0}, "model.mlp_width=0: must be at least 1"),
        ({"conv_width": 0}, "model.conv_width=0: must be at least 1"),
        ({"rope_base": 0.0, "rope": True}, "model.rope_base=0.0: must be finite and above 0"),
        ({"rope_scaling": 0.5, "rope": True}, "model.rope_scaling=0.5: must be finite and at least 1"),
        ({"rope_scaling": 8.0}, "model.rope_scaling=8.0: has no effect with learned positions"),
        ({"rope_base": 500.0}, "model.rope_base=500.0: has no effect with learned positions"),
        ({"norm_eps": float("nan")}, "model.norm_eps=nan: must be finite and above 0"),
        ({"n_query_head": 4, "n_kv_head": 3}, "model.n_kv_head=3.*divide model.n_query_head=4"),
    ],
    ids=str,
)
def test_wrong_setting_is_rejected_by_name_value_and_rule(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GPT(ModelConfig(**changed))


def test_residual_stream_stays_wide_where_products_are_short(gpt: MakeGPT) -> None:
    model, seen = gpt().float(), list[torch.dtype]()
    for block in model.blocks:
        block.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    wide = model(IDS).logits
    with torch.autocast("cpu", torch.bfloat16):
        short = model(IDS).logits
    half = len(seen) // 2
    assert (set(seen[:half]), set(seen[half:])) == ({torch.float32}, {torch.bfloat16})
    torch.testing.assert_close(short.float(), wide, rtol=0, atol=0.05)
