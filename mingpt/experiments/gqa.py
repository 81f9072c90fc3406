"""Fewer key/value heads: what they save, and what they cost."""

from mingpt.data.text_files import TINY_PATH
from mingpt.experiments.base import Experiment, Form, register
from mingpt.experiments.base_config import FULL, QUICK, STANDARD
from mingpt.experiments.measurements.price_list import price_list

VARIANTS = {f"key heads {count}": [{"model.n_kv_head": count}] for count in (6, 3, 2, 1)}
HEADS = {"model.n_query_head": 6, "model.n_kv_head": 6}

register(
    Experiment(
        name="gqa",
        question="What do fewer key/value heads save, and what do they cost in loss?",
        hypothesis=(
            "The cache shrinks exactly in proportion to the key/value heads, and the projections with them; "
            "generation gets faster, reading a prompt hardly; the validation loss stays within 0.02 nats down to one "
            "key head in three."
        ),
        variants=VARIANTS,
        common={**FULL, **HEADS, "model.n_embd": 192, "model.rope": True},
        quick=Form(settings={**QUICK, "model.n_embd": 96, "trainer.max_iters": 1000}, seeds=5, characters=1_000_000),
        # Three layers of six heads of 24: 0.77M parameters with a key head each.
        standard=Form(settings={**STANDARD, **HEADS, "model.n_layer": 3, "model.n_embd": 144}, data=TINY_PATH),
        margin=0.02,
        measurements=(price_list,),
    )
)
