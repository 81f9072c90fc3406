"""Models of Hugging Face's that ours can't express are refused, each for its reason."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from mingpt.core.errors import CheckpointError
from mingpt.interop import exporting, importing

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another class": ({"model_type": "bert"}, "model_type=bert: must be one of gpt2, "),
    "no class": ({"model_type": ...}, "model_type=None: must be one of gpt2, "),
    "class as a list": ({"model_type": ["llama"]}, "model_type=.*: must be one of"),
    "linear rope scaling": (
        {"rope_scaling": {"type": "linear", "factor": 8.0}},
        "rope_type=linear: rotary angles are scaled in another way than by model.rope_scaling; must be default",
    ),
    "llama3 without its constants": ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor"),
    "llama3 of other constants": (
        {"rope_scaling": {**LLAMA3, "high_freq_factor": 5.0}},
        "high_freq_factor=5.0: model.rope_scaling has the constants of Llama 3.1 and 3.2; must be 4.0",
    ),
    "llama3 that turns faster": ({"rope_scaling": {**LLAMA3, "factor": 0.5}}, "model.rope_scaling=0.5: must be"),
    "llama3 without a number": ({"rope_scaling": {**LLAMA3, "factor": "8"}}, "rope_scaling=8: is no such setting's"),
    "yarn": ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}, "rope_type=yarn: "),
    "rope of another kind": ({"rope_parameters": {"rope_theta": 1e4, "mrope_section": [1]}}, "mrope_section: unknown"),
    "rope no object": ({"rope_parameters": [1]}, "rope_parameters must be an object"),
    "partial rotary": ({"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5: .* must be 1.0"),
    "partial rotary inside": ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_rotary"),
    "another activation": ({"hidden_act": "gelu"}, "hidden_act=gelu: can't be expressed here; must be silu or swish"),
    "half of the biases": ({"mlp_bias": True}, "mlp_bias=True: can't be expressed here; must be False"),
    "biases that are not there": ({"attention_bias": True}, r"self_attn.k_proj.bias is missing"),
    "quantised": ({"quantization_config": {"bits": 4}}, "quantization_config=.*: the weights are quantised; import"),
    "own code": ({"auto_map": {"AutoModelForCausalLM": "mine.Model"}}, "auto_map=.*: the folder brings its own code"),
    "neighbouring pairs": ({"rope_interleaved": True}, "rope_interleaved=True: pairs of neighbouring dimensions are"),
    "pruned": ({"pruned_heads": {"1": [0]}}, "pruned_heads=.*: layers with fewer heads"),
    "three-dimensional rotary": ({"use_mrope": True}, "use_mrope=True: can't be expressed here; must be False or None"),
    "another family": ({"is_llama_config": False}, "is_llama_config=False: can't be expressed"),
    "unknown key that is null": ({"attention_sinks": None}, "attention_sinks: unknown here"),
    "sinks": ({"attention_sinks": 4}, "attention_sinks: unknown here"),
    "encoder": ({"is_encoder_decoder": True}, "is_encoder_decoder=True"),
    "missing": ({"hidden_size": ...}, "says nothing of hidden_size"),
    "text": ({"hidden_size": "24"}, "hidden_size=24: is no such setting's value"),
    "switch": ({"num_hidden_layers": True}, "num_hidden_layers=True: is no such setting's value"),
    "fraction": ({"num_attention_heads": 6.0}, "num_attention_heads=6.0: is no such setting's value"),
    "nothing": ({"vocab_size": None}, "vocab_size=None: is no such setting's value"),
    "not finite": ({"rms_norm_eps": float("nan")}, "rms_norm_eps=nan: is no such setting's value"),
    "huge": ({"vocab_size": 10**30}, "vocab_size=1000.*: is no such setting's value"),
    "odd heads": ({"head_dim": 5}, "model.head_dim=5: must give heads of even width"),
    "negative": ({"hidden_size": -24}, "model.n_embd=-24: must be at least 1"),
    "more layers": ({"num_hidden_layers": 3}, r"model.layers.2.input_layernorm.weight is missing, and others"),
    "a million layers": ({"num_hidden_layers": 10**6}, "1000000 layers, but there are 21 tensors"),
    "fewer layers": ({"num_hidden_layers": 1}, "model.layers.1.* and 8 others: unknown tensors"),
    "another width": ({"hidden_size": 48, "head_dim": 4}, r"lm_head.weight is \(9, 24\), not \(9, 48\)"),
    "gigantic": ({"hidden_size": 2**31 - 2, "intermediate_size": 2**31 - 1}, "not |sizes that no model has"),
    "tied": ({"tie_word_embeddings": True}, "head.weight is not zero, and can't be expressed"),
    "fewer tokens": ({"vocab_size": 8}, r"lm_head.weight is \(9, 24\), not \(8, 24\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_model_that_is_not_ours_is_rejected(folder: Path, edit: Any, tmp_path: Path, case: str) -> None:
    changes, reason = REFUSED[case]
    edit(folder, **changes)
    with pytest.raises(CheckpointError, match=reason) as refused:
        importing.import_folder(folder, tmp_path / "run")
    assert str(refused.value).startswith(str(folder))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"layer_types": ["full_attention"]}, "must name full_attention or sliding_attention for each layer"),
        ({"layer_types": ["full_attention", "chunked_attention"]}, "must name full_attention or"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "there is no sliding_window that is used"),
        ({"layer_types": None, "max_window_layers": "1"}, "max_window_layers=1: must be a whole number"),
        ({"use_sliding_window": "no"}, "use_sliding_window=no: can't be expressed here; must be True or False"),
        ({"attention_bias": True}, "attention_bias=True: can't be expressed here; must be False"),
    ],
    ids=str,
)
def test_qwen3_that_is_not_ours_is_rejected(a_run: Any, edit: Any, tmp_path: Path, changes: Any, reason: str) -> None:
    exporting.export(a_run(rope=True, norm="rmsnorm", mlp="swiglu", bias=False, qk_norm=True), tmp_path / "theirs")
    edit(tmp_path / "theirs", **changes)
    with pytest.raises(CheckpointError, match=reason):
        importing.import_folder(tmp_path / "theirs", tmp_path / "run")


@pytest.mark.parametrize("key", ["scale_attn_by_inverse_layer_idx", "add_cross_attention"])
def test_gpt2_that_is_not_ours_is_rejected(a_run: Any, edit: Any, tmp_path: Path, key: str) -> None:
    exporting.export(a_run(), tmp_path / "theirs")
    edit(tmp_path / "theirs", **{key: True})
    with pytest.raises(CheckpointError, match=f"{key}=True: can't be expressed here"):
        importing.import_folder(tmp_path / "theirs", tmp_path / "run")


def test_biases_that_a_model_without_has_are_rejected(a_run: Any, tmp_path: Path) -> None:
    exporting.export(a_run(rope=True, bias=False), tmp_path / "theirs")
    path = tmp_path / "theirs" / "model.safetensors"
    stored = safetensors.torch.load_file(path)
    importing.import_folder(tmp_path / "theirs", tmp_path / "zeros")
    stored["model.norm.bias"][3] = 1e-30
    safetensors.torch.save_file(stored, path)
    with pytest.raises(CheckpointError, match=r"final_norm.bias is not zero, and can't be expressed"):
        importing.import_folder(tmp_path / "theirs", tmp_path / "run")


def test_llama_with_a_bias_after_attention_alone_is_rejected(a_run: Any, tmp_path: Path) -> None:
    there = a_run(rope=True, norm="rmsnorm", mlp="swiglu", bias=False, qkv_bias=True)
    exporting.export(there, tmp_path / "theirs")
    path = tmp_path / "theirs" / "model.safetensors"
    stored = safetensors.torch.load_file(path)
    importing.import_folder(tmp_path / "theirs", tmp_path / "zeros")
    stored["model.layers.1.self_attn.o_proj.bias"][3] = 1e-30
    safetensors.torch.save_file(stored, path)
    with pytest.raises(CheckpointError, match=r"blocks.1.attention.out_proj.bias is not zero, and can't be expressed"):
        importing.import_folder(tmp_path / "theirs", tmp_path / "run")


def test_vocabulary_larger_than_the_model_is_rejected(folder: Path, bpe: Any, tmp_path: Path) -> None:
    (folder / "tokenizer.json").write_text(bpe.to_json(), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"tokenizer.json: 280 tokens, but config.json says 9"):
        importing.import_folder(folder, tmp_path / "run")


def test_folder_without_a_tokenizer_is_rejected(folder: Path, tmp_path: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer.json: missing; transformers writes it by AutoTokenizer"):
        importing.import_folder(folder, tmp_path / "run")
