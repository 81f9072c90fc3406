"""Architectures with GPT-2's block: LayerNorm, GELU in its tanh form, biases.

GPT-2 itself with learned positions; Starcoder2 with rotary ones, shared key/value heads and a window.
"""

from mingpt.interop.architectures.base import ARCHITECTURES, Architecture, ConfigReader, Key, Rule, Settings
from mingpt.interop.architectures.shared import (
    LLAMA_PLACES,
    ONE_BIAS,
    ONE_WINDOW,
    ROTARY_BUFFERS,
    read_rope,
    rope_entries,
    window_entries,
)
from mingpt.interop.weights import Place

OURS = {"type": "gpt", "mask": "causal", "norm": "layernorm", "qk_norm": False}
GELUS = ("gelu_new", "gelu_pytorch_tanh")  # the same function; each class has its own custom of naming it
ALIASES = {  # what other classes call its settings, and transformers takes of it, too
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_query_head",
    "max_position_embeddings": "block_size",
}
SUMMARY = tuple(f"summary_{name}" for name in ("activation", "first_dropout", "proj_to_labels", "type", "use_proj"))
QKV = "transformer.h.{}.attn.c_attn"
GPT2_PLACES = {
    "embedding": Place("transformer.wte"),
    "position.table": Place("transformer.wpe"),
    "blocks.{}.attention_norm": Place("transformer.h.{}.ln_1", biased=True),
    "blocks.{}.attention.q_proj": Place(QKV, 0, 3, turned=True, biased=True),
    "blocks.{}.attention.k_proj": Place(QKV, 1, 3, turned=True, biased=True),
    "blocks.{}.attention.v_proj": Place(QKV, 2, 3, turned=True, biased=True),
    "blocks.{}.attention.out_proj": Place("transformer.h.{}.attn.c_proj", turned=True, biased=True),
    "blocks.{}.mlp_norm": Place("transformer.h.{}.ln_2", biased=True),
    "blocks.{}.mlp.up": Place("transformer.h.{}.mlp.c_fc", turned=True, biased=True),
    "blocks.{}.mlp.down": Place("transformer.h.{}.mlp.c_proj", turned=True, biased=True),
    "final_norm": Place("transformer.ln_f", biased=True),
    "head": Place("lm_head"),
}
STARCODER2_PLACES = {
    **{ours: place for ours, place in LLAMA_PLACES.items() if "mlp." not in ours},
    "blocks.{}.attention_norm": Place("model.layers.{}.input_layernorm", biased=True),
    "blocks.{}.mlp_norm": Place("model.layers.{}.post_attention_layernorm", biased=True),
    "blocks.{}.mlp.up": Place("model.layers.{}.mlp.c_fc"),
    "blocks.{}.mlp.down": Place("model.layers.{}.mlp.c_proj"),
    "final_norm": Place("model.norm", biased=True),
}


def _read_gpt2(reader: ConfigReader, settings: Settings) -> Settings:
    for theirs, ours in ALIASES.items():
        reader.allow(theirs, settings[ours])
    return {"position": "learned", "bias": True}


ARCHITECTURES.add("gpt2")(
    Architecture(
        class_name="GPT2LMHeadModel",
        ours=OURS,
        keys={
            "n_layer": Key("n_layer"),
            "n_query_head": Key("n_head"),
            "n_embd": Key("n_embd"),
            "block_size": Key("n_positions"),
            "vocab_size": Key("vocab_size"),
            "mlp": Key("activation_function", "gelu_new", {"gelu": GELUS, "gelu_erf": ("gelu",), "relu2": ("relu2",)}),
            "mlp_width": Key("n_inner", None),
            "norm_eps": Key("layer_norm_epsilon", 1e-5),
            "score": Key("scale_attn_weights", True, {"scaled_dot": (True,), "dot": (False,)}),
            "tie_embeddings": Key("tie_word_embeddings", True),
            "embd_pdrop": Key("embd_pdrop", 0.1),
            "resid_pdrop": Key("resid_pdrop", 0.1),
            "attn_pdrop": Key("attn_pdrop", 0.1),
        },
        fixed={"scale_attn_by_inverse_layer_idx": (False,)},
        rules=(
            ONE_BIAS,
            Rule("position", lambda s: s["position"] in ("learned", "none"), "learned, or none as a table of zeros"),
            Rule("n_kv_head", lambda s: s["n_kv_head"] == s["n_query_head"], "as many as query heads"),
            Rule("head_dim", lambda s: s["head_dim"] * s["n_query_head"] == s["n_embd"], "n_embd/n_query_head"),
            Rule("window", lambda s: all(w is None or w >= s["block_size"] for w in s["windows"]), "null"),
        ),
        places=GPT2_PLACES,
        restored=_read_gpt2,
        added=lambda s: {"position.table.weight": (s["block_size"], s["n_embd"])} if s["position"] == "none" else {},
        inert=("n_ctx", "n_special", "predict_special_tokens", *SUMMARY),
        buffers={
            ".attn.bias": lambda config: (1, 1, config.block_size, config.block_size),  # the causal mask
            ".attn.masked_bias": lambda config: (),
        },
        base="transformer.",
    )
)
ARCHITECTURES.add("starcoder2")(
    Architecture(
        class_name="Starcoder2ForCausalLM",
        ours={**OURS, "position": "rope", "score": "scaled_dot"},
        keys={
            "n_layer": Key("num_hidden_layers"),
            "n_query_head": Key("num_attention_heads"),
            "n_kv_head": Key("num_key_value_heads", 2),
            "head_dim": Key("head_dim", None),
            "n_embd": Key("hidden_size"),
            "block_size": Key("max_position_embeddings"),
            "vocab_size": Key("vocab_size"),
            "mlp": Key(
                "hidden_act", "gelu_pytorch_tanh", {"gelu": GELUS[::-1], "gelu_erf": ("gelu",), "relu2": ("relu2",)}
            ),
            "mlp_width": Key("intermediate_size"),
            "norm_eps": Key("norm_epsilon", 1e-5),
            "bias": Key("use_bias", True),
            "tie_embeddings": Key("tie_word_embeddings", True),
            "embd_pdrop": Key("embedding_dropout", 0.0),
            "resid_pdrop": Key("residual_dropout", 0.0),
            "attn_pdrop": Key("attention_dropout", 0.0),
        },
        fixed={},
        rules=(ONE_WINDOW, ONE_BIAS),
        places=STARCODER2_PLACES,
        entries=lambda s: {**rope_entries(s), **window_entries(s)},
        restored=lambda reader, s: {**read_rope(reader), "window": reader.take("sliding_window", None)},
        inert=("layer_norm_epsilon", "rms_norm_eps", "activation_function"),  # its class takes norm_epsilon, hidden_act
        same={"mlp_type": ("default",), "norm_type": ("layer_norm",), "scale_attn_weights": (True,)},
        buffers=ROTARY_BUFFERS,
    )
)
