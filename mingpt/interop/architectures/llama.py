"""Architectures with Llama's block: rotary positions, RMSNorm, SwiGLU, shared key/value heads.

Llama itself; Mistral with a window in every layer; Qwen3 with normed queries and keys, and windows in some layers;
Qwen2 with biases of queries, keys and values, and windows as Qwen3, which is imported only.
"""

from typing import Any

from mingpt.core.errors import CheckpointError
from mingpt.interop.architectures.base import ARCHITECTURES, Architecture, ConfigReader, Key, Rule, Settings
from mingpt.interop.architectures.shared import (
    LLAMA_PLACES,
    NO_BIAS,
    NO_WINDOW,
    ONE_BIAS,
    ONE_WINDOW,
    ROTARY_BUFFERS,
    read_rope,
    rope_entries,
    window_entries,
    window_settings,
)
from mingpt.interop.weights import Place

OURS = {"type": "gpt", "mask": "causal", "position": "rope", "score": "scaled_dot", "norm": "rmsnorm"}
KEYS = {
    "n_layer": Key("num_hidden_layers"),
    "n_query_head": Key("num_attention_heads"),
    "n_kv_head": Key("num_key_value_heads", None),
    "head_dim": Key("head_dim", None),
    "n_embd": Key("hidden_size"),
    "block_size": Key("max_position_embeddings"),
    "vocab_size": Key("vocab_size"),
    "mlp": Key("hidden_act", "silu", {"swiglu": ("silu", "swish")}),
    "mlp_width": Key("intermediate_size"),
    "norm_eps": Key("rms_norm_eps", 1e-6),
    "tie_embeddings": Key("tie_word_embeddings", False),
    "attn_pdrop": Key("attention_dropout", 0.0),
}
QWEN3_PLACES = {
    **LLAMA_PLACES,
    "blocks.{}.attention.q_norm": Place("model.layers.{}.self_attn.q_norm"),
    "blocks.{}.attention.k_norm": Place("model.layers.{}.self_attn.k_norm"),
}
FULL, SLIDING = "full_attention", "sliding_attention"


def _read_llama(reader: ConfigReader, settings: Settings) -> Settings:
    bias = reader.take("mlp_bias", False) or False
    if bias not in (False, settings["qkv_bias"]):
        raise reader.rejected("mlp_bias", bias, [False])
    return {**read_rope(reader), "bias": bias}


def _biases_of_zeros(settings: Settings) -> dict[str, tuple[int, ...]]:
    """Those of the output projections, which Llama has wherever queries, keys and values have theirs."""
    added = settings["qkv_bias"] and not settings["bias"]
    names = [f"blocks.{i}.attention.out_proj.bias" for i in range(settings["n_layer"])] if added else []
    return dict.fromkeys(names, (settings["n_embd"],))


def _layer_window_entries(settings: Settings) -> dict[str, Any]:
    windows = settings["windows"]
    return {
        "use_sliding_window": any(windows),
        "sliding_window": max((w for w in windows if w), default=None),
        "max_window_layers": len(windows),
        "layer_types": [SLIDING if w else FULL for w in windows],
    }


def _read_layer_windows(reader: ConfigReader, settings: Settings) -> Settings:
    used, window = reader.take("use_sliding_window", False), reader.take("sliding_window", 4096)
    first, kinds = reader.take("max_window_layers", 28), reader.take("layer_types", None)
    if used not in (True, False):
        raise reader.rejected("use_sliding_window", used, [True, False])
    layers = range(settings["n_layer"])
    if kinds is None:
        if type(first) is not int:
            raise CheckpointError(f"config.json: max_window_layers={first}: must be a whole number")
        kinds = [SLIDING if used and window is not None and i >= first else FULL for i in layers]
    if not isinstance(kinds, list) or len(kinds) != len(layers) or any(kind not in (FULL, SLIDING) for kind in kinds):
        raise CheckpointError(f"config.json: layer_types: must name {FULL} or {SLIDING} for each layer")
    if SLIDING in kinds and (not used or window is None):
        raise CheckpointError(f"config.json: layer_types: {SLIDING}, but there is no sliding_window that is used")
    return window_settings([kind == SLIDING for kind in kinds], window)


def _read_qwen3(reader: ConfigReader, settings: Settings) -> Settings:
    return {**read_rope(reader), **_read_layer_windows(reader, settings), "bias": False}


ARCHITECTURES.add("llama")(
    Architecture(
        class_name="LlamaForCausalLM",
        ours={**OURS, "qk_norm": False},
        keys={**KEYS, "qkv_bias": Key("attention_bias", False)},
        fixed={},
        rules=(
            NO_WINDOW,
            Rule("qkv_bias", lambda s: s["qkv_bias"] or not s["bias"], "True where model.bias is"),
            Rule("n_embd", lambda s: s["n_embd"] % s["n_query_head"] == 0, "a multiple of model.n_query_head"),
        ),
        places=LLAMA_PLACES,
        entries=lambda s: {**rope_entries(s), "mlp_bias": s["bias"]},
        restored=_read_llama,
        added=_biases_of_zeros,
        buffers=ROTARY_BUFFERS,
    )
)
ARCHITECTURES.add("mistral")(
    Architecture(
        class_name="MistralForCausalLM",
        ours={**OURS, "qk_norm": False},
        keys={**KEYS, "n_kv_head": Key("num_key_value_heads", 8)},
        fixed={},
        rules=(ONE_WINDOW, NO_BIAS, ONE_BIAS),
        places=LLAMA_PLACES,
        entries=lambda s: {**rope_entries(s), **window_entries(s)},
        restored=lambda reader, s: {**read_rope(reader), "bias": False, "window": reader.take("sliding_window", 4096)},
        buffers=ROTARY_BUFFERS,
    )
)
ARCHITECTURES.add("qwen3")(
    Architecture(
        class_name="Qwen3ForCausalLM",
        ours={**OURS, "qk_norm": True},
        keys={**KEYS, "n_kv_head": Key("num_key_value_heads", 32), "head_dim": Key("head_dim", 128)},
        fixed={"attention_bias": (False,)},
        rules=(NO_BIAS, ONE_BIAS),
        places=QWEN3_PLACES,
        entries=lambda s: {**rope_entries(s), **_layer_window_entries(s)},
        restored=_read_qwen3,
        buffers=ROTARY_BUFFERS,
    )
)
ARCHITECTURES.add("qwen2")(
    Architecture(
        class_name="Qwen2ForCausalLM",
        ours={**OURS, "qk_norm": False},
        keys={**KEYS, "n_kv_head": Key("num_key_value_heads", 32)},
        fixed={},
        rules=(NO_BIAS, Rule("qkv_bias", lambda s: s["qkv_bias"], "True")),
        places=LLAMA_PLACES,
        entries=lambda s: {**rope_entries(s), **_layer_window_entries(s)},
        restored=lambda reader, s: {**_read_qwen3(reader, s), "qkv_bias": True},
        buffers=ROTARY_BUFFERS,
        exports=False,  # transformers 5 takes any tokenizer of this class for Qwen's; Llama computes the same
    )
)
