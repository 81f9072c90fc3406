"""From settings to a model: one line per family."""

from mingpt.lm import LanguageModel, ModelConfig
from mingpt.model import GPT
from mingpt.registry import Registry

FAMILIES: Registry[type[LanguageModel]] = Registry("model.type")
FAMILIES.add("gpt")(GPT)


def build(config: ModelConfig) -> LanguageModel:
    """A freshly initialised model of `config.type`; seed PyTorch before.

    Raises:
        UsageError: an unknown family.
    """
    return FAMILIES[config.type](config)
