"""The settings that every experiment starts from, version 1, and the differences from them that experiments share.

An experiment states differences from BASE: defaults move, an experiment's settings may not.  What BASE says of another
family of models is left out.
"""

from dataclasses import fields
from typing import Any

from mingpt.models.config import CONFIGS, ModelConfig
from mingpt.training.trainer_config import TrainerConfig

# Frozen.  The ids of finished trials follow from the differences from it (identity.py), so no value of it ever changes;
# a setting that is added to the project is not added here, and leaves those ids as they are.
BASE: dict[str, Any] = {
    "data.block_size": 128,
    "data.stateful": False,
    "data.tokenizer": "char",
    "data.val_fraction": 0.1,
    "data.vocab_size": 1024,
    "dist.strategy": "ddp",
    "model.attn_pdrop": 0.0,
    "model.bias": True,
    "model.cell": "elman",
    "model.conv_width": 1,
    "model.embd_pdrop": 0.0,
    "model.head_dim": None,
    "model.init": "gpt2",
    "model.kernel": "auto",
    "model.mask": "causal",
    "model.mlp": "gelu",
    "model.mlp_width": None,
    "model.n_embd": 128,
    "model.n_kv_head": None,
    "model.n_layer": 4,
    "model.n_query_head": 4,
    "model.norm": "layernorm",
    "model.norm_eps": None,
    "model.objective": "next",
    "model.order": 6,
    "model.position": None,
    "model.qk_norm": False,
    "model.qkv_bias": None,
    "model.reading": "full",
    "model.readout": "linear",
    "model.resid_pdrop": 0.0,
    "model.rope": False,
    "model.rope_base": 10_000.0,
    "model.rope_scaling": 1.0,
    "model.score": "scaled_dot",
    "model.tie_embeddings": False,
    "model.type": "gpt",
    "model.window": None,
    "model.window_pattern": None,
    "system.threads": 0,
    "trainer.accumulation": 1,
    "trainer.batch_size": 16,
    "trainer.betas": [0.9, 0.95],
    "trainer.compile": "auto",
    "trainer.decay_from": 0.0,
    "trainer.device": "auto",
    "trainer.eval_every": 100,
    "trainer.eval_tokens": 16_384,
    "trainer.final_rate": 0.0,
    "trainer.grad_norm_clip": 1.0,
    "trainer.learning_rate": 1e-3,
    "trainer.matrix_learning_rate": 0.02,
    "trainer.matrix_momentum": 0.95,
    "trainer.max_iters": 1000,
    "trainer.optimizer": "adamw",
    "trainer.schedule": "linear",
    "trainer.warmup_iters": 50,
    "trainer.weight_decay": 0.1,
}
# GPT-2's block, as small as two cores bear; trained as the setting that this project started from.
FULL: dict[str, Any] = {"trainer.max_iters": 2000, "trainer.sample_every": 0, "trainer.save_every": 200}
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
    **FULL,
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
# How a measurement trains a small model on a task of its own.
TASK: dict[str, Any] = {
    **SEED,
    "trainer.weight_decay": 0.0,
    "trainer.compile": "never",
    "trainer.eval_every": 0,
    "trainer.save_every": 0,
}


def model_config(**own: Any) -> ModelConfig:
    """Return a model's configuration: BASE, as far as the family `type` has its settings, and the fields `own`."""
    return ModelConfig(**{**_fields_of("model", BASE, CONFIGS[own.get("type", "gpt")]), **own})


def task_config(**own: Any) -> TrainerConfig:
    """Return how a measurement trains a model on a task of its own: BASE, TASK, and the fields `own`."""
    return TrainerConfig(**{**_fields_of("trainer", {**BASE, **TASK}, TrainerConfig), **own})


def _fields_of(group: str, settings: dict[str, Any], config: type) -> dict[str, Any]:
    """Return `{"n_layer": 4, ...}` of `{"model.n_layer": 4, ...}` for the fields of `config`."""
    keys = {f"{group}.{field.name}": field.name for field in fields(config)}
    return {keys[key]: value for key, value in settings.items() if key in keys}
