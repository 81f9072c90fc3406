"""Our models against transformers' of the same weights: logits and every gradient, on tiny random models.

A family of theirs is three tables: their settings, ours, and where each of our layers lies in their model.  Nothing is
downloaded.  transformers computes rotary angles and RMSNorm in float32 whatever the model's type; the comparison in
float64 replaces those two of its layers by their definitions.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MethodType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from mingpt.attention.kernels import KERNELS
from mingpt.lm import ModelConfig
from mingpt.model import GPT

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers")

BATCH, TOKENS, WINDOW = 3, 13, 5  # T > window, so that what lies outside it matters
LAYERS, HEADS, KEY_HEADS, WIDTH, VOCABULARY, BLOCK, INNER = 2, 6, 2, 24, 11, 17, 64
EXACT, ROUNDED = 1e-10, 1e-5  # pass marks in float64 and in float32


class Place(NamedTuple):
    """Where one of our layers lies in their model: the whole of a layer, or one of equal slices of its outputs."""

    layer: str
    part: int = 0
    parts: int = 1


@dataclass(frozen=True)
class Family:
    """One architecture.

    Attributes:
        theirs: what their configuration says, beside its sizes where all call them alike.
        ours: what our settings say, beside the same.
        places: our layer -> theirs; {} stands for the number of a block.
    """

    theirs: dict[str, Any]
    ours: dict[str, Any]
    places: dict[str, Place]


GPT2_PLACES = {
    "embedding": Place("transformer.wte"),
    "position.table": Place("transformer.wpe"),
    "blocks.{}.attention_norm": Place("transformer.h.{}.ln_1"),
    "blocks.{}.attention.q_proj": Place("transformer.h.{}.attn.c_attn", 0, 3),
    "blocks.{}.attention.k_proj": Place("transformer.h.{}.attn.c_attn", 1, 3),
    "blocks.{}.attention.v_proj": Place("transformer.h.{}.attn.c_attn", 2, 3),
    "blocks.{}.attention.out_proj": Place("transformer.h.{}.attn.c_proj"),
    "blocks.{}.mlp_norm": Place("transformer.h.{}.ln_2"),
    "blocks.{}.mlp.up": Place("transformer.h.{}.mlp.c_fc"),
    "blocks.{}.mlp.down": Place("transformer.h.{}.mlp.c_proj"),
    "final_norm": Place("transformer.ln_f"),
}
LLAMA_PLACES = {
    "embedding": Place("model.embed_tokens"),
    "blocks.{}.attention_norm": Place("model.layers.{}.input_layernorm"),
    "blocks.{}.attention.q_proj": Place("model.layers.{}.self_attn.q_proj"),
    "blocks.{}.attention.k_proj": Place("model.layers.{}.self_attn.k_proj"),
    "blocks.{}.attention.v_proj": Place("model.layers.{}.self_attn.v_proj"),
    "blocks.{}.attention.out_proj": Place("model.layers.{}.self_attn.o_proj"),
    "blocks.{}.mlp_norm": Place("model.layers.{}.post_attention_layernorm"),
    "blocks.{}.mlp.gate": Place("model.layers.{}.mlp.gate_proj"),
    "blocks.{}.mlp.up": Place("model.layers.{}.mlp.up_proj"),
    "blocks.{}.mlp.down": Place("model.layers.{}.mlp.down_proj"),
    "final_norm": Place("model.norm"),
    "head": Place("lm_head"),
}
STARCODER2_PLACES = LLAMA_PLACES | {
    "blocks.{}.mlp.up": Place("model.layers.{}.mlp.c_fc"),
    "blocks.{}.mlp.down": Place("model.layers.{}.mlp.c_proj"),
}
LLAMA = {"rope": True, "n_kv_head": KEY_HEADS, "norm": "rmsnorm", "mlp": "swiglu", "bias": False}
THEIR_LLAMA = {"num_key_value_heads": KEY_HEADS, "intermediate_size": INNER, "rms_norm_eps": 1e-6}

FAMILIES = {
    "gpt2": Family({}, {"tie_embeddings": True}, GPT2_PLACES),
    "llama": Family(THEIR_LLAMA, LLAMA, LLAMA_PLACES),
    "mistral": Family(THEIR_LLAMA | {"sliding_window": WINDOW}, LLAMA | {"window": WINDOW}, LLAMA_PLACES),
    "starcoder2": Family(
        {"num_key_value_heads": KEY_HEADS, "intermediate_size": 4 * WIDTH, "sliding_window": WINDOW},
        {"rope": True, "n_kv_head": KEY_HEADS, "window": WINDOW, "tie_embeddings": True},
        STARCODER2_PLACES,
    ),
}
every_family = pytest.mark.parametrize("name", FAMILIES)


def make_theirs(name: str, dtype: torch.dtype) -> nn.Module:
    """Their model without dropout, its parameters drawn so that each matters."""
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": BLOCK,
        "bos_token_id": 0,  # theirs lie outside so small a vocabulary
        "eos_token_id": 0,
    }
    config = transformers.AutoConfig.for_model(name, **sizes | FAMILIES[name].theirs)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(dtype).eval()
    draws = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for key, p in model.named_parameters():
            drawn = 0.2 * torch.randn(p.shape, generator=draws, dtype=torch.float64)
            p.copy_(drawn + (p.ndim == 1 and key.endswith("weight")))  # norms scale by about 1
    return model


def make_ours(name: str, theirs: nn.Module, **changed: Any) -> GPT:
    """Our model with the weights of theirs."""
    sizes = {"n_layer": LAYERS, "n_query_head": HEADS, "n_embd": WIDTH, "block_size": BLOCK, "vocab_size": VOCABULARY}
    parts = {"norm": "layernorm", "mlp": "gelu", "bias": True, "init": "gpt2"}  # whatever the defaults
    model = GPT(ModelConfig(**sizes | parts | FAMILIES[name].ours | changed))
    model.to(next(theirs.parameters()).dtype).eval()
    weights = as_ours(name, theirs, parameters(theirs))
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.copy_(weights[key])
    return model


def parameters(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter once: of two tied ones, the first."""
    return {key: p.detach() for key, p in model.named_parameters()}


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {key: p.grad for key, p in model.named_parameters()}


def layers(name: str) -> dict[str, Place]:
    """Our layer -> theirs, block by block."""
    return {
        ours.format(i): place._replace(layer=place.layer.format(i))
        for ours, place in FAMILIES[name].places.items()
        for i in range(LAYERS)
    }


def upright(theirs: nn.Module, layer: str, tensor: Tensor) -> Tensor:
    """Their Conv1D keeps (in, out) where a Linear keeps (out, in); the same way back."""
    conv = isinstance(theirs.get_submodule(layer), transformers.pytorch_utils.Conv1D)
    return tensor.mT if conv and tensor.ndim == 2 else tensor


def as_ours(name: str, theirs: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their weights, or gradients, under our names and in our shapes."""
    return {
        f"{ours}.{kind}": upright(theirs, layer, tensors[f"{layer}.{kind}"]).chunk(parts)[part]
        for ours, (layer, part, parts) in layers(name).items()
        for kind in ("weight", "bias")
        if f"{layer}.{kind}" in tensors
    }


def as_theirs(name: str, theirs: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The way back of `as_ours`."""
    slices: dict[str, list[Tensor]] = {}
    for ours, (layer, _, _) in sorted(layers(name).items(), key=lambda item: item[1]):
        for kind in ("weight", "bias"):
            if f"{ours}.{kind}" in tensors:
                slices.setdefault(f"{layer}.{kind}", []).append(tensors[f"{ours}.{kind}"])
    return {key: upright(theirs, key.rpartition(".")[0], torch.cat(parts)) for key, parts in slices.items()}


def rotary_by_definition(self: nn.Module, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    d = WIDTH // HEADS
    angle = position_ids[..., None] * 10_000 ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos().to(x.dtype), angle.sin().to(x.dtype)


def rms_norm_by_definition(self: nn.Module, x: Tensor) -> Tensor:
    return self.weight * x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def exact(theirs: nn.Module) -> nn.Module:
    """`theirs` with the layers that are pinned to float32 as their definitions say."""
    for module in theirs.modules():
        kind = type(module).__name__
        if kind.endswith("RotaryEmbedding"):
            module.forward = MethodType(rotary_by_definition, module)
        elif kind.endswith("RMSNorm"):
            module.forward = MethodType(rms_norm_by_definition, module)
    return theirs


def largest_errors(name: str, theirs: nn.Module, ours: GPT) -> dict[str, float]:
    """Of the logits, and of each parameter's gradient of a random loss per token: the largest absolute difference."""
    draws = torch.Generator().manual_seed(7)
    idx = torch.randint(VOCABULARY, (BATCH, TOKENS), generator=draws)
    above = torch.randn(BATCH, TOKENS, VOCABULARY, generator=draws, dtype=torch.float64)
    logits = [theirs(idx, use_cache=False).logits, ours(idx).logits]
    for each in logits:
        each.backward(above.to(each.dtype) / (BATCH * TOKENS))
    right = {"logits": logits[0].detach(), **as_ours(name, theirs, gradients(theirs))}
    found = {"logits": logits[1].detach(), **gradients(ours)}
    assert right.keys() == found.keys()
    return {key: (found[key] - right[key]).abs().max().item() for key in right}


@every_family
@pytest.mark.parametrize("kernel", KERNELS)
def test_logits_or_a_gradient_differ_in_float64(name: str, kernel: str) -> None:
    theirs = make_theirs(name, torch.float64)
    ours = make_ours(name, theirs, kernel=kernel)
    need = ours.blocks[0].attention.need(torch.zeros(BATCH, HEADS, TOKENS, WIDTH // HEADS), TOKENS)
    if reason := KERNELS[kernel].refuses(need):
        pytest.skip(reason)
    errors = largest_errors(name, theirs if name == "gpt2" else exact(theirs), ours)
    assert max(errors.values()) <= EXACT, errors


@every_family
def test_logits_or_a_gradient_differ_from_theirs_as_shipped_in_float32(name: str) -> None:
    theirs = make_theirs(name, torch.float32)
    errors = largest_errors(name, theirs, make_ours(name, theirs))
    assert max(errors.values()) <= ROUNDED, errors


@every_family
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_weights_do_not_return_as_they_came(name: str, dtype: torch.dtype) -> None:
    theirs = make_theirs(name, dtype)
    there, back = parameters(theirs), as_theirs(name, theirs, parameters(make_ours(name, theirs)))
    assert there.keys() == back.keys()
    assert all(torch.equal(there[key], back[key]) for key in there)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("mistral", {"window": WINDOW + 1}),
        ("mistral", {"window": WINDOW - 1}),
        ("mistral", {"window_pattern": "wf"}),
        ("mistral", {"window": None}),
        ("starcoder2", {"window": WINDOW + 1}),
        ("llama", {"rope": False, "position": "none"}),
        ("llama", {"score": "dot"}),
        ("llama", {"mask": "full"}),
        ("gpt2", {"mlp": "relu2"}),
    ],
    ids=str,
)
def test_comparison_is_blind_to_another_model(name: str, changed: dict[str, Any]) -> None:
    theirs = exact(make_theirs(name, torch.float64))
    assert largest_errors(name, theirs, make_ours(name, theirs, **changed))["logits"] > 0.1
