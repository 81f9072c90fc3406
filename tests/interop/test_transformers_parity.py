"""Our models against transformers' of the same weights: logits and every gradient, on tiny random models.

Settings and weights go from theirs to ours, and back, by the tables of `mingpt.interop`.  Nothing is downloaded.
transformers computes rotary angles and RMSNorm in float32 whatever the model's type; the comparison in float64 replaces
those two of its layers by their definitions.
"""

import json
import math
import os
from dataclasses import replace
from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mingpt.interop.architectures import ARCHITECTURES, spelled
from mingpt.interop.weights import as_ours, as_theirs
from mingpt.model import GPT
from mingpt.models.attention.kernels import KERNELS
from mingpt.models.attention.positions import RotaryPositionalEmbeddings

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers")

BATCH, TOKENS, WINDOW = 3, 13, 5  # T > window, so that what lies outside it matters
LAYERS, HEADS, KEY_HEADS, WIDTH, VOCABULARY, BLOCK, INNER = 3, 6, 2, 24, 11, 17, 40
EXACT, ROUNDED = 1e-10, 1e-5  # pass marks in float64 and in float32

LLAMA = {"num_key_value_heads": KEY_HEADS, "intermediate_size": INNER, "rms_norm_eps": 1e-3, "head_dim": 10}
KINDS = ["sliding_attention", "full_attention", "sliding_attention"]
THEIRS: dict[str, dict[str, Any]] = {  # what their configuration says, beside its sizes where all call them alike
    "gpt2": {},
    "starcoder2": {"num_key_value_heads": KEY_HEADS, "intermediate_size": INNER, "sliding_window": WINDOW},
    "llama": LLAMA,
    "mistral": {**LLAMA, "sliding_window": WINDOW, "rope_parameters": {"rope_type": "default", "rope_theta": 50.0}},
    "qwen3": {**LLAMA, "use_sliding_window": True, "sliding_window": WINDOW, "layer_types": KINDS},
    "qwen2": {
        **LLAMA,
        "head_dim": WIDTH // HEADS,
        "use_sliding_window": True,
        "sliding_window": WINDOW,
        "layer_types": KINDS,
    },
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
UNLIKE: dict[str, tuple[str, dict[str, Any]]] = {  # the same classes with what their files also say
    "gpt2-untied": ("gpt2", {"tie_word_embeddings": False, "n_inner": INNER, "layer_norm_epsilon": 0.1}),
    "gpt2-unscaled": ("gpt2", {"scale_attn_weights": False}),
    "gpt2-relu2": ("gpt2", {"activation_function": "relu2"}),
    "starcoder2-no_window": ("starcoder2", {"sliding_window": None, "tie_word_embeddings": False, "norm_epsilon": 0.1}),
    "starcoder2-head_dim": ("starcoder2", {"head_dim": 10}),
    "llama-tied": ("llama", {"tie_word_embeddings": True, "num_key_value_heads": None, "head_dim": None}),
    "llama-biased": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-scaled": ("llama", {"rope_parameters": LLAMA3}),
    "mistral-no_window": ("mistral", {"sliding_window": None}),
    "qwen3-no_window": ("qwen3", {"use_sliding_window": False, "layer_types": None, "tie_word_embeddings": True}),
    "qwen3-late_window": ("qwen3", {"layer_types": None, "max_window_layers": 1}),
}
CASES = {name: (name, {}) for name in THEIRS} | UNLIKE
every_family = pytest.mark.parametrize("case", THEIRS)
every_case = pytest.mark.parametrize("case", CASES)


def make_theirs(case: str, dtype: torch.dtype) -> nn.Module:
    """Their model without dropout, its parameters drawn so that each matters."""
    name, changed = CASES[case]
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": BLOCK,
        "bos_token_id": 0,  # theirs lie outside so small a vocabulary
        "eos_token_id": 0,
    }
    config = transformers.AutoConfig.for_model(name, **{**sizes, **THEIRS[name], **changed})
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(dtype).eval()
    draws = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for key, p in model.named_parameters():
            drawn = 0.2 * torch.randn(p.shape, generator=draws, dtype=torch.float64)
            p.copy_(drawn + (p.ndim == 1 and key.endswith("weight")))  # norms scale by about 1
    return model


def make_ours(case: str, theirs: nn.Module, **changed: Any) -> GPT:
    """Our model with the settings and the weights of theirs."""
    architecture = ARCHITECTURES[CASES[case][0]]
    config = architecture.settings(json.loads(theirs.config.to_json_string()), LAYERS)
    model = GPT(replace(config, **changed)).to(next(theirs.parameters()).dtype).eval()
    weights = as_ours(architecture.places, LAYERS, parameters(theirs))
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.copy_(weights[key])
    return model


def parameters(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter once: of two tied ones, the first."""
    return {key: p.detach() for key, p in model.named_parameters()}


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {key: p.grad for key, p in model.named_parameters()}


def rotary_by_definition(self: nn.Module, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    how, d = self.config.rope_parameters, 2 * len(self.inv_freq)
    speed = how["rope_theta"] ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    if how["rope_type"] == "llama3":
        speed = torch.tensor([slowed_by_definition(each, how) for each in speed.tolist()], dtype=torch.float64)
    angle = position_ids[..., None] * speed
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos().to(x.dtype), angle.sin().to(x.dtype)


def slowed_by_definition(speed: float, how: dict[str, float]) -> float:
    """By wavelengths, as Meta's own code has it."""
    wavelength, trained = 2 * math.pi / speed, how["original_max_position_embeddings"]
    if wavelength < trained / how["high_freq_factor"]:
        return speed
    if wavelength > trained / how["low_freq_factor"]:
        return speed / how["factor"]
    smooth = (trained / wavelength - how["low_freq_factor"]) / (how["high_freq_factor"] - how["low_freq_factor"])
    return (1 - smooth) * speed / how["factor"] + smooth * speed


def rms_norm_by_definition(self: nn.Module, x: Tensor) -> Tensor:
    return self.weight * x / (x.square().mean(-1, keepdim=True) + self.variance_epsilon).sqrt()


def exact(theirs: nn.Module) -> nn.Module:
    """`theirs` with the layers that are pinned to float32 as their definitions say."""
    for module in theirs.modules():
        kind = type(module).__name__
        if kind.endswith("RotaryEmbedding"):
            module.forward = MethodType(rotary_by_definition, module)
        elif kind.endswith("RMSNorm"):
            module.forward = MethodType(rms_norm_by_definition, module)
    return theirs


def largest_errors(case: str, theirs: nn.Module, ours: GPT) -> dict[str, float]:
    """Of the logits, and of each parameter's gradient of a random loss per token: the largest absolute difference."""
    draws = torch.Generator().manual_seed(7)
    idx = torch.randint(VOCABULARY, (BATCH, TOKENS), generator=draws)
    above = torch.randn(BATCH, TOKENS, VOCABULARY, generator=draws, dtype=torch.float64)
    logits = [theirs(idx, use_cache=False).logits, ours(idx).logits]
    for each in logits:
        each.backward(above.to(each.dtype) / (BATCH * TOKENS))
    places = ARCHITECTURES[CASES[case][0]].places
    right = {"logits": logits[0].detach(), **as_ours(places, LAYERS, gradients(theirs))}
    found = {"logits": logits[1].detach(), **gradients(ours)}
    assert right.keys() == found.keys()
    return {key: (found[key] - right[key]).abs().max().item() for key in right}


@every_family
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.thin(10)
def test_logits_and_gradients_equal_in_float64(case: str, kernel: str) -> None:
    theirs = make_theirs(case, torch.float64)
    ours = make_ours(case, theirs, kernel=kernel)
    like = torch.zeros(BATCH, HEADS, TOKENS, ours.config.head_width, dtype=torch.float64)
    for block in ours.blocks:
        if reason := KERNELS[kernel].unsupported(block.attention.need(like, TOKENS)):
            pytest.skip(reason)
    errors = largest_errors(case, theirs if case == "gpt2" else exact(theirs), ours)
    assert max(errors.values()) <= EXACT, errors


@pytest.mark.parametrize("case", UNLIKE)
def test_all_that_a_file_says_is_read(case: str) -> None:
    theirs = exact(make_theirs(case, torch.float64))
    errors = largest_errors(case, theirs, make_ours(case, theirs))
    assert max(errors.values()) <= EXACT, errors


@every_family
def test_logits_and_gradients_are_theirs_as_shipped_in_float32(case: str) -> None:
    theirs = make_theirs(case, torch.float32)
    errors = largest_errors(case, theirs, make_ours(case, theirs))
    assert max(errors.values()) <= ROUNDED, errors


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.thin(10)
def test_weights_return_as_they_came(case: str, dtype: torch.dtype) -> None:
    theirs = make_theirs(case, dtype)
    places = ARCHITECTURES[CASES[case][0]].places
    there, back = parameters(theirs), as_theirs(places, LAYERS, parameters(make_ours(case, theirs)))
    assert there.keys() == back.keys()
    assert all(torch.equal(there[key], back[key]) for key in there)


@every_case
def test_settings_return_as_they_came(case: str) -> None:
    name = CASES[case][0]
    theirs = make_theirs(case, torch.float32)
    back = ARCHITECTURES[name].config(spelled(make_ours(case, theirs)), name)
    again = type(theirs.config)(**back).to_dict()
    there, alike = theirs.config.to_dict(), {"gelu_new", "gelu_pytorch_tanh"}
    special = ("bos_token_id", "eos_token_id", "architectures", "initializer_range", "dtype", "rope_theta")
    for key in there.keys() - {*special, "max_window_layers", "num_key_value_heads", "head_dim", "n_inner"}:
        assert again[key] == there[key] or {again[key], there[key]} <= alike, key


@pytest.mark.parametrize("scaling", [8.0, 32.0])
def test_scaled_rotary_angles_equal_theirs_far_into_a_text(scaling: float) -> None:
    """Llama 3.2's own sizes, where pairs keep their speed, lose some and lose all; float32 angles are theirs."""
    how = {**LLAMA3, "rope_theta": 500_000.0, "factor": scaling}
    config = transformers.AutoConfig.for_model("llama", head_dim=64, rope_parameters=how)
    start, count = 9_000, 5
    theirs = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
    cos, sin = theirs(torch.zeros(1, dtype=torch.float64), torch.arange(start + 1, start + count + 1)[None])
    ours = RotaryPositionalEmbeddings(64, 500_000.0, scaling=scaling)
    x = torch.ones(1, 1, count, 64, dtype=torch.float64)
    turned = torch.cat((cos[..., :32] - sin[..., :32], cos[..., :32] + sin[..., :32]), dim=-1)
    assert (ours(x, start) - turned[None]).abs().max() < 2e-3  # 9,000 radians in float32
    assert (RotaryPositionalEmbeddings(64, 500_000.0)(x, start) - turned[None]).abs().max() > 1


@pytest.mark.parametrize(
    ("case", "changed"),
    [
        ("mistral", {"window": WINDOW + 1}),
        ("mistral", {"window": WINDOW - 1}),
        ("mistral", {"window_pattern": "wf"}),
        ("mistral", {"window": None}),
        ("mistral", {"rope_base": 60.0}),
        ("starcoder2", {"window": WINDOW + 1}),
        ("llama", {"rope": False, "position": "none"}),
        ("llama", {"score": "dot"}),
        ("llama", {"mask": "full"}),
        ("gpt2", {"mlp": "relu2"}),
        ("qwen3", {"window_pattern": "fw"}),
    ],
    ids=str,
)
def test_comparison_sees_another_model(case: str, changed: dict[str, Any]) -> None:
    theirs = exact(make_theirs(case, torch.float64))
    assert largest_errors(case, theirs, make_ours(case, theirs, **changed))["logits"] > 0.01
