"""RoPE and shared key/value heads, two by two: do they interact?  As the seed asked it, in two stages."""

from typing import Any

from mingpt.data.text_files import TINY_PATH
from mingpt.experiments.base import Experiment, Form, register
from mingpt.experiments.base_config import QUICK_SEED, SECOND_STAGE, SEED, STANDARD_SEED
from mingpt.experiments.measurements.context_length import extrapolation, loss_by_position, side_by_side
from mingpt.experiments.measurements.effects import INTERACTION, interaction
from mingpt.experiments.measurements.sensitivity import sensitivity
from mingpt.experiments.measurements.stages import ABSOLUTE_GQA, ABSOLUTE_MHA, ROPE_GQA, ROPE_MHA, stage_curves


def _variants(key_heads: int, steps: int, longer: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
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
        variants=_variants(2, 600, {"data.block_size": 256}),
        common=SEED,
        seeds=5,
        quick=Form(
            settings=QUICK_SEED,
            variants=_variants(2, 300, {"data.block_size": 64, "trainer.batch_size": 8}),
            seeds=3,
            characters=1_000_000,
        ),
        standard=Form(settings=STANDARD_SEED, variants=_variants(2, 600, SECOND_STAGE), data=TINY_PATH),
        measurements=(
            interaction(("absolute", "RoPE"), ("MHA", "GQA")),
            stage_curves(
                {
                    "absolute+MHA": ABSOLUTE_MHA,
                    "absolute+GQA": ABSOLUTE_GQA,
                    "RoPE+MHA": ROPE_MHA,
                    "RoPE+GQA": ROPE_GQA,
                }
            ),
            extrapolation,
            loss_by_position,
            sensitivity,
            side_by_side,
        ),
        figure=INTERACTION,
    )
)
