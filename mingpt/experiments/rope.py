"""RoPE or learned positions, trained in two stages, in one stage at the long block, or by the standard recipe."""

from collections.abc import Mapping
from typing import Any

from mingpt.data.text_files import TINY_PATH
from mingpt.experiments.base import Experiment, Form, Settings, Stages, register
from mingpt.experiments.base_config import BASE, FULL, QUICK_SEED, SECOND_STAGE, SEED, STANDARD, STANDARD_SEED
from mingpt.experiments.measurements.context_length import extrapolation, loss_by_position, side_by_side
from mingpt.experiments.measurements.effects import EFFECT, effect
from mingpt.experiments.measurements.memory import memory_tasks
from mingpt.experiments.measurements.sensitivity import sensitivity
from mingpt.experiments.measurements.stages import ABSOLUTE_MHA, ROPE_MHA, stage_curves

POSITIONS: dict[str, Settings] = {
    "learned": {"model.rope": False},
    "RoPE": {"model.rope": True},
    "sinusoids": {"model.rope": False, "model.init": "waves"},
}
TRAININGS = ("two stages", "one stage", "standard recipe")
PAIRS = {how: (f"learned, {how}", f"RoPE, {how}") for how in TRAININGS} | {
    "standard recipe, from sinusoids": ("sinusoids, standard recipe", "RoPE, standard recipe")
}
SMALL: dict[str, dict[str, Any]] = {  # of the tasks
    name: {"type": "gpt", "n_layer": 2, "n_embd": 32, "rope": rope}
    for name, rope in (("learned", False), ("RoPE", True))
}


def _variants(short: int, long: Settings, steps: int, one_stage: int | None = None) -> Mapping[str, Stages]:
    """Either positional encoding: `steps` at the short block and as many at the long one; or `one_stage`, None: twice
    as many, at the long one."""
    variants: dict[str, Stages] = {}
    for name in ("learned", "RoPE"):
        position = POSITIONS[name]
        first = {**position, "data.block_size": short, "trainer.max_iters": steps}
        variants[f"{name}, two stages"] = [first, {**position, **long, "trainer.max_iters": steps}]
        variants[f"{name}, one stage"] = [{**position, **long, "trainer.max_iters": one_stage or 2 * steps}]
    return variants


def _standard_recipe() -> Mapping[str, Stages]:
    """As the other experiments train, which gets past the 4-gram; also learned positions that begin as sinusoids."""
    back = {key: BASE[key] for key in (*SEED, *STANDARD_SEED) if key in BASE}
    return {
        f"{name}, standard recipe": [{**back, **FULL, **STANDARD, **position}] for name, position in POSITIONS.items()
    }


register(
    Experiment(
        name="rope",
        question="RoPE or learned positions?",
        hypothesis=(
            "RoPE is better by more than 0.05 nats after two stages, where most learned rows begin untrained; in one "
            "stage, at the long block from the start, the gap shrinks, and by the standard recipe it is below 0.1 "
            "nats.  Learned positions that begin as sinusoids are within 0.1 nats of RoPE, closer than those that "
            "begin random.  Beyond the trained length both lose, RoPE less."
        ),
        variants=_variants(16, {"data.block_size": 256}, 600),
        common=SEED,
        seeds=5,
        quick=Form(
            settings=QUICK_SEED,
            variants=_variants(16, {"data.block_size": 64, "trainer.batch_size": 8}, 300),
            seeds=3,
            characters=1_000_000,
        ),
        standard=Form(
            settings=STANDARD_SEED,
            variants={**_variants(16, SECOND_STAGE, 600, one_stage=900), **_standard_recipe()},
            data=TINY_PATH,
        ),
        measurements=(
            effect("RoPE minus learned positions", PAIRS),
            stage_curves({"learned, two stages": ABSOLUTE_MHA, "RoPE, two stages": ROPE_MHA}),
            extrapolation,
            loss_by_position,
            sensitivity,
            *memory_tasks(SMALL),
            side_by_side,
        ),
        figure=EFFECT,
    )
)
