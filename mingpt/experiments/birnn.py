"""Recurrent layers that read from both ends: when they predict a text, and when they only copy it."""

from typing import Any

from mingpt.data.text_files import TINY_PATH
from mingpt.experiments.base import Experiment, Form, register
from mingpt.experiments.base_config import FULL, QUICK, STANDARD
from mingpt.experiments.measurements.answer_copying import leak_map, training_loss
from mingpt.experiments.measurements.string_probability import prefix_cost, string_sums


def _variants(both: int, one: int) -> dict[str, list[dict[str, Any]]]:
    """One GRU layer each; the width of the one-way layer is the even one whose parameters come nearest, within 2 %."""
    layer = {"model.cell": "gru", "model.n_layer": 1}
    return {
        "both ways on whole text": [{**layer, "model.type": "birnn", "model.reading": "full", "model.n_embd": both}],
        "both ways on each prefix": [{**layer, "model.type": "birnn", "model.reading": "prefix", "model.n_embd": both}],
        "one way": [{**layer, "model.type": "rnn", "model.n_embd": one}],
    }


register(
    Experiment(
        name="birnn",
        question="Why is a bidirectional RNN no autoregressive model, and when is it one?",
        hypothesis=(
            "Over the full text, every position but the last has seen its target: the training loss falls towards 0 by "
            "copying, to below 0.2 nats, and there is no validation loss; the products of its predictions, summed over "
            "all strings, come to far more than 1.  Run again on each prefix it is a language model: the sum is 1 to "
            "rounding, no later input moves an output, and its validation loss is within 0.1 nats of a one-way GRU's "
            "with as many parameters.  That costs time like T^2 instead of T."
        ),
        variants=_variants(both=128, one=192),
        common={**FULL, "data.block_size": 64, "trainer.max_iters": 1000, "trainer.eval_tokens": 4096},
        seeds=5,
        learning_rates=(1e-3, 3e-3, 1e-2),
        quick=Form(
            settings={
                **QUICK,
                "data.block_size": 32,
                "trainer.batch_size": 4,
                "trainer.max_iters": 600,
                "trainer.eval_tokens": 2048,
                "trainer.eval_every": 100,
                "trainer.save_every": 600,
            },
            variants=_variants(both=64, one=94),
            seeds=3,
            characters=300_000,
        ),
        # Blocks of 32, half as many characters a step: each prefix is read again, so work grows with a block's square.
        standard=Form(
            settings={
                **STANDARD,
                "data.block_size": 32,
                "trainer.batch_size": 16,
                "trainer.eval_tokens": 4096,
            },
            learning_rates=(),
            data=TINY_PATH,
        ),
        measurements=(training_loss, leak_map, string_sums, prefix_cost),
        figure=leak_map.name,
    )
)
