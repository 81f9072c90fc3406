"""A key/value cache: the same text, sooner."""

from mingpt.experiments.base import Experiment, register
from mingpt.experiments.measurements.kv_cache import same_text, token_times

register(
    Experiment(
        name="cache",
        question="What does a key/value cache change?",
        hypothesis=(
            "Not one character of the text; the time of a token stays about level with its position instead of growing "
            "with it, and with a window the memory stays level, too."
        ),
        measurements=(same_text, token_times),
        figure=token_times.name,
    )
)
