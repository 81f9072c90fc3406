"""RoPE or learned positions, trained in two stages or at the long block straight."""

from typing import Any

from mingpt.experiments.base import Experiment, register
from mingpt.experiments.defaults import QUICK_SEED, SEED
from mingpt.experiments.measurements.context_length import extrapolation, loss_by_position, side_by_side
from mingpt.experiments.measurements.stages import stage_curves


def _arms(short: int, long: dict[str, Any], steps: int) -> dict[str, list[dict[str, Any]]]:
    """Either code: `steps` at the short block and as many at the long one; or twice as many at the long one."""
    arms: dict[str, list[dict[str, Any]]] = {}
    for name, rope in (("learned", False), ("RoPE", True)):
        code = {"model.rope": rope}
        first = {**code, "data.block_size": short, "trainer.max_iters": steps}
        arms[f"{name}, two stages"] = [first, {**code, **long, "trainer.max_iters": steps}]
        arms[f"{name}, straight"] = [{**code, **long, "trainer.max_iters": 2 * steps}]
    return arms


register(
    Experiment(
        name="rope",
        question="RoPE or learned positions?",
        hypothesis=(
            "RoPE is better by more than 0.05 nats after two stages, where most learned rows begin untrained; trained "
            "at the long block straight, the gap shrinks.  Beyond the trained length both lose, RoPE less."
        ),
        arms=_arms(16, {"data.block_size": 256}, 600),
        common=SEED,
        seeds=5,
        quick=QUICK_SEED,
        quick_arms=_arms(16, {"data.block_size": 64, "trainer.batch_size": 8}, 300),
        quick_seeds=3,
        measurements=(stage_curves, extrapolation, loss_by_position, side_by_side),
    )
)
