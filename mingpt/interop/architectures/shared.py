"""What several architectures share: where layers lie, rotary positions, one window for all layers."""

from typing import Any

from mingpt.errors import CheckpointError
from mingpt.interop.architectures.base import ConfigReader, Rule, Settings
from mingpt.interop.weights import Place

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
ROTARY_BUFFERS = {".rotary_emb.inv_freq": lambda config: (config.head_width // 2,)}
NO_WINDOW = Rule("window", lambda s: not any(s["windows"]), "null")
ONE_WINDOW = Rule("window", lambda s: len(set(s["windows"])) == 1, "the same in every layer")
NO_BIAS = Rule("bias", lambda s: not s["bias"], "False")
ONE_BIAS = Rule("qkv_bias", lambda s: s["qkv_bias"] == s["bias"], "the same as model.bias")


def rope_entries(settings: Settings) -> dict[str, Any]:
    """Rotary positions as transformers 5 reads them, and as earlier ones do."""
    base = settings["rope_base"]
    return {"rope_theta": base, "rope_parameters": {"rope_type": "default", "rope_theta": base}}


def read_rope(reader: ConfigReader) -> Settings:
    """The way back.

    Raises:
        CheckpointError: angles that are scaled, or turn a part of a head only.
    """
    base = reader.take("rope_theta", 10_000.0)
    reader.allow("partial_rotary_factor", 1.0, None)
    for name in ("rope_parameters", "rope_scaling"):
        parameters = reader.take(name, None)
        if parameters is None:
            continue
        if not isinstance(parameters, dict):
            raise CheckpointError(f"config.json: {name} must be an object, or null")
        own = ConfigReader(parameters)
        for kind in ("rope_type", "type"):
            own.allow(kind, "default")
        own.allow("partial_rotary_factor", 1.0, None)
        base = own.take("rope_theta", base)
        own.finish()
    return {"rope_base": base}


def window_entries(settings: Settings) -> dict[str, Any]:
    return {"sliding_window": settings["windows"][0]}
