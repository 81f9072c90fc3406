"""Settings of the model families made in Python: what is no setting is rejected with the nearest name."""

import re
from typing import Any

import pytest

from mingpt.core.errors import UsageError
from mingpt.models.config import CONFIGS, GPTConfig, ModelConfig, RNNConfig


@pytest.mark.parametrize(
    ("made", "settings", "meant"),
    [
        (GPTConfig, {"n_layers": 3}, "n_layer"),
        (GPTConfig, {"n_head": 3}, "n_query_head"),
        (GPTConfig, {"d_model": 48}, "n_embd"),
        (ModelConfig, {"context_length": 7}, "block_size"),
        (ModelConfig, {"type": "rnn", "hidden_size": 5}, "n_embd"),
        (RNNConfig, {"redout": "literal"}, "readout"),
        (ModelConfig, {"type": "ngram", "ordr": 3}, "order"),
    ],
    ids=str,
)
def test_unknown_setting_is_rejected_with_the_nearest_of_its_family(
    made: type[ModelConfig], settings: dict[str, Any], meant: str
) -> None:
    name, family = [*settings][-1], settings.get("type", made.type)
    message = f"model.{name}: no setting of model.type={family} (did you mean '{meant}'?)"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        made(**settings)


def test_name_near_none_is_rejected_without_a_hint() -> None:
    with pytest.raises(UsageError, match=r"^model\.zzz: no setting of model\.type=gpt$"):
        ModelConfig(zzz=1)


def test_setting_of_other_families_is_rejected_with_these_and_no_hint() -> None:
    with pytest.raises(UsageError, match=r"^model\.readout: no setting of model\.type=gpt; it belongs to rnn$"):
        GPTConfig(readout="linear")  # type: ignore[call-arg]


@pytest.mark.parametrize("family", CONFIGS)
def test_model_config_makes_the_class_of_its_type(family: str) -> None:
    assert type(ModelConfig(type=family)) is CONFIGS[family]
