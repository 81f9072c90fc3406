"""The score function: what a better answer of a key to a query buys."""

from mingpt.data.text_files import TINY_PATH
from mingpt.experiments.base import Experiment, Form, register
from mingpt.experiments.base_config import FULL, QUICK, STANDARD
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
        variants={score: [{"model.score": score}] for score in SCORES},
        common={**FULL, "data.block_size": 64},
        learning_rates=(5e-4, 1e-3, 2e-3),
        quick=Form(settings={**QUICK, "data.block_size": 32, "trainer.max_iters": 800}, seeds=3, characters=1_000_000),
        # Blocks of 64, as many characters a step: the additive score's work grows with the square of the block.
        standard=Form(
            settings={**STANDARD, "data.block_size": 64, "trainer.batch_size": 16},
            learning_rates=(),
            data=TINY_PATH,
        ),
        measurements=(score_costs, query_blindness, folding, angle),
    )
)
