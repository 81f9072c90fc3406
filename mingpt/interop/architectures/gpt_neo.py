"""GPT-Neo: GPT-2's block with scores that are not scaled, no biases of queries, keys and values, and windows.

It is imported only: TinyStories' models and EleutherAI's are of this class.
"""

from typing import Any

from mingpt.core.errors import CheckpointError
from mingpt.interop.architectures.base import ARCHITECTURES, Architecture, ConfigReader, Key, Rule, Settings
from mingpt.interop.architectures.gpt2 import GELUS, GPT2_PLACES, OURS, SUMMARY
from mingpt.interop.architectures.shared import window_settings
from mingpt.interop.weights import Place

GLOBAL, LOCAL = "global", "local"
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")
GPT_NEO_PLACES = {
    **{ours: place._replace(turned=False) for ours, place in GPT2_PLACES.items() if "_proj" not in ours},
    **{
        f"blocks.{{}}.attention.{name}": Place(f"transformer.h.{{}}.attn.attention.{name}", biased=name == "out_proj")
        for name in PROJECTIONS
    },
}


def _read_gpt_neo(reader: ConfigReader, settings: Settings) -> Settings:
    kinds = _kinds(reader.take("attention_types", [[[GLOBAL, LOCAL], 12]]), settings["n_layer"])
    reader.allow("attention_layers", kinds)
    return window_settings([kind == LOCAL for kind in kinds], reader.take("window_size", 256))


def _kinds(types: Any, n_layer: int) -> list[str]:
    """Each layer's kind, from lists of kinds and how often each list is repeated.

    Raises:
        CheckpointError: other kinds, or of another number of layers.
    """
    kinds: list[str] = []
    try:
        for names, times in types:
            if set(names) <= {GLOBAL, LOCAL} and isinstance(names, list) and 0 <= times <= n_layer:
                kinds += names * times
    except (TypeError, ValueError):
        kinds = []
    if len(kinds) != n_layer:
        raise CheckpointError(f"config.json: attention_types: must name {GLOBAL} or {LOCAL} for each layer")
    return kinds


ARCHITECTURES.add("gpt_neo")(
    Architecture(
        class_name="GPTNeoForCausalLM",
        ours={**OURS, "position": "learned", "score": "dot", "bias": True, "qkv_bias": False},
        keys={
            "n_layer": Key("num_layers"),
            "n_query_head": Key("num_heads"),
            "n_embd": Key("hidden_size"),
            "block_size": Key("max_position_embeddings"),
            "vocab_size": Key("vocab_size"),
            "mlp": Key("activation_function", "gelu_new", {"gelu": GELUS, "gelu_erf": ("gelu",), "relu2": ("relu2",)}),
            "mlp_width": Key("intermediate_size", None),
            "norm_eps": Key("layer_norm_epsilon", 1e-5),
            "tie_embeddings": Key("tie_word_embeddings", True),
            "embd_pdrop": Key("embed_dropout", 0.0),
            "resid_pdrop": Key("resid_dropout", 0.0),
            "attn_pdrop": Key("attention_dropout", 0.0),
        },
        fixed={},
        rules=(
            Rule("n_kv_head", lambda s: s["n_kv_head"] == s["n_query_head"], "as many as query heads"),
            Rule("head_dim", lambda s: s["head_dim"] * s["n_query_head"] == s["n_embd"], "n_embd/n_query_head"),
            Rule("window", lambda s: len({w for w in s["windows"] if w}) <= 1, "null, or one in some layers"),
        ),
        places=GPT_NEO_PLACES,
        restored=_read_gpt_neo,
        inert=("classifier_dropout", *SUMMARY),
        buffers={
            ".attn.attention.bias": lambda config: (1, 1, config.block_size, config.block_size),  # the causal mask
            ".attn.attention.masked_bias": lambda config: (),
        },
        base="transformer.",
        exports=False,  # no other program writes new models of it
    )
)
