"""What several architectures share: where layers lie, rotary positions, one window for all layers."""

from typing import Any

from mingpt.core.errors import CheckpointError
from mingpt.interop.architectures.base import ConfigReader, Rule, Settings
from mingpt.interop.weights import Place
from mingpt.models.attention.positions import FAST, SLOW, TRAINED

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
LLAMA3 = {"low_freq_factor": SLOW, "high_freq_factor": FAST, "original_max_position_embeddings": TRAINED}
ROTARY_BUFFERS = {".rotary_emb.inv_freq": lambda config: (config.head_width // 2,)}
NO_WINDOW = Rule("window", lambda s: not any(s["windows"]), "null")
ONE_WINDOW = Rule("window", lambda s: len(set(s["windows"])) == 1, "the same in every layer")
NO_BIAS = Rule("bias", lambda s: not s["bias"], "False")
ONE_BIAS = Rule("qkv_bias", lambda s: s["qkv_bias"] == s["bias"], "the same as model.bias")


def rope_entries(settings: Settings) -> dict[str, Any]:
    """Rotary positions as transformers 5 reads them, and as earlier ones do."""
    base, scale = settings["rope_base"], settings["rope_scaling"]
    scaled = {"rope_type": "llama3", "factor": scale, **LLAMA3} if scale != 1 else {"rope_type": "default"}
    return {
        "rope_theta": base,
        "rope_parameters": {**scaled, "rope_theta": base},
        **({"rope_scaling": scaled} if scale != 1 else {}),
    }


def read_rope(reader: ConfigReader) -> Settings:
    """The way back.

    Raises:
        CheckpointError: angles that are scaled but not as Llama 3's, or turn a part of a head only.
    """
    scale = 1.0
    base = reader.take("rope_theta", 10_000.0)
    reader.allow("partial_rotary_factor", 1.0, None)
    for name in ("rope_parameters", "rope_scaling"):
        parameters = reader.take(name, None)
        if parameters is None or parameters == {}:
            continue
        if not isinstance(parameters, dict):
            raise CheckpointError(f"config.json: {name} must be an object, or null")
        own = ConfigReader(parameters)
        kinds = [own.take(key) for key in ("rope_type", "type") if key in parameters] or ["default"]
        for kind in kinds:
            if kind not in ("default", "llama3"):
                raise own.rejected("rope_type", kind, ["default", "llama3"])
        scale = own.take("factor") if kinds[0] == "llama3" else 1.0
        for key, value in LLAMA3.items() if kinds[0] == "llama3" else ():
            own.require(key, value)
        own.allow("partial_rotary_factor", 1.0, None)
        base = own.take("rope_theta", base)
        own.finish()
    return {"rope_base": base, "rope_scaling": scale}


def window_settings(windowed: list[bool], window: Any) -> Settings:
    """The window of those layers that have one, and the shortest pattern that says which do."""
    pattern = "".join("w" if each else "f" for each in windowed)
    if "w" not in pattern:
        return {}
    period = (2 * pattern).find(pattern, 1)
    return {"window": window, "window_pattern": pattern[:period] if "f" in pattern else None}


def window_entries(settings: Settings) -> dict[str, Any]:
    return {"sliding_window": settings["windows"][0]}
