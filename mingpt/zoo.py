"""From settings to a model: one line per family."""

from mingpt.core.registry import Registry
from mingpt.model import GPT
from mingpt.models.base import LanguageModel, ModelConfig
from mingpt.models.ngram import NGram
from mingpt.models.rnn import RNN, BidirectionalRNN
from mingpt.randomness import drawing, own_draws

FAMILIES: Registry[type[LanguageModel]] = Registry("model.type")
FAMILIES.add("gpt")(GPT)
FAMILIES.add("rnn")(RNN)
FAMILIES.add("birnn")(BidirectionalRNN)
FAMILIES.add("ngram")(NGram)


def build(config: ModelConfig, seed: int | None = None) -> LanguageModel:
    """Return a freshly initialised model of `config.type`.

    Args:
        seed: decides its weights, and PyTorch's global generator stays as it is; None: that one decides them.

    Raises:
        UsageError: an unknown family.
    """
    family = FAMILIES[config.type]
    if seed is None:
        return family(config)
    with own_draws(seed):
        return drawing(family, config)
