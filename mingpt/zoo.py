"""From settings to a model: one line per family."""

from mingpt.lm import LanguageModel, ModelConfig
from mingpt.model import GPT
from mingpt.ngram import NGram
from mingpt.registry import Registry
from mingpt.rnn import RNN, BidirectionalRNN

FAMILIES: Registry[type[LanguageModel]] = Registry("model.type")
FAMILIES.add("gpt")(GPT)
FAMILIES.add("rnn")(RNN)
FAMILIES.add("birnn")(BidirectionalRNN)
FAMILIES.add("ngram")(NGram)


def build(config: ModelConfig) -> LanguageModel:
    """A freshly initialised model of `config.type`; seed PyTorch before.

    Raises:
        UsageError: an unknown family.
    """
    return FAMILIES[config.type](config)
