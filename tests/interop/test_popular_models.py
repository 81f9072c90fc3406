"""Models with the keys of the most downloaded small ones compute here what transformers makes of the same folder.

The keys and kinds of values of each config.json are as those models have them, sizes shrunk, weights random.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import mingpt
from mingpt.core.errors import CheckpointError
from mingpt.inference.generate import Sampling, generate
from mingpt.interop import exporting, importing, parity

os.environ["HF_HUB_OFFLINE"] = "1"

SUMMARY = {
    "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
}
GPT2 = {
    "activation_function": "gelu_new",
    "architectures": ["GPT2LMHeadModel"],
    "attn_pdrop": 0.1,
    "bos_token_id": 256,
    "embd_pdrop": 0.1,
    "eos_token_id": 256,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2",
    "n_ctx": 17,
    "n_embd": 24,
    "n_head": 6,
    "n_layer": 2,
    "n_positions": 17,
    "resid_pdrop": 0.1,
    **SUMMARY,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    "vocab_size": 300,
}
GPT_NEO = {
    "activation_function": "gelu_new",
    "architectures": ["GPTNeoForCausalLM"],
    "attention_dropout": 0,
    "attention_layers": ["global", "local"],
    "attention_types": [[["global", "local"], 1]],
    "bos_token_id": 256,
    "embed_dropout": 0,
    "eos_token_id": 256,
    "gradient_checkpointing": False,
    "hidden_size": 24,
    "initializer_range": 0.02,
    "intermediate_size": None,
    "layer_norm_epsilon": 1e-05,
    "max_position_embeddings": 17,
    "model_type": "gpt_neo",
    "num_heads": 6,
    "num_layers": 2,
    "resid_dropout": 0,
    **SUMMARY,
    "use_cache": True,
    "vocab_size": 300,
    "window_size": 5,
}
SIZES = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "max_position_embeddings": 17,
    "num_attention_heads": 6,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.02,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.40.1",
    "use_cache": True,
}
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **SIZES, "hidden_act": "silu"}
MISTRAL = {"architectures": ["MistralForCausalLM"], "model_type": "mistral", **SIZES, "hidden_act": "silu"}
STARCODER2 = {
    "architectures": ["Starcoder2ForCausalLM"],
    "model_type": "starcoder2",
    **SIZES,
    "hidden_act": "gelu_pytorch_tanh",
    "norm_epsilon": 1e-05,
    "mlp_type": "default",
    "use_bias": True,
}
SMOLLM2 = {
    **LLAMA,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "is_llama_config": True,
    "mlp_bias": False,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_interleaved": False,
    "rope_scaling": None,
    "rope_theta": 100000,
    "tie_word_embeddings": True,
}
QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    **SIZES,
    "hidden_act": "silu",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "head_dim": 10,
    "max_window_layers": 28,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
}
QWEN2 = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    **SIZES,
    "hidden_act": "silu",
    "attention_dropout": 0.0,
    "max_window_layers": 24,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "use_mrope": False,
    "use_sliding_window": False,
}
DISTIL = {"_num_labels": 1, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
POPULAR: dict[str, dict[str, Any]] = {
    "gpt2": GPT2,
    "distilgpt2": {**GPT2, **DISTIL},
    "gpt2-medium": {**GPT2, "n_special": 0, "predict_special_tokens": True},
    "gpt2-xl": {**GPT2, "output_past": True},
    "SmolLM2-135M": SMOLLM2,
    "TinyLlama-1.1B": {
        **LLAMA,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 10000.0,
    },
    "Llama-3.2-1B": {
        **LLAMA,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "head_dim": 8,
        "mlp_bias": False,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
    },
    "Mistral-7B-v0.1": {**MISTRAL, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 5},
    "Mistral-7B-v0.3": {**MISTRAL, "rms_norm_eps": 1e-05, "rope_theta": 1e6, "sliding_window": None, "head_dim": None},
    "Qwen3-0.6B": QWEN3,
    "Qwen2.5-0.5B": QWEN2,
    "Qwen2.5 with windows": {**QWEN2, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    "starcoder2-3b": {**STARCODER2, "sliding_window": 5, "rope_theta": 999999.4420358813, "attention_dropout": 0.1},
    "starcoder2-15b": {
        **STARCODER2,
        "norm_type": "layer_norm",
        "rms_norm_eps": 1e-05,
        "rope_theta": 100000,
        "sliding_window": 5,
        "tie_word_embeddings": False,
        "_name_or_path": "/checkpoints/15b/config.json",
    },
    "saved by unsloth": {
        **SMOLLM2,
        "unsloth_version": "2025.5.7",
        "unsloth_fixed": True,
        "_attn_implementation_autoset": True,
        "pad_token_id": 2,
        "use_cache": False,
    },
    "saved by transformers.js": {
        **SMOLLM2,
        "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16", "fp16": "float16"}},
        "_name_or_path": "somebody/a-model",
        "head_dim": 4,
    },
}


@pytest.fixture
def made(tmp_path: Path, bpe: Any) -> Any:
    """make(config) -> a folder of random weights with this config.json, word for word."""
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()

    def make(config: dict[str, Any]) -> Path:
        folder = tmp_path / "theirs"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "tokenizer.json").write_text(bpe.to_json(), encoding="utf-8")
        torch.manual_seed(3)
        model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(folder))
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(p + 0.1 * torch.randn(p.shape))
        model.save_pretrained(folder)
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return make


@pytest.mark.parametrize("name", POPULAR)
@pytest.mark.thin(3)
def test_logits_and_greedy_text_equal_those_of_transformers(made: Any, tmp_path: Path, name: str) -> None:
    folder = made(POPULAR[name])
    imported = mingpt.load(importing.import_folder(folder, tmp_path / "run"))
    found = parity.compare(imported, folder)
    assert found.worst["float32"] <= 1e-5
    assert found.written == (16, 16)


def test_gpt_neo_computes_what_transformers_does(made: Any, tmp_path: Path) -> None:
    """Its class has no SDPA, which `parity.compare` asks for."""
    folder = made(GPT_NEO)
    imported = mingpt.load(importing.import_folder(folder, tmp_path / "run"))
    assert [imported.model.config.of_layer(number).window for number in range(2)] == [None, 5]
    theirs = pytest.importorskip("transformers").AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.randint(300, (2, 17), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, right = imported.model(ids).logits, theirs(ids).logits
    assert right.std() > 0.1
    assert (found - right).abs().max() <= 1e-5
    written = [int(id) for id in generate(imported.model, ids[:1, :4], 12, Sampling(temperature=0))]
    assert written == theirs.generate(ids[:1, :4], max_new_tokens=12, do_sample=False, eos_token_id=-1)[0, 4:].tolist()


def test_qwen2_is_exported_as_a_llama_that_computes_the_same(made: Any, tmp_path: Path) -> None:
    imported = mingpt.load(importing.import_folder(made(POPULAR["Qwen2.5-0.5B"]), tmp_path / "run"))
    assert exporting.export(imported, tmp_path / "back").class_name == "LlamaForCausalLM"
    assert parity.compare(imported, tmp_path / "back").worst["float32"] <= 1e-5
    back = mingpt.load(importing.import_folder(tmp_path / "back", tmp_path / "again"))
    assert torch.equal(back.model(torch.arange(9)[None]).logits, imported.model(torch.arange(9)[None]).logits)


REJECTED: dict[str, tuple[dict[str, Any], str]] = {
    "GPT-Neo of 4 layers": (
        {**GPT_NEO, "attention_types": [[["global", "local"], 2]]},
        "attention_types: must name",
    ),
    "GPT-Neo of too many": ({**GPT_NEO, "attention_types": [[["global"], 10**12]]}, "must name global or local"),
    "GPT-Neo of other kinds": ({**GPT_NEO, "attention_types": [["gl", 1]]}, "must name global or local"),
    "GPT-Neo that contradicts itself": ({**GPT_NEO, "attention_layers": ["global"] * 2}, "attention_layers="),
    "a quantised Qwen": ({**QWEN2, "quantization_config": {"quant_method": "gptq"}}, "weights are quantised; import"),
    "SmolLM2 in pairs": ({**SMOLLM2, "rope_interleaved": True}, "rope_interleaved=True: pairs of neighbouring"),
    "starcoder2 with a gate": ({**STARCODER2, "mlp_type": "gated"}, "mlp_type=gated: can't be expressed"),
    "starcoder2 with RMSNorm": ({**STARCODER2, "norm_type": "rms_norm"}, "norm_type=rms_norm: can't be expressed"),
    "gpt2 of two widths": ({**GPT2, "hidden_size": 48}, "hidden_size=48: can't be expressed here; must be 24"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_keys_that_change_the_computation_are_rejected(a_run: Any, tmp_path: Path, name: str) -> None:
    config, reason = REJECTED[name]
    exporting.export(a_run(), tmp_path / "theirs")
    (tmp_path / "theirs" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=reason):
        importing.import_folder(tmp_path / "theirs", tmp_path / "run")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float32], ids=str)
def test_causal_masks_among_the_weights_are_ignored_whatever_their_type(a_run: Any, tmp_path: Path, dtype: Any) -> None:
    """transformers 3.1 to 4.30 saved them with every GPT-2."""
    there = a_run(tie_embeddings=True)
    exporting.export(there, tmp_path / "theirs")
    path = tmp_path / "theirs" / "model.safetensors"
    stored = safetensors.torch.load_file(path)
    for layer in range(2):
        stored[f"transformer.h.{layer}.attn.bias"] = torch.ones(17, 17).tril()[None, None].to(dtype)
        stored[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    safetensors.torch.save_file(stored, path)
    imported = mingpt.load(importing.import_folder(tmp_path / "theirs", tmp_path / "run"))
    ids = torch.arange(9)[None]
    assert torch.equal(imported.model(ids).logits, there.model(ids).logits)
    stored["transformer.h.1.attn.bias"] = torch.ones(1, 1, 16, 17).to(dtype)
    safetensors.torch.save_file(stored, path)
    with pytest.raises(CheckpointError, match=r"h.1.attn.bias is \(1, 1, 16, 17\), not \(1, 1, 17, 17\)"):
        importing.import_folder(tmp_path / "theirs", tmp_path / "other")
