"""Tiny random models of the causal-LM classes of transformers, each from its config alone."""

import copy
from typing import Any

import torch

LAYERS, HEADS, GROUPS, HEAD, WIDTH, INNER, EXPERTS = 2, 4, 2, 8, 32, 48, 4
VOCABULARY, LENGTH, WINDOW = 61, 64, 8

SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embedding_size", "word_embed_proj_dim"), WIDTH),
    **dict.fromkeys(("input_embedding_size", "output_embedding_size", "embed_dim", "lru_width", "width"), WIDTH),
    **dict.fromkeys(
        ("intermediate_size", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim", "d_inner", "n_inner"), INNER
    ),
    **dict.fromkeys(("feed_forward_size", "ffn_hidden_size", "dff", "intermediate_size_mlp"), INNER),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "shared_intermediate_size"), 16),
    **dict.fromkeys(("expert_ffn_hidden_size", "moe_ffn_hidden_size", "shared_expert_size", "expert_size"), 16),
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers"), LAYERS
    ),
    **dict.fromkeys(("num_decoder_layers", "num_encoder_layers", "num_blocks"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"), HEADS),
    **dict.fromkeys(("encoder_attention_heads", "num_decoder_attention_heads", "num_encoder_attention_heads"), HEADS),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "swa_num_key_value_heads"), GROUPS),
    **dict.fromkeys(("head_dim", "kv_channels", "attention_head_size", "global_head_dim"), HEAD),
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "index_head_dim", "dim_head"), HEAD),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "o_lora_rank"), 16),
    "qk_head_dim": 2 * HEAD,
    **dict.fromkeys(("rotary_dim",), 4),
    **dict.fromkeys(
        ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts"), EXPERTS
    ),
    **dict.fromkeys(
        ("num_experts_per_tok", "moe_k", "moe_topk", "num_selected_experts", "top_k_experts", "moe_top_k"), 2
    ),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts", "num_expert_group", "moe_num_shared_experts"), 1),
    "first_k_dense_replace": 1,
    "vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY,
    "hidden_size_per_layer_input": 4,
    "num_kv_shared_layers": 0,
    "laurel_rank": 4,
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_target_positions", "max_source_positions"), LENGTH),
    **dict.fromkeys(("sliding_window", "attention_window_size", "window_size", "local_attention"), WINDOW),
    **dict.fromkeys(("attention_chunk_size", "chunk_size", "mamba_chunk_size"), WINDOW),
    **dict.fromkeys(("state_size", "ssm_state_size", "mamba_d_state", "mamba_state_dim"), 8),
    **dict.fromkeys(("time_step_rank", "mamba_dt_rank"), 4),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "n_mamba_heads"), 8),
    **dict.fromkeys(("mamba_d_head", "mamba_head_dim", "mamba_headdim"), 8),
    **dict.fromkeys(("n_groups", "mamba_n_groups", "mamba_ngroups"), 1),
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), GROUPS),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), HEAD),
    "mamba_d_ssm": 64,
    "index_n_heads": 2,
    "index_topk": 1000,
    "block_size": 4,
    "is_decoder": True,
    "attention_type": "original_full",
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "sep_token_id": 2,
    "cls_token_id": 1,
    "image_token_id": 3,
    "audio_token_id": 4,
    "video_token_id": 5,
}
HYBRID = (
    "qwen3_5",
    "qwen3_5_text",
    "qwen3_5_moe",
    "qwen3_5_moe_text",
    "qwen4_exp",
    "qwen4_exp_text",
    "qwen3_next",
    "kimi_linear",
)
SPECIAL: dict[str, dict[str, Any]] = {  # settings of one class, by model_type
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "dbrx": {"attn_config": {"rope_theta": 10_000.0, "kv_n_heads": 2, "clip_qkv": 8.0}},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "reformer": {
        "axial_pos_embds": False,
        "attn_layers": ["local", "lsh"],
        "local_attn_chunk_length": 8,
        "lsh_attn_chunk_length": 8,
        "num_buckets": 2,
    },
    **{name: {"num_hidden_layers": 4} for name in HYBRID},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "bamba": {"attn_layer_indices": [1]},
    "zaya": {"num_experts_per_tok": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
}


def causal_classes() -> dict[str, str]:
    """Names of classes by the model_type that the library maps to them."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return dict(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def tiny_config(kind: type, special: dict[str, Any] | None = None) -> Any:
    """A config of small sizes: of all that it has, those that SIZES names, its parts too."""
    default = kind()
    there = set(default.to_dict()) | set(getattr(kind, "attribute_map", {}))
    sizes = {name: value for name, value in SIZES.items() if name in there}
    if "kv_lora_rank" in there:  # keys of a latent for each head
        sizes["num_key_value_heads"] = HEADS
    for name in getattr(kind, "sub_configs", {}):
        part = getattr(default, name, None)
        if part is not None and not isinstance(part, dict):
            sizes[name] = tiny_config(type(part), (special or {}).pop(name, None)).to_dict()
    return kind(**sizes | (special or {}))


def tiny_model(model_type: str) -> Any:
    """A random model, every parameter moved, so that none hides behind a zero; the same each time."""
    import transformers

    kind = getattr(transformers, causal_classes()[model_type])
    torch.manual_seed(0)
    model = kind(tiny_config(kind.config_class, copy.deepcopy(SPECIAL.get(model_type, {}))))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:  # fixed tables, as of sines, stay as they are
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()
