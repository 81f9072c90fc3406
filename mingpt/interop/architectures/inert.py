"""Keys of a config.json that don't change what the weights compute.

Every key of an imported config.json is one of four kinds:

    used       an architecture reads it as a setting (`Architecture.keys`, `fixed`, `restored`)
    inert      whatever it says: ANY, a name that begins with one of PREFIXES, or an architecture's `inert`
    harmless   as long as it asks for what is computed anyway: SAME, or an architecture's `same`, lists those values
    rejected   all others, since they may change what the weights compute; REMEDIES says of some what to do
"""

from collections.abc import Mapping
from typing import Any

_FOUND = ("architectures", "model_type", "transformers_version", "torch_dtype", "dtype", "tokenizer_class")
_TASK = ("task_specific_params", "finetuning_task", "problem_type", "id2label", "label2id", "num_labels", "prefix")
_TOKENS = tuple(f"{name}_token_id" for name in ("bos", "eos", "pad", "unk", "sep", "cls", "mask", "decoder_start"))
_TRAINED = (
    *("initializer_range", "gradient_checkpointing", "pretraining_tp", "neftune_noise_alpha"),
    *("model_max_length", "max_sequence_length", "is_decoder"),
)
_RUN = (
    *("use_cache", "output_past", "output_attentions", "output_hidden_states", "output_scores", "return_dict"),
    *("use_return_dict", "return_dict_in_generate", "chunk_size_feed_forward", "attn_implementation"),
    *("torchscript", "use_bfloat16", "tf_legacy_loss", "xla_device", "remove_invalid_values"),
    *("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32", "reorder_and_upcast_attn"),
)
_GENERATED = (
    *("max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty"),
    *("temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size"),
    *("encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "exponential_decay_length_penalty"),
    *("forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens"),
)
# How a model is found, named, trained, run, padded, stopped and sampled from; the precision of sums.
ANY = frozenset((*_FOUND, *_TASK, *_TOKENS, *_TRAINED, *_RUN, *_GENERATED))
# transformers' own notes on an object, and those of other programs that saved the folder.
PREFIXES = ("_", "unsloth_", "transformers.js_")
SAME: Mapping[str, tuple[Any, ...]] = {
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "tie_encoder_decoder": (False,),
    "cross_attention_hidden_size": (None,),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
    "auto_map": (None, {}),
    "use_mrope": (False, None),
    "rope_interleaved": (False, None),
    "is_llama_config": (True, None),
}
REMEDIES = {
    "quantization_config": "the weights are quantised; import the model that was not, or what transformers' "
    "AutoModelForCausalLM.from_pretrained(folder).dequantize() saves",
    "auto_map": "the folder brings its own code, which is never run, so what it computes isn't known",
    "rope_interleaved": "pairs of neighbouring dimensions are rotated; model.rope pairs i with i + head_dim/2",
    "rope_type": "rotary angles are scaled in another way than by model.rope_scaling",
    **dict.fromkeys(
        ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
        "model.rope_scaling has the constants of Llama 3.1 and 3.2",
    ),
    "pruned_heads": "layers with fewer heads than others can't be expressed",
}


def is_inert(key: str) -> bool:
    """Whether `key` changes nothing in any architecture, whatever its value."""
    return key in ANY or key.startswith(PREFIXES)
