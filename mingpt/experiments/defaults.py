"""What experiments start from, every setting spelled out: defaults move, an experiment's settings may not.

Left out are settings that a choice here leaves unread, as a final learning rate under a constant schedule.
"""

from collections.abc import Mapping
from typing import Any

# GPT-2's block, as small as two cores bear; trained as the setting that this project started from.
GPT: dict[str, Any] = {
    "data.path": "input.txt",
    "data.stateful": False,
    "data.tokenizer": "char",
    "data.block_size": 128,
    "data.val_fraction": 0.1,
    "model.type": "gpt",
    "model.n_layer": 4,
    "model.n_query_head": 4,
    "model.head_dim": None,
    "model.n_kv_head": None,
    "model.n_embd": 128,
    "model.rope": False,
    "model.position": None,
    "model.rope_base": 10_000.0,
    "model.rope_scaling": 1.0,
    "model.score": "scaled_dot",
    "model.mask": "causal",
    "model.window": None,
    "model.window_pattern": None,
    "model.kernel": "auto",
    "model.norm": "layernorm",
    "model.norm_eps": None,
    "model.mlp": "gelu",
    "model.mlp_width": None,
    "model.conv_width": 1,
    "model.bias": True,
    "model.qkv_bias": None,
    "model.qk_norm": False,
    "model.tie_embeddings": False,
    "model.init": "gpt2",
    "model.embd_pdrop": 0.0,
    "model.resid_pdrop": 0.0,
    "model.attn_pdrop": 0.0,
    "model.pretrained_folder": None,
    "trainer.max_iters": 2000,
    "trainer.batch_size": 16,
    "trainer.accumulation": 1,
    "trainer.optimizer": "adamw",
    "trainer.learning_rate": 1e-3,
    "trainer.betas": [0.9, 0.95],
    "trainer.weight_decay": 0.1,
    "trainer.grad_norm_clip": 1.0,
    "trainer.schedule": "linear",
    "trainer.warmup_iters": 50,
    "trainer.decay_from": 0.0,
    "trainer.final_rate": 0.0,
    "trainer.device": "auto",
    "trainer.compile": "auto",
    "trainer.eval_every": 100,
    "trainer.eval_tokens": 16384,
    "trainer.sample_every": 0,
    "trainer.save_every": 200,
}
# A step of it takes about 9 ms on two cores.
QUICK: dict[str, Any] = {
    "data.block_size": 64,
    "model.n_layer": 2,
    "model.n_embd": 64,
    "trainer.max_iters": 600,
    "trainer.batch_size": 8,
    "trainer.learning_rate": 2e-3,
    "trainer.eval_every": 50,
    "trainer.save_every": 300,
}
# The seed's own: dropout, constant learning rate, blocks of 16 at first.
SEED: dict[str, Any] = {
    **{key: value for key, value in GPT.items() if key not in ("trainer.decay_from", "trainer.final_rate")},
    "data.block_size": 16,
    "model.n_layer": 6,
    "model.n_query_head": 6,
    "model.n_kv_head": 6,
    "model.n_embd": 192,
    "model.embd_pdrop": 0.1,
    "model.resid_pdrop": 0.1,
    "model.attn_pdrop": 0.1,
    "trainer.max_iters": 600,
    "trainer.batch_size": 64,
    "trainer.learning_rate": 5e-4,
    "trainer.schedule": "constant",
    "trainer.warmup_iters": 0,
    "trainer.eval_every": 50,
}
QUICK_SEED: dict[str, Any] = {
    "model.n_layer": 2,
    "model.n_query_head": 6,
    "model.n_kv_head": 6,
    "model.n_embd": 96,
    "trainer.max_iters": 300,
    "trainer.batch_size": 32,
    "trainer.learning_rate": 2e-3,
    "trainer.save_every": 300,
}
# The form whose results are published: 0.8M parameters, 1.0M characters in 1,000 steps, 150 to 250 seconds of one core.
# Optimizer and learning rates as in presets/fast.yaml; AdamW alone ends 0.24 nats higher (LOG.md, 2026-11-29).
STANDARD: dict[str, Any] = {
    "data.block_size": 256,
    "model.rope": True,
    "trainer.max_iters": 1000,
    "trainer.batch_size": 4,
    "trainer.optimizer": "muon",
    "trainer.learning_rate": 1e-2,
    "trainer.matrix_learning_rate": 0.02,
    "trainer.matrix_momentum": 0.9,
    "trainer.weight_decay": 0.0,
    "trainer.warmup_iters": 0,
    "trainer.device": "cpu",
    "trainer.compile": "never",
    "trainer.eval_every": 100,
    "trainer.save_every": 250,
}
# SEED as it is; its second stage has a batch of 8 where the seed had 64, which would take 50 minutes a trial here.
STANDARD_SEED: dict[str, Any] = {
    "trainer.device": "cpu",
    "trainer.compile": "never",
    "trainer.eval_every": 100,
    "trainer.save_every": 200,
}
SECOND_STAGE: dict[str, Any] = {"data.block_size": 256, "trainer.batch_size": 8}
# The text and the steps of GPT, for families that read nothing else of it.
TRAINED: dict[str, Any] = {key: value for key, value in GPT.items() if not key.startswith("model.")}
# What recurrent families read; which cell, and how many of what width, is an arm's to say.
RECURRENT: dict[str, Any] = {
    "model.readout": "linear",
    "model.embd_pdrop": 0.0,
    "model.resid_pdrop": 0.0,
    "model.pretrained_folder": None,
}
BOTH_WAYS: dict[str, Any] = {
    "model.objective": "next",
}
# How a measurement trains a small model on a task of its own; how long, at which rate and on how much is its to say.
TASK: dict[str, Any] = {
    **{key: value for key, value in SEED.items() if key.startswith("trainer.")},
    "trainer.weight_decay": 0.0,
    "trainer.compile": "never",
    "trainer.eval_every": 0,
    "trainer.save_every": 0,
}
# A table of counts: no step and no learning rate, so of the settings above it takes the text's alone.
SIX_GRAM: dict[str, Any] = {
    "model.type": "ngram",
    "model.order": 6,
}


def of_group(group: str, settings: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    """`{"n_layer": 4, ...}` of `{"model.n_layer": 4, ...}`, with others: what a model or a trainer is made of directly.

    Args:
        group: model or trainer.
        others: take the place of what settings say.
    """
    own = {key.partition(".")[2]: value for key, value in settings.items() if key.startswith(f"{group}.")}
    own.pop("pretrained_folder", None)  # says where weights come from, not what they are
    return {**own, **others}
