"""RoPE and shared key/value heads, two by two: do they interact?  As the seed asked it, in two stages."""

from typing import Any

from mingpt.experiments.base import Experiment, register
from mingpt.experiments.defaults import QUICK_SEED, SEED
from mingpt.experiments.measurements.stages import stage_curves


def _arms(key_heads: int, steps: int, longer: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Absolute and rotary positions, with a key head per query head and with fewer; short blocks, then `longer`."""
    varied = {
        f"{position}+{heads}": {"model.rope": rope, "model.n_kv_head": count, "trainer.max_iters": steps}
        for position, rope in (("absolute", False), ("RoPE", True))
        for heads, count in (("MHA", 6), ("GQA", key_heads))
    }
    return {name: [settings, {**settings, **longer}] for name, settings in varied.items()}


register(
    Experiment(
        name="rope-gqa",
        question="Do rotary positions and shared key/value heads interact?",
        hypothesis=(
            "No: RoPE wins by far more than 0.05 nats after the second stage, whatever the heads, and sharing "
            "key/value heads changes less than 0.05 nats, whatever the positions."
        ),
        arms=_arms(2, 600, {"data.block_size": 256}),
        common=SEED,
        seeds=5,
        quick=QUICK_SEED,
        quick_arms=_arms(2, 300, {"data.block_size": 64, "trainer.batch_size": 8}),
        quick_seeds=3,
        measurements=(stage_curves,),
    )
)
