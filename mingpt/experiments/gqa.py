"""Fewer key/value heads: what they save, and what they cost."""

from mingpt.experiments.base import Experiment, register
from mingpt.experiments.defaults import GPT, QUICK
from mingpt.experiments.measurements.kv_heads import head_times

ARMS = {f"key heads {count}": [{"model.n_kv_head": count}] for count in (6, 3, 2, 1)}
HEADS = {"model.n_query_head": 6, "model.n_kv_head": 6}

register(
    Experiment(
        name="gqa",
        question="What do fewer key/value heads save, and what do they cost in loss?",
        hypothesis=(
            "The cache shrinks exactly in proportion to the key/value heads, and the projections with them; writing "
            "gets faster, reading hardly; the held-out loss stays within 0.05 nats down to one key head in three."
        ),
        arms=ARMS,
        common={**GPT, **HEADS, "model.n_embd": 192, "model.rope": True},
        quick={**QUICK, "model.n_embd": 96, "trainer.max_iters": 1000},
        quick_seeds=5,
        measurements=(head_times,),
    )
)
