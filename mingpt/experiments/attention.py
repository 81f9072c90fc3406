"""The score function: what a better answer of a key to a query buys."""

from mingpt.experiments.base import Experiment, register
from mingpt.experiments.defaults import GPT, QUICK
from mingpt.experiments.measurements.score_functions import angle, folding, query_blindness, score_costs

SCORES = ("scaled_dot", "dot", "multiplicative", "additive", "linear_concat")

register(
    Experiment(
        name="attention",
        question="What does the score function of attention buy?",
        hypothesis=(
            "Scaled, unscaled and multiplicative scores are one function class once a query projection stands before "
            "them, so their losses differ by optimisation alone; the additive score matches them at many times the "
            "cost; linear concatenation is worse, since its weights can't depend on the query."
        ),
        arms={score: [{"model.score": score}] for score in SCORES},
        common={**GPT, "data.block_size": 64, "model.rope": False},
        learning_rates=(5e-4, 1e-3, 2e-3),
        quick={**QUICK, "data.block_size": 32, "trainer.max_iters": 800},
        quick_seeds=3,
        measurements=(score_costs, query_blindness, folding, angle),
    )
)
